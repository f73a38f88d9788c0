"""`aei model page`: one page that opens files from a disk, without a server."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
import golden_files
from browsers import command_of

GOLDEN = ROOT / "tests" / "golden"
NAME = "finish-rgb-150x120"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    from aei.cli.model import command

    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    bundles = sorted(map(str, GOLDEN.glob("*.bundle")))
    made = CliRunner().invoke(command, ["page", *bundles, "-o", str(path)])
    assert made.exit_code == 0, made.output
    again = CliRunner().invoke(command, ["page", *bundles, "-o", str(path)])
    assert again.exit_code != 0  # it exists
    return path


def test_the_page_holds_all_that_it_needs(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("data-fingerprint=") == len(list(GOLDEN.glob("*.bundle")))
    assert "src=" not in text.split("<body>")[0]
    assert '<link rel="stylesheet"' not in text


def test_it_opens_files_from_a_disk(page, tmp_path):
    sync = pytest.importorskip("playwright.sync_api", reason="needs the playwright package")
    command = shutil.which(command_of("chromium"))
    bad = tmp_path / "bad.aei"
    bad.write_bytes(golden_files.read(NAME)[:-9])
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=command, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page()
        wrong: list[str] = []
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        asked: list[str] = []
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.as_uri())

        def said(path: Path, place: str, words: str) -> str:
            tab.set_input_files("#files", str(path))
            for _ in range(300):
                if words in tab.inner_text(place):
                    break
                time.sleep(0.1)
            return tab.inner_text(place)

        assert "150 \u00d7 120 pixels" in said(GOLDEN / f"{NAME}.aei", "#facts", "150")
        assert "checksum" in said(bad, "#message", "checksum")
        browser.close()
    assert not wrong
    assert all(url.startswith(("file:", "blob:", "data:")) for url in asked), asked
