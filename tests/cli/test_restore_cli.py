"""`aei restore`, `aei enhance`, `aei encode --restore`, and the distribution that brings the
networks."""

import io
import json
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec
from aei.codec.pixels.quality import psnr
from aei.codec.restore.restorers import KINDS, Restorer
from conftest import synthetic_photo
from PIL import Image

BUNDLES = Path(__file__).parents[1] / "restorers"
DISTRIBUTION = Path(__file__).parents[2] / "restore"
WITH = ("--restore-bundle", BUNDLES)


@pytest.fixture
def noisy(tmp_path):
    """noisy.png in a folder, and its clean original."""
    clean = synthetic_photo(96, 128, seed=1)
    noise = np.random.default_rng(0).normal(0, 30, clean.shape)
    path = tmp_path / "noisy.png"
    Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(path)
    return path, clean


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_restore_writes_an_image_and_a_page(noisy, run_aei):
    path, clean = noisy
    out, page = path.with_name("out.png"), path.with_name("page.html")
    result = run_aei("restore", path, out, "--page", page, *WITH)
    assert result.code == 0, result.err
    assert psnr(clean, pixels(out)) > psnr(clean, pixels(path)) + 3
    assert "denoise (noise of standard deviation" in result.err
    assert "Before" in page.read_text(encoding="utf-8")
    again = run_aei("restore", path, out, *WITH)
    assert again.code == 1
    assert "exists" in again.err
    assert run_aei("restore", path, out, *WITH, "--force", "--quiet").err == ""


def test_restore_through_streams_and_as_json(noisy, run_aei, monkeypatch):
    pytest.importorskip("onnxruntime")
    path, _ = noisy
    result = run_aei("restore", path, path.with_name("o.webp"), "-k", "denoise", *WITH, "--json")
    facts = json.loads(result.out)
    assert (facts["kinds"], facts["message"]) == (["denoise"], "denoise")

    class Out:
        buffer = io.BytesIO()

        def isatty(self):
            return False

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Out())
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
        from aei.cli import output
        from aei.cli.restore import run

        output.reset()
        run("-", "-", None, False, str(BUNDLES), restore="denoise")
    run_aei("restore", path, path.with_name("o.png"), "-k", "denoise", *WITH)
    with Image.open(io.BytesIO(Out.buffer.getvalue())) as image:
        assert np.array_equal(np.asarray(image), pixels(path.with_name("o.png")))


def test_nothing_to_do_is_said_and_done(tmp_path, run_aei):
    clean = np.clip(synthetic_photo(200, 220) * 1.6 - 77, 0, 255).astype(np.uint8)
    Image.fromarray(clean).save(tmp_path / "clean.png")
    result = run_aei("restore", tmp_path / "clean.png", tmp_path / "out.png")  # wants no bundles
    assert result.code == 0, result.err
    assert "nothing done" in result.err
    assert np.array_equal(pixels(tmp_path / "out.png"), clean)
    result = run_aei("encode", tmp_path / "clean.png", "--restore", "auto", "--enhance", "auto")
    assert result.code == 0, result.err
    assert result.err.count("nothing done") == 2, result.err
    assert (tmp_path / "clean.aei").read_bytes() == Codec().encode(clean)


def test_encode_writes_an_ordinary_smaller_file(noisy, run_aei):
    path, clean = noisy
    sizes, found = [], []
    for options in ((), ("--restore", "auto", *WITH)):
        result = run_aei("encode", path, "-q", 60, "--force", *options)
        assert result.code == 0, result.err
        sizes.append(path.with_suffix(".aei").stat().st_size)
        back = path.with_name("back.png")
        assert run_aei("decode", path.with_suffix(".aei"), "-o", back, "--force").code == 0
        found.append(psnr(clean, pixels(back)))
    assert sizes[1] < 0.8 * sizes[0]
    assert found[1] > found[0]
    assert result.err.startswith(f"{path}: denoise (noise of")


