"""Hooks of the documentation's site (mkdocs.yml): pages from outside docs/, and links that lead to
them there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = {  # what the site takes from outside docs/, and where it stands there
    "README.md": "project/about.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "CHANGELOG.md": "project/changelog.md",
    "restore/README.md": "project/restore.md",
    "web/README.md": "project/web.md",
}
SHIM = "https://unpkg.com/iframe-worker/shim"  # what the plugin `offline` has pages load
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)\s#]*)(#[^)\s]*)?(\))")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


def on_files(files, config):
    from mkdocs.structure.files import File

    for source, place in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    place = page.file.src_uri
    source = next((s for s, p in PAGES.items() if p == place), f"docs/{place}")
    return rewritten(markdown, source, place)


def on_post_page(output, page, config):
    """Nothing is loaded from elsewhere: what lets the search run from a disk is docs/assets'."""
    own = posixpath.relpath("assets/file-worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    return output.replace(SHIM, own)


def on_post_template(output_content, template_name, config):
    return output_content.replace(SHIM, "assets/file-worker.js")


def rewritten(text: str, source: str, place: str) -> str:
    """A page with its links as the site has them, code left alone. source: of the page in the
    repository; place: in the site. Links to what the site does not hold become their labels."""
    out, end = [], 0
    for code in CODE.finditer(text):
        out += [_links(text[end : code.start()], source, place), code[0]]
        end = code.end()
    return "".join([*out, _links(text[end:], source, place)])


def _links(text: str, source: str, place: str) -> str:
    def whole(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        there = target.removeprefix("docs/") if target.startswith("docs/") else PAGES.get(target)
        if there is None or (ROOT / target).is_dir():
            raise ValueError(f"{source}: {match[2]} is not in the site")
        relative = posixpath.relpath(there, posixpath.dirname(place) or ".")
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}"

    return LINK.sub(whole, text)
