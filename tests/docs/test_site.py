"""The documentation as a site: built strictly, complete, and asking nothing of other servers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material", reason="needs the [docs] extra")

from release_tools import tool

ROOT = Path(__file__).parents[2]
QUESTIONS = "guide/ten-questions.html"
LOADED = re.compile(r"""<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)\"""")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(out)]
    variables = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_every_page_is_there(site):
    for page in (ROOT / "docs").rglob("*.md"):
        place = page.relative_to(ROOT / "docs").with_suffix(".html")
        place = place.with_name("index.html") if place.stem == "README" else place
        assert (site / place).is_file(), place
    assert (site / "project" / "contributing.html").is_file()
    assert "entropy coder" in (site / "search" / "search_index.js").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 50
    for page in pages:
        found = [a or b for a, b in LOADED.findall(page.read_text(encoding="utf-8"))]
        assert found
        assert not [name for name in found if re.match(r"(https?:)?//", name)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_ten_questions_are_answered_within_two_clicks(site):
    start = (site / "index.html").read_text(encoding="utf-8")
    assert f'href="{QUESTIONS}"' in start
    rows = re.findall(r"<tr>\s*<td>(.*?)</tr>", (site / QUESTIONS).read_text("utf-8"), re.DOTALL)
    assert len(rows) == 10
    for row in rows:
        (first, *_) = re.findall(r'href="([^"#]+)', row)
        assert ((site / QUESTIONS).parent / first).resolve().is_file(), row


def test_links_are_rewritten_but_not_in_code():
    hooks = tool("site")
    text = "[a](../../CONTRIBUTING.md#x) `[b](../c.md)` [d](faq.md) [e](https://f) [g](#h)"
    assert hooks.rewritten(text, "docs/guide/y.md", "guide/y.md") == (
        "[a](../project/contributing.md#x) `[b](../c.md)` [d](faq.md) [e](https://f) [g](#h)"
    )
    assert hooks.rewritten("![](docs/results/kodak.png)", "README.md", "project/about.md") == (
        "![](../results/kodak.png)"
    )
    with pytest.raises(ValueError, match="not in the site"):
        hooks.rewritten("[x](../../setup.py)", "docs/guide/y.md", "guide/y.md")