def test_many_files_say_each_what_was_done(noisy, run_aei):
    path, _ = noisy
    Image.fromarray(synthetic_photo(200, 220)).save(path.with_name("clean.png"))
    result = run_aei("encode", path.parent, "-o", path.parent / "small", "--restore", "auto", *WITH)
    assert result.code == 0, result.err
    assert "noisy.png: denoise" in result.err
    assert "clean.png: nothing done" in result.err
    result = run_aei(
        "encode", path.parent, "-o", path.parent / "other", "--restore", "deblur", *WITH
    )
    assert result.code == 2
    assert result.err.count("no bundle for deblur there") == 2


def test_enhance(tmp_path, run_aei):
    clean = synthetic_photo(96, 96, seed=5)
    Image.fromarray((clean * 0.3).astype(np.uint8)).save(tmp_path / "dark.png")
    result = run_aei("enhance", tmp_path / "dark.png", tmp_path / "out.png", *WITH)
    assert result.code == 0, result.err
    assert "low-light (median brightness" in result.err
    assert pixels(tmp_path / "out.png").mean() > 1.5 * pixels(tmp_path / "dark.png").mean()
    result = run_aei("encode", tmp_path / "dark.png", "--enhance", "low-light", *WITH)
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["restore", "noisy.png", "out.png", "-k", "denoise"], 1, "pip install aei-codec-restore"),
        (["encode", "noisy.png", "--restore", "denoise"], 1, "pip install aei-codec-restore"),
        (["restore", "noisy.png", "out.png", "-k", "dust"], 2, "deblock"),
        (["restore", "noisy.png", "noisy.png"], 1, "input itself"),
        (["restore", "noisy.png", "out.xyz"], 1, "cannot write .xyz"),
        (["restore", "noisy.png", "out.png", "--page", "out.png"], 2, "one file"),
        (["restore", "none.png", "out.png"], 1, "none.png"),
        (["restore", "text.png", "out.png"], 1, "text.png: not an image"),
        (["enhance", "noisy.png", "-", "--json"], 2, "stdout"),
        (["encode", "noisy.png", "--restore", "auto", "--keep-smaller"], 2, "--keep-smaller"),
        (["encode", "noisy.png", "--restore-bundle", "x"], 2, "--restore KIND"),
        (
            ["encode", "noisy.png", "--restore", "denoise", "--restore-bundle", "."],
            1,
            "no restoring",
        ),
    ],
)
def test_mistakes_end_in_a_sentence(noisy, run_aei, monkeypatch, arguments, code, word):
    from importlib import metadata

    monkeypatch.chdir(noisy[0].parent)
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [])
    Path("text.png").write_bytes(b"text")
    result = run_aei(*arguments)
    assert result.code == code
    assert word in result.err
    assert "Traceback" not in result.err
    assert not Path("out.png").exists()


def test_distribution_lists_its_bundles():
    if not DISTRIBUTION.is_dir():
        pytest.skip("the folder restore/ is not beside the tests")
    # by path, so that other tests do not take it for installed
    aei_restore = runpy.run_path(str(DISTRIBUTION / "aei_restore" / "__init__.py"))
    for folder in aei_restore["bundles"]():
        assert Restorer(folder).kind in KINDS


def test_distribution_builds(tmp_path):
    if not DISTRIBUTION.is_dir():
        pytest.skip("the folder restore/ is not beside the tests")
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools to build")
    code = (
        "import os, sys; from setuptools import build_meta; os.chdir(sys.argv[1]); "
        "build_meta.build_wheel(sys.argv[2])"
    )
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(DISTRIBUTION, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    subprocess.run([sys.executable, "-c", code, copy, tmp_path], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("aei_codec_restore-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        entries = next(n for n in names if n.endswith("entry_points.txt"))
        assert "[aei.restore]" in file.read(entries).decode()
        meta = next(n for n in names if n.endswith("METADATA"))
        assert "Requires-Dist: aei-codec" in file.read(meta).decode()
    for kind in KINDS:
        folder = f"aei_restore/bundles/{kind}"
        assert {f"{folder}/manifest.json", f"{folder}/restore.onnx"} <= set(names)
