"""Animations, pages and collections; and photographs that Pillow does not read."""

import importlib.util
import struct

import numpy as np
import pytest
from PIL import Image

COLOURS = ("red", "lime", "blue")
SIZE = (40, 24)


def frames() -> list[Image.Image]:
    return [Image.new("RGB", SIZE, colour) for colour in COLOURS]


def save(path, **options) -> None:
    first, *more = frames()
    first.save(path, save_all=True, append_images=more, **options)


def is_of(image: Image.Image, colour: str) -> bool:
    wanted = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    mean = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(0)
    return bool(np.abs(mean - wanted).max() < 40)


KINDS = {"x.gif": {}, "x.png": {}, "x.webp": {"lossless": True}, "x.tif": {}, "x.mpo": {}}
HEIC = importlib.util.find_spec("pillow_heif") is not None


@pytest.fixture(params=[*KINDS, "x.heic"])
def moving(request, tmp_path):
    """A file of three frames: red, green, blue."""
    path = tmp_path / request.param
    if request.param == "x.heic":
        if not HEIC:
            pytest.skip("needs pillow-heif")
        import pillow_heif

        file = pillow_heif.HeifFile()
        for frame in frames():
            file.add_from_pillow(frame)
        file.save(path, quality=90)
    else:
        save(path, **KINDS[request.param])
    return path


def test_several_frames_are_refused_with_the_way_out(run_aei, moving):
    result = run_aei("encode", moving)
    if moving.suffix == ".mpo":  # a camera's JPEG with previews
        assert result.code == 0
        return
    assert result.code == 1
    assert "3 frames" in result.err
    assert "--first-frame" in result.err
    assert "--all-frames" in result.err


def test_the_first_frame(run_aei, moving, tmp_path, codec):
    result = run_aei("encode", moving, "--first-frame", "--keep-smaller", "--verify")
    assert result.code == 0, result.err
    assert is_of(codec.decode(tmp_path / "x.aei"), COLOURS[0])


def test_all_frames(run_aei, moving, tmp_path, codec):
    result = run_aei("encode", moving, "--all-frames", "-o", tmp_path / "out", "--max-side", 20)
    assert result.code == 0, result.err
    assert "3 encoded" in result.err
    made = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in made] == ["x-1.aei", "x-2.aei", "x-3.aei"]
    for path, colour in zip(made, COLOURS):
        image = codec.decode(path)
        assert image.size == (20, 12)
        assert is_of(image, colour), path
    (tmp_path / "out" / "x-2.aei").unlink()
    result = run_aei("encode", moving, "--all-frames", "-o", tmp_path / "out", "--skip-existing")
    assert "1 encoded, 2 skipped" in result.err


def test_numbers_are_as_wide_as_they_need_be(run_aei, tmp_path):
    images = [Image.new("RGB", (8, 8), (20 * i, 0, 0)) for i in range(12)]
    images[0].save(tmp_path / "m.gif", save_all=True, append_images=images[1:])
    Image.new("RGB", (8, 8)).save(tmp_path / "still.png")
    out = tmp_path / "out"
    assert run_aei("encode", tmp_path, "-o", out, "--all-frames", "--keep-extension").code == 0
    names = sorted(path.name for path in out.iterdir())
    assert names[0] == "m-01.gif.aei"
    assert names[11] == "m-12.gif.aei"
    assert names[12:] == ["still.png.aei"]


def test_animations_of_one_name_are_refused_whole(run_aei, tmp_path):
    save(tmp_path / "x.gif")
    first, second, _ = frames()
    first.save(tmp_path / "x.webp", save_all=True, append_images=[second], lossless=True)
    first.save(tmp_path / "x.png")
    result = run_aei("encode", tmp_path, "--all-frames", "-o", tmp_path / "out")
    assert result.code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x.aei"]
    assert "1 encoded, 2 failed" in result.err
    assert result.err.count("--keep-extension names them apart") == 2


def test_exif_of_pages_and_16_bits(run_aei, tmp_path, codec):
    pages = [Image.fromarray(np.full((20, 30), v, np.uint16)) for v in (60000, 20000)]
    exif = Image.Exif()
    exif[271] = "Maker"
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:], exif=exif)
    assert run_aei("encode", tmp_path / "p.tif", "--all-frames").code == 2
    result = run_aei("encode", tmp_path / "p.tif", "--all-frames", "--convert")
    assert result.code == 0, result.err
    assert "p.tif: converted from I;16" in result.err  # which of many files it was
    first = codec.decode(tmp_path / "p-1.aei")
    assert abs(int(np.asarray(first).mean()) - 233) < 4
    assert first.getexif()[271] == "Maker"


def test_usage(run_aei, tmp_path):
    save(tmp_path / "x.gif")
    source = tmp_path / "x.gif"
    assert run_aei("encode", source, "--first-frame", "--all-frames").code == 2
    assert "name a folder" in run_aei("encode", source, "--all-frames", "-o", "x.aei").err
    assert run_aei("encode", "-", "--all-frames").code == 2


def tiff(*tags: tuple[int, int]) -> bytes:
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    return struct.pack("<4sIH", b"II*\0", 8, len(tags)) + entries + bytes(4)


RAWS = {
    "x.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(40),
    "x.cr3": b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(40),
    "x.nef": tiff((254, 1), (256, 160), (259, 1)),
    "x.arw": tiff((256, 6000), (259, 32767)),
    "x.dng": tiff((256, 6000), (50706, 4)),
    "x.raf": b"FUJIFILMCCD-RAW 0201" + bytes(40),
    "x.orf": b"IIRO\x08\0\0\0" + bytes(40),
    "x.rw2": b"IIU\0\x08\0\0\0" + bytes(40),
}


@pytest.mark.parametrize("name", RAWS)
def test_raw_photographs_are_told_what_to_use(run_aei, tmp_path, name):
    (tmp_path / name).write_bytes(RAWS[name])
    result = run_aei("encode", tmp_path / name)
    assert result.code == 1
    assert "a raw photograph (" in result.err
    assert "darktable" in result.err


def test_raw_and_heic_files_in_folders_are_named(run_aei, tmp_path, monkeypatch):
    from aei.codec.files import convert

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for name in ("b.NEF", "c.cr2", "d.txt", "e.heic"):
        (tmp_path / name).write_bytes(b"what it holds is not looked at")
    monkeypatch.setattr(
        convert, "image_suffixes", lambda: frozenset((".png",))
    )  # as without pillow-heif
    result = run_aei("encode", tmp_path, "--dry-run")
    assert result.code == 0
    assert "4 files of other kinds ignored" in result.err
    assert "raw photographs left out (1 .cr2, 1 .nef): develop them" in result.err
    assert "HEIC photographs left out (1 .heic): the package pillow-heif" in result.err
    assert "develop" not in run_aei("decode", tmp_path, "--dry-run").err


def test_heic_without_the_package(run_aei, tmp_path, monkeypatch):
    from aei.codec.files import convert

    monkeypatch.setattr(convert, "register_heic", lambda: False)
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    result = run_aei("encode", tmp_path / "x.heic")
    assert result.code == 1
    assert "pip install pillow-heif" in result.err


def test_damaged_tiffs_are_no_raw_photographs(run_aei, tmp_path):
    for cut in (4, 8, 10, 15):
        (tmp_path / "x.tif").write_bytes(tiff((254, 1))[:cut])
        result = run_aei("encode", tmp_path / "x.tif")
        assert result.code == 1
        assert "a raw" not in result.err
