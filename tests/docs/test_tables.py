"""Figures stand in the committed results once, and pages show those; fingerprints are of what
ships."""

import re
from pathlib import Path

import pytest
from aei.codec.models.bundle import MODELS, Bundle, installed_bundles
from release_tools import tool

ROOT = Path(__file__).parents[2]
# what people read who use aei; research is history
USER_PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "README.md",
    ROOT / "docs" / "MODEL_CARD.md",
    *sorted((ROOT / "docs" / "guide").rglob("*.md")),
]
# A page may tell of measurements with an older model, if it says so beside the fingerprint.
OLDER = re.compile(r"older\s+model\s+\([0-9a-f]{8}\)")


@pytest.mark.parametrize("page", ["README.md", "docs/guide/benchmark.md", "docs/guide/web.md",
                                  "docs/guide/slim.md"])  # fmt: skip
def test_tables_are_those_of_the_results(page):
    pytest.importorskip("scipy", reason="needs the [bench] extra")
    tables = tool("tables")

    shown = (ROOT / page).read_text(encoding="utf-8")
    assert shown == tables.renewed(ROOT, page), "run: python release/tables.py"


def test_every_page_with_a_table_is_renewed():
    pytest.importorskip("scipy", reason="needs the [bench] extra")
    tables = tool("tables")

    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    found = {
        str(page.relative_to(ROOT)): tuple(
            name for name in re.findall(r"<!-- bench (\w+) -->", page.read_text("utf-8"))
            if name != "end"
        )
        for page in pages
    }  # fmt: skip
    assert {page: names for page, names in found.items() if names} == tables.PAGES


def test_user_pages_name_only_models_that_ship():
    shipped = {Bundle(path).fingerprint.hex() for path in installed_bundles()}
    assert len(shipped) >= len(list(MODELS.glob("*/manifest.json"))) > 0
    wrong = []
    for page in USER_PAGES:
        text = OLDER.sub("", page.read_text(encoding="utf-8"))
        named = set(re.findall(r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{8}\b", text))
        if named - shipped:
            wrong.append(f"{page.relative_to(ROOT)}: {named - shipped}")
    assert not wrong, "\n".join(wrong)
