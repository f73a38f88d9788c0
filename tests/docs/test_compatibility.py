"""The promise in docs/format/compatibility.md names what there is, and other pages lead there."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from aei import codec

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "format" / "compatibility.md").read_text(encoding="utf-8")
LIBRARY = PAGE.split("## The library")[1].split("\n## ")[0]


def test_the_public_names_are_the_listed_ones():
    listed = LIBRARY.split("- of `aei.codec`:")[1].split(";")[0]
    assert re.findall(r"`(\w+)`", listed) == [*codec.__all__, "__version__"]


def test_other_names_exist():
    found = re.findall(r"`(aei\.[\w.]+)`", LIBRARY)
    assert len(found) >= 8
    for name in found:
        module, _, last = name.rpartition(".")
        parent = import_module(module) if module != "aei" else None
        assert hasattr(parent, last) or import_module(name), name


def test_the_frozen_models_are_those_that_ship():
    """To which tests/conformance/test_shipped.py holds their files."""
    from aei.codec.models.bundle import installed_bundles

    frozen = PAGE.split("**The models are frozen.**")[1].split("are in every later release")[0]
    named = {name for name in re.findall(r"`([^`]+)`", frozen) if not name.startswith("-")}
    assert named == {path.name for path in installed_bundles()}


@pytest.mark.parametrize("page", ["README.md", "docs/guide/faq.md", "docs/guide/recipes.md"])
def test_pages_lead_to_the_promise(page):
    assert "format/compatibility.md" in (ROOT / page).read_text(encoding="utf-8")


def test_what_is_asked_of_the_package():
    assert set(dir(codec)) == {*codec.__all__, "__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*|\(not installed\)", codec.__version__)
    shown = repr(codec.Codec(threads=2))
    assert shown == f"<Codec of {codec.Codec().bundle.name} ({bundle_name()}), threads: 2>"
    assert repr(codec.Restorers()).startswith("<Restorers: ")
    with pytest.raises(AttributeError, match="no attribute 'encoding'"):
        codec.encoding  # noqa: B018


def bundle_name() -> str:
    from aei.codec.models.bundle import default_bundle

    return default_bundle().fingerprint.hex()
