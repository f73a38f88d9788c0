"""A slice of the fuzzer (tests/conformance/fuzz.py), and the inputs that it once found."""

import time

import pytest
from golden_files import FACTS, read

pytest.importorskip("resource", reason="measures memory, which needs POSIX")

import fuzz


def test_files_taken_apart_and_put_together_are_the_same():
    for name in FACTS:
        assert name == "unknown-section-16x16" or fuzz.take_apart(read(name)).build() == read(name)
        assert fuzz.sealed(read(name)) == read(name)


def test_inputs_are_the_same_again():
    assert [fuzz.make_input("a", i) for i in range(20)] == [
        fuzz.make_input("a", i) for i in range(20)
    ]


def test_two_seconds(monkeypatch):
    import aei.codec.models.bundle
    from PIL import Image

    monkeypatch.setattr(aei.codec.models.bundle, "MODELS", aei.codec.models.bundle.MODELS)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    fuzz.engine.cache_clear()
    fuzz.warm_up()
    end, i, outcomes = time.monotonic() + 2, 0, set()
    while time.monotonic() < end:
        outcome, wrong = fuzz.checked("pytest", i)
        assert wrong is None, f"input {i}: {wrong}"
        outcomes.add(outcome)
        i += 1
    assert len(outcomes) > 3
