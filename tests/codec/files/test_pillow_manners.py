"""The Pillow plugin beside Pillow's own: metadata, frames, parsers, odd arguments."""

import io
import struct

import aei.codec.pillow  # noqa: F401
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageSequence

GPS, MAKE, ORIENTATION = 0x8825, 0x010F, 0x0112


@pytest.fixture(scope="module")
def with_exif() -> bytes:
    """A JPEG file with a maker's name and a position."""
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0)}
    return saved(
        Image.new("RGB", (32, 24), "olive"), "JPEG", exif=exif, xmp=b"<x/>", icc_profile=b"profile"
    )


def saved(image, format_="AEI", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_exif_that_nobody_edited_travels_byte_by_byte(with_exif):
    image = opened(with_exif)
    assert opened(saved(image)).info["exif"] == image.info["exif"]
    image.getexif().get_ifd(GPS)  # looked at only
    assert opened(saved(image)).info["exif"] == image.info["exif"]


@pytest.mark.parametrize("looked", [False, True])
def test_a_position_that_was_deleted_is_gone(with_exif, looked):
    image = opened(with_exif)
    if looked:
        image.getexif().get_ifd(GPS)
    del image.getexif()[GPS]
    for data in (saved(image), saved(image, icc_profile=None), saved(image, effort=0)):
        exif = opened(data).getexif()
        assert exif[MAKE] == "Maker"
        assert GPS not in exif
        assert not exif.get_ifd(GPS)


def test_edits_of_a_directory_and_of_a_tag_are_written(with_exif):
    image = opened(with_exif)
    image.getexif().get_ifd(GPS)[1] = "S"
    assert opened(saved(image)).getexif().get_ifd(GPS)[1] == "S"
    image = opened(with_exif)
    image.getexif()[MAKE] = "Another"
    assert opened(saved(image)).getexif()[MAKE] == "Another"
    image.getexif().clear()
    assert "exif" not in opened(saved(image)).info


def test_exif_taken_out_of_info_is_gone(with_exif):
    image = opened(with_exif)
    del image.info["exif"]
    assert "exif" not in opened(saved(image)).info


def test_exif_set_in_memory_is_written():
    image = Image.new("RGB", (8, 8))
    image.getexif()[MAKE] = "Maker"
    assert opened(saved(image)).getexif()[MAKE] == "Maker"


@pytest.mark.parametrize("name", ["exif", "icc_profile", "xmp"])
@pytest.mark.parametrize("nothing", [None, b""])
def test_none_and_nothing_strip(with_exif, name, nothing):
    image = opened(with_exif)
    info = opened(saved(image, **{name: nothing})).info
    assert {"exif", "icc_profile", "xmp"} - set(info) == {name}
    assert image.info[name]  # the image itself is not changed


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_metadata_of_any_bytes(kind):
    image = Image.new("RGB", (8, 8))
    exif = Image.Exif()
    exif[MAKE] = "Maker"
    given = {"exif": exif.tobytes(), "icc_profile": b"profile", "xmp": b"<x/>"}
    info = opened(saved(image, **{name: kind(value) for name, value in given.items()})).info
    assert {name: info[name] for name in given} == given
    image.info.update({name: kind(value) for name, value in given.items()})
    info = opened(saved(image)).info
    assert {name: info[name] for name in given} == given


def test_xmp_may_be_text():
    image = Image.new("RGB", (8, 8))
    assert opened(saved(image, xmp="<é/>")).info["xmp"] == "<é/>".encode()
    image.info["xmp"] = "<é/>"
    assert opened(saved(image)).info["xmp"] == "<é/>".encode()
    assert image.info["xmp"] == "<é/>"


@pytest.mark.parametrize(
    ("options", "message"),
    [({"exif": "text"}, "exif is a str: give bytes or an Image.Exif"),
     ({"exif": {1: 2}}, "exif is a dict"), ({"icc_profile": "text"}, "give bytes, or None"),
     ({"xmp": 3}, "xmp is a int: give bytes or a str")],
)  # fmt: skip
def test_wrong_types_say_what_to_give(options, message):
    with pytest.raises(TypeError, match=message):
        saved(Image.new("RGB", (8, 8)), **options)
    image = Image.new("RGB", (8, 8))
    image.info.update(options)
    with pytest.raises(TypeError, match=message):
        saved(image)


def animation(format_: str) -> bytes:
    frames = [Image.new("RGB", (32, 24), colour) for colour in ("red", "lime", "blue")]
    return saved(frames[0], format_, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("format_", ["GIF", "PNG", "TIFF", "MPO", "WEBP"])
def test_of_an_animation_the_current_frame_is_saved(format_):
    image = opened(animation(format_))
    assert image.n_frames == 3
    image.seek(1)
    back = np.asarray(opened(saved(image)).convert("RGB"), int)
    assert abs(back.mean((0, 1)) - [0, 255, 0]).max() < 30
    colours = [
        np.asarray(opened(saved(frame)).convert("RGB"), int).mean((0, 1)).argmax()
        for frame in ImageSequence.Iterator(opened(animation(format_)))
    ]
    assert colours == [0, 1, 2]
    with pytest.raises(OSError, match="one picture"):
        saved(image, save_all=True)


def test_the_library_takes_the_current_frame_too():
    from aei import codec

    image = opened(animation("GIF"))
    image.seek(2)
    assert np.asarray(codec.decode(codec.encode(image)).convert("RGB")).mean((0, 1)).argmax() == 2


@pytest.mark.parametrize("step", [7, 64, 10**6])
def test_parser(aei_file, step):
    parser = ImageFile.Parser()
    for start in range(0, len(aei_file), step):
        parser.feed(aei_file[start : start + step])
    assert parser.image.size == (48, 40)  # as Django's get_image_dimensions asks for it
    assert parser.close().tobytes() == opened(aei_file).tobytes()


@pytest.mark.parametrize("n", [16, 20, -1])
def test_verify_sees_that_a_file_is_cut_short(aei_file, n):
    opened(aei_file).verify()
    with pytest.raises(OSError, match="checksum"):
        opened(aei_file[:n]).verify()


def test_verify_looks_at_every_tile():
    from golden_files import read

    data = bytearray(read("rgb-64x64-one-tile"))
    opened(bytes(data)).verify()
    data[-3] ^= 1
    with pytest.raises(OSError, match="checksum"):
        opened(bytes(data)).verify()


def test_a_file_that_takes_the_place_of_an_opened_one(tmp_path, aei_file):
    path = tmp_path / "x.aei"
    path.write_bytes(aei_file)
    image = Image.open(path)
    path.write_bytes(saved(Image.new("L", (8, 8))))
    assert image.size == (48, 40)
    assert image.tobytes() == opened(aei_file).tobytes()


@pytest.mark.parametrize("quality", ["keep", "50", float("nan"), True, [50]])
def test_odd_qualities_say_what_to_give(quality):
    with pytest.raises(OSError, match="choose a number from 1 to 100"):
        saved(Image.new("RGB", (8, 8)), quality=quality)


def test_no_quality_is_the_default():
    image = Image.new("RGB", (8, 8))
    assert saved(image, quality=None) == saved(image) == saved(image, quality=np.float32(75))


def test_damaged_exif_is_left_out():
    image = Image.new("RGB", (8, 8))
    image.info["exif"] = b"Exif\0\0II*\0" + struct.pack("<I", 8) + b"\xff\xff" + bytes(20)
    data = saved(image)
    assert opened(data).size == (8, 8)
    assert opened(saved(image, metadata=False)).size == (8, 8)
