"""Every command and snippet in docs/ runs, in the order in which it stands; the library page is
new."""

import configparser
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from aei.formats.container import SIGNATURE
from conftest import synthetic_photo
from PIL import Image

DOCS = Path(__file__).parents[2] / "docs"
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "restore/README.md")
ALL = [*DOCS.rglob("*.md"), *(p for p in (DOCS.parent / name for name in TOP) if p.exists())]
WIDTH = 100
BLOCK = re.compile(r"(?:<!-- needs (\w+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
GUIDE = DOCS / "guide"
PAGES = [
    "tour.md",
    "recipes.md",
    "archives.md",
    "gallery.md",
    "loaders.md",
    "faq.md",
    "inspect.md",
    "slim.md",
    "entropy-coder.md",
    "desktop/README.md",
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with photo.jpg, photos/, and the desktop files, and a home of its own."""
    Image.fromarray(synthetic_photo(300, 400)).save(tmp_path / "photo.jpg", quality=93)
    for i, name in enumerate(("a.jpg", "trip/b.jpg", "trip/c.png")):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_photo(170, 200, seed=i)).save(tmp_path / "photos" / name)
    shutil.copytree(GUIDE / "desktop", tmp_path / "desktop")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_every_block_runs(page, place):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    if page == "desktop/README.md":
        subprocess.run(
            [sys.executable, "-m", "aei.cli.main", "encode", "photo.jpg"], cwd=place, check=True
        )
    python = shlex.quote(sys.executable)
    prefix = (
        f'aei() {{ {python} -m aei.cli.main "$@"; }}\npython() {{ {python} "$@"; }}\n'
        "set -e -o pipefail\n"
    )
    blocks = BLOCK.findall((GUIDE / page).read_text(encoding="utf-8"))
    assert blocks
    for needed, language, text in blocks:
        if needed and importlib.util.find_spec(needed) is None:
            continue
        assert language in ("sh", "python")
        script = ["bash", "-c", prefix + text] if language == "sh" else [sys.executable, "-c", text]
        result = subprocess.run(script, cwd=place, capture_output=True, text=True, check=False)
        assert result.returncode == 0, text + result.stderr
        assert "bad:" not in result.stdout


def test_no_page_is_forgotten():
    with_blocks = {
        str(path.relative_to(GUIDE))
        for path in DOCS.rglob("*.md")
        if re.search(r"```(sh|python)\n", path.read_text(encoding="utf-8"))
    }
    assert with_blocks == {*PAGES, "benchmark.md"}  # that one's plug-in runs in test_bench.py


def test_commands_in_the_text_exist():
    from aei.cli.main import COMMANDS

    for path in ALL:
        for name in re.findall(r"`aei ([a-z]+)", path.read_text(encoding="utf-8")):
            assert name in COMMANDS, f"{path}: aei {name}"


def test_links_lead_somewhere():
    for path in ALL:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path}: {target}"


def prose(text: str) -> list[str]:
    """Lines of a page that are neither tables nor code, their links and addresses left out."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [x for x in text.splitlines() if not x.lstrip().startswith("|") and x[:4] != " " * 4]
    return [re.sub(r"\]\([^)]*\)|https?://\S+", "", line) for line in lines]


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(DOCS.parent)))
def test_prose_keeps_its_width(path):
    wide = [line for line in prose(path.read_text(encoding="utf-8")) if len(line) > WIDTH]
    assert not wide, "\n".join(wide)


def test_prose_is_what_is_measured():
    text = (
        "| " + "t" * 200 + "\n```sh\n" + "c" * 200 + "\n```\nsee [x](" + "u" * 200 + ") " + "p" * 9
    )
    assert max(map(len, prose(text))) < 30
    assert max(map(len, prose("w " * 60))) > WIDTH


def test_every_page_is_in_an_index():
    """docs/README.md names the pages, research/README.md those of research."""
    for index in (DOCS / "README.md", DOCS / "research" / "README.md"):
        text = index.read_text(encoding="utf-8")
        named = {
            (index.parent / link).resolve() for link in re.findall(r"\]\(([^)#]+\.md)\)", text)
        }
        below = set(index.parent.rglob("*.md")) - {index}
        if index.parent == DOCS:
            below = {p for p in below if p.parent.name != "research"}
        assert not {p.resolve() for p in below} - named


def test_the_library_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location(
        "make_library", DOCS / "reference" / "make_library.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (DOCS / "reference" / "library.md").read_text(encoding="utf-8")
    assert page == module.library(), "run: python docs/reference/make_library.py"


def test_everything_public_is_documented():
    from aei import codec

    for name in codec.__all__:
        assert getattr(codec, name).__doc__, name


def test_mime_type():
    space = "{http://www.freedesktop.org/standards/shared-mime-info}"
    root = ElementTree.parse(GUIDE / "desktop" / "aei.xml").getroot()
    kind = root.find(f"{space}mime-type")
    assert kind.get("type") == "image/x-aei"
    value = kind.find(f"{space}magic/{space}match").get("value")
    assert value.encode("latin-1").decode("unicode_escape").encode("latin-1") == SIGNATURE
    assert kind.find(f"{space}glob").get("pattern") == "*.aei"


def test_thumbnailer_runs_as_a_desktop_runs_it(tmp_path, run_aei, codec):
    file = configparser.ConfigParser(interpolation=None)
    file.read(GUIDE / "desktop" / "aei.thumbnailer")
    entry = file["Thumbnailer Entry"]
    assert entry["MimeType"] == "image/x-aei;"
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(synthetic_photo(60, 100))
    image.info["exif"] = exif.tobytes()
    (tmp_path / "x y.aei").write_bytes(codec.encode(image))
    out = tmp_path / "thumb.X1Y2"  # desktops make the file first, without a suffix
    out.touch()
    words = [
        {"%i": str(tmp_path / "x y.aei"), "%o": str(out), "%s": "32"}.get(w, w)
        for w in entry["Exec"].split()
    ]
    assert words[0] == "aei"
    assert run_aei(*words[1:]).code == 0
    thumbnail = Image.open(io.BytesIO(out.read_bytes()))
    assert (thumbnail.format, thumbnail.size) == ("PNG", (19, 32))
    assert not thumbnail.getexif()
    assert np.asarray(thumbnail).std() > 5


def test_thumbnails_of_bad_files(tmp_path, run_aei, aei_file):
    (tmp_path / "x.aei").write_bytes(aei_file[:-3])
    result = run_aei("thumbnail", tmp_path / "x.aei", tmp_path / "x.png")
    assert result.code == 1
    assert "checksum" in result.err
    (tmp_path / "y.aei").write_bytes(b"text")
    assert "not an .aei file" in run_aei("thumbnail", tmp_path / "y.aei", tmp_path / "y.png").err
