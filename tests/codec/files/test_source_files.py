"""Image files as they come, through an .aei file and back: what is read right, refused or said."""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from aei.codec import Codec, UnsupportedError
from aei.codec.files.convert import EncodeOptions, decode_file, encode_file, open_image
from aei.codec.files.writing import image_file
from aei.codec.pixels.images import to_picture
from aei.codec.pixels.profiles import SRGB, make_profile
from conftest import synthetic_photo
from PIL import Image, ImageCms

ORIENTATION, MAKE, GPS = 0x0112, 0x010F, 0x8825
PHOTO = synthetic_photo(64, 96, 3)


@pytest.fixture
def codec(codec) -> Codec:
    return codec


def saved(image, format_, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def png(pixels: np.ndarray, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of 8 or 16 bits with further chunks."""
    h, w = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(h, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, 0)), *chunks,
             (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]  # fmt: skip
    out = b"\x89PNG\r\n\x1a\n"
    for kind, content in parts:
        out += struct.pack(">I", len(content)) + kind + content
        out += struct.pack(">I", zlib.crc32(kind + content))
    return out


def there_and_back(codec, data: bytes, format_="TIFF", **options) -> Image.Image:
    made = encode_file(data, codec, EncodeOptions(quality=90, **options))
    back = decode_file(made.data, Codec(), format_).data
    image = opened(back)
    image.load()
    return image


# ---- 9: TIFF


def tiffs() -> dict[str, bytes]:
    tifffile = pytest.importorskip("tifffile")

    def written(a, **options) -> bytes:
        file = io.BytesIO()
        tifffile.imwrite(file, a, photometric="rgb", **options)
        return file.getvalue()

    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return {
        "planar": written(PHOTO.transpose(2, 0, 1), planarconfig="separate"),
        "tiled": written(PHOTO, tile=(32, 32)),
        "bigtiff": written(PHOTO, bigtiff=True),
        "turned": saved(Image.fromarray(PHOTO), "TIFF", exif=exif),
        "lzw": saved(Image.fromarray(PHOTO), "TIFF", compression="tiff_lzw"),
        "palette": saved(Image.fromarray(PHOTO).quantize(64), "TIFF"),
    }


@pytest.mark.parametrize("kind", ["planar", "tiled", "bigtiff", "turned", "lzw", "palette"])
@pytest.mark.parametrize("format_", ["TIFF", "PNG", "JPEG", "WEBP", "AVIF"])
def test_tiff_files_come_back_as_they_were(codec, kind, format_, caplog):
    data = tiffs()[kind]
    seen = opened(data)
    seen.load()
    seen = seen.convert("RGB")
    back = there_and_back(codec, data, format_)
    assert back.size == seen.size
    error = np.asarray(back.convert("RGB"), float) - np.asarray(seen, float)
    assert np.abs(error).mean() < 9
    assert not caplog.records


def test_what_describes_a_tiff_file_is_kept_and_what_lays_it_out_is_not(codec):
    exif = Image.Exif()
    exif[MAKE], exif[0x8298] = "Maker", "Rights"
    exif[0x8769] = {0x9003: "2020:01:01 00:00:00"}
    exif[GPS] = {1: "N"}
    data = saved(Image.fromarray(PHOTO), "TIFF", exif=exif.tobytes())
    kept = to_picture(opened(data)).metadata["exif"]
    block = Image.Exif()
    block.load(b"Exif\0\0" + kept)
    assert set(block) == {MAKE, 0x8298, 0x8769, GPS}
    for format_ in ("TIFF", "JPEG"):
        back = there_and_back(codec, data, format_).getexif()
        assert (back[MAKE], back[0x8298]) == ("Maker", "Rights")
        assert back.get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        assert back.get_ifd(GPS)[1] == "N"


# ---- 10: depth


def deep() -> dict[str, bytes]:
    a = PHOTO.astype(np.uint16) * 257
    alpha = np.full((*a.shape[:2], 1), 65535, np.uint16)
    files = {
        "png rgb": png(a, 2), "png grey": png(a[..., 0], 0),
        "png rgba": png(np.dstack([a, alpha]), 6), "png la": png(np.dstack([a[..., :1], alpha]), 4),
        "ppm": b"P6 96 64 65535\n" + a.astype(">u2").tobytes(),
        "jp2 grey": saved(Image.fromarray(a[..., 0]), "JPEG2000"),
    }  # fmt: skip
    try:
        import tifffile
    except ImportError:
        return files
    for name, pixels, kind in (("rgb", a, "rgb"), ("grey", a[..., 0], "minisblack")):
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric=kind)
        files[f"tiff {name}"] = file.getvalue()
    return files


@pytest.mark.parametrize("kind", list(deep()))
def test_more_than_8_bits_are_refused_by_name_and_converted_on_demand(codec, kind, caplog):
    data = deep()[kind]
    with pytest.raises(UnsupportedError, match="16 bits"):
        open_image(data)
    with pytest.raises(UnsupportedError, match="16 bits"):
        codec.encode(opened(data))
    image, _ = open_image(data, convert=True)
    wanted = PHOTO if image.mode.startswith("RGB") else PHOTO[..., 0]
    pixels = np.asarray(image).reshape(64, 96, -1)
    wanted = wanted.reshape(64, 96, -1)
    error = pixels[..., : wanted.shape[2]].astype(int) - wanted
    if kind != "png la":  # Pillow opens these as RGBA
        assert np.abs(error).max() <= 1
    assert any("8" in record.message for record in caplog.records)


@pytest.mark.parametrize("scale", [1, 255])
def test_floats(codec, scale):
    a = (PHOTO[..., 0] / np.float32(255)) * np.float32(scale)
    data = saved(Image.fromarray(a), "TIFF")
    with pytest.raises(UnsupportedError, match="32 bits"):
        open_image(data)
    image, _ = open_image(data, convert=True)
    assert np.array_equal(np.asarray(image), PHOTO[..., 0])
    bad = saved(Image.fromarray(a - a.max()), "TIFF")
    with pytest.raises(UnsupportedError, match="below 0"):
        open_image(bad, convert=True)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "YCbCr"])
def test_other_colour_spaces(codec, mode, caplog):
    rgb = Image.new("RGB", (32, 24), (200, 90, 40))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        source = ImageCms.profileToProfile(rgb, srgb, lab, outputMode="LAB")
    else:
        source = rgb.convert(mode)
    source.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    data = saved(source, "TIFF")
    with pytest.raises(UnsupportedError, match="mode"):
        encode_file(data, codec, EncodeOptions())
    image, _ = open_image(data, convert=True)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image, int)[5, 5] - (200, 90, 40)).max() < 6
    assert "converted" in caplog.text
    assert encode_file(data, codec, EncodeOptions(convert=True)).width == 32


def test_the_command_converts_and_says_so(run_aei, tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(deep()["png rgb"])
    done = run_aei("encode", path)
    assert done.code == 1
    assert "16 bits a channel" in done.err
    done = run_aei("encode", path, "--convert")
    assert done.code == 0
    assert "converted from RGB of 16 bits" in done.err


def test_pillow_users_get_what_pillows_own_plugins_give_them():
    import aei.codec.pillow  # noqa: F401

    for kind in ("png rgb", "png rgba"):
        image = opened(deep()[kind])
        assert opened(saved(image, "AEI")).size == (96, 64)
    if "tiff rgb" in deep():
        assert opened(saved(opened(deep()["tiff rgb"]), "AEI")).size == (96, 64)


# ---- 11: orientation and formats that lose


@pytest.mark.parametrize("format_", ["BMP", "PPM", "TGA", "JPEG2000", "ICO", "PNG", "WEBP", "AVIF"])
def test_orientation_is_never_lost(format_):
    image = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    image.info["exif"] = exif.tobytes()
    back = opened(image_file(image, format_))
    turned = back.getexif().get(ORIENTATION, 1) != 1
    assert back.size == ((96, 64) if turned else (64, 96))
    if not turned and format_ not in ("WEBP", "AVIF"):
        assert np.array_equal(np.asarray(back.convert("RGB")), np.rot90(PHOTO, -1))


def test_formats_that_lose_by_palette_or_size_are_refused():
    with pytest.raises(UnsupportedError, match="256 colours"):
        image_file(Image.fromarray(PHOTO), "GIF")
    grey = Image.fromarray(PHOTO[..., 0])
    assert np.array_equal(np.asarray(opened(image_file(grey, "GIF")).convert("L")), PHOTO[..., 0])
    with pytest.raises(UnsupportedError, match="256x256"):
        image_file(Image.new("RGB", (300, 10)), "ICO")
    assert opened(image_file(Image.fromarray(PHOTO), "ICO")).size == (96, 64)


# ---- 12: colour

GAMMA = (b"gAMA", struct.pack(">I", 100000))
LIKE_SRGB = (b"gAMA", struct.pack(">I", 45455))
P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
CHROMA = (b"cHRM", struct.pack(">8I", *P3))


def shown(data: bytes) -> np.ndarray:
    """The pixels of an .aei file's source as metadata says they look in sRGB, uint8."""
    image, _ = open_image(data)
    picture = to_picture(image)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.metadata["icc_profile"]))
    srgb = ImageCms.createProfile("sRGB")
    mode = picture.source.mode
    made = ImageCms.profileToProfile(picture.source, profile, srgb, outputMode="RGB")
    assert mode in ("L", "RGB")
    return np.asarray(made)


@pytest.mark.parametrize("grey", [False, True])
def test_a_linear_png_keeps_its_look(grey):
    pixels = np.full((8, 8, 1 if grey else 3), 55, np.uint8)
    look = shown(png(pixels, 0 if grey else 2, GAMMA))
    linear = 55 / 255
    assert np.abs(look.astype(int) - 255 * (1.055 * linear ** (1 / 2.4) - 0.055)).max() < 2


@pytest.mark.parametrize(
    "chunks", [[CHROMA, LIKE_SRGB], [(b"cICP", bytes([12, 13, 0, 1]))]], ids=["cHRM", "cICP"]
)
def test_a_wide_gamut_keeps_its_look(chunks):
    pixels = np.zeros((8, 8, 3), np.uint8) + np.array([0, 200, 0], np.uint8)
    look = shown(png(pixels, 2, *chunks))[0, 0]
    # P3's green lies outside sRGB: red and blue are cut off at 0, green is stronger
    assert look[0] == 0
    assert look[1] > 200


def test_srgb_needs_no_profile():
    pixels = np.zeros((8, 8, 3), np.uint8)
    srgb = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    for chunks in ([], [(b"sRGB", b"\0"), LIKE_SRGB, srgb], [LIKE_SRGB], [LIKE_SRGB, srgb],
                   [(b"cICP", bytes([1, 13, 0, 1]))]):  # fmt: skip
        image, _ = open_image(png(pixels, 2, *chunks))
        assert "icc_profile" not in to_picture(image).metadata


def test_colours_that_no_profile_tells_are_said(caplog):
    image, _ = open_image(png(np.zeros((8, 8, 3), np.uint8), 2, (b"cICP", bytes([9, 16, 0, 1]))))
    assert to_picture(image).metadata == {}
    assert "cICP" in caplog.text


def test_odd_primaries_are_no_error():
    for values in ((0,) * 8, (31270, 0, 1, 1, 1, 1, 1, 1), (2**31 - 1,) * 8):
        chunk = (b"cHRM", struct.pack(">8I", *values))
        image, _ = open_image(png(np.zeros((8, 8, 3), np.uint8), 2, chunk, GAMMA))
        to_picture(image)


def test_a_profile_suits_its_pixels(caplog):
    rgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey = make_profile(SRGB, (0, (2.2,)), True)
    palette = Image.new("P", (8, 8))
    palette.putpalette([i for v in range(256) for i in (v, v, v)])
    palette.info["icc_profile"] = rgb
    picture = to_picture(palette)
    assert (picture.source.mode, picture.metadata["icc_profile"]) == ("RGB", rgb)
    assert not caplog.records
    for mode, profile in (("L", rgb), ("RGB", grey), ("RGB", rgb[:16] + b"CMYK" + rgb[20:])):
        image = Image.new(mode, (8, 8))
        image.info["icc_profile"] = profile
        assert to_picture(image).metadata == {}
        assert "is left out" in caplog.text
        caplog.clear()
    image = Image.new("L", (8, 8))
    image.info["icc_profile"] = grey
    assert to_picture(image).metadata == {"icc_profile": grey}


# ---- 13: previews and extended XMP


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\1\4\0\0"}])
def test_the_preview_of_a_raw_photograph_is_not_the_photograph(tags):
    data = saved(Image.fromarray(PHOTO), "TIFF", tiffinfo=tags)
    assert opened(data).tag_v2.get(next(iter(tags))) is not None
    with pytest.raises(UnsupportedError, match="preview"):
        open_image(data)


def test_extended_xmp_leaves_nothing_that_dangles(caplog):
    xmp = (
        b'<x:xmpmeta><rdf:Description xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
        b'xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF" a="b"/></x:xmpmeta>'
    )
    with caplog.at_level(logging.WARNING):
        kept = to_picture(opened(saved(Image.fromarray(PHOTO), "JPEG", xmp=xmp))).metadata["xmp"]
    assert b"HasExtendedXMP" not in kept
    assert b' a="b"/>' in kept
    assert "further parts" in caplog.text


# ---- 17: metadata that cannot be written

BROKEN = (
    b"Exif\0\0II*\0"
    + struct.pack("<IH", 8, 3)
    + b"\x69\x87\4\0\1\0\0\0\xff\xff\xff\xff"
    + b"\x12" * 9
)


def test_large_pieces_are_left_out_by_name(caplog):
    image = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[MAKE] = "M" * 70_000
    image.info["exif"] = exif.tobytes()
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    back = opened(image_file(image, "JPEG"))
    assert "exif" not in back.info
    assert back.info["icc_profile"]
    assert "Exif cannot be written as JPEG" in caplog.text
    caplog.clear()
    image.info["exif"] = None
    image.info["xmp"] = b"<x>" + b"y" * 70_000
    assert "xmp" not in opened(image_file(image, "JPEG")).info
    assert "XMP cannot be written as JPEG" in caplog.text
    caplog.clear()
    image.info["exif"] = exif.tobytes()
    assert opened(image_file(image, "JPEG")).size == image.size
    assert "Exif" in caplog.text
    assert "XMP" in caplog.text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_", ["TIFF", "AVIF", "JPEG", "PNG", "WEBP", "BMP"])
def test_broken_exif_costs_no_picture(codec, format_):
    import aei.codec.pillow  # noqa: F401
    from aei.codec.files.convert import thumbnail

    data = saved(Image.fromarray(PHOTO), "PNG", exif=BROKEN)
    for strip in (False, True):
        made = encode_file(data, codec, EncodeOptions(metadata=not strip)).data
        assert opened(decode_file(made, Codec(), format_).data).size == (96, 64)
        assert max(opened(thumbnail(made, 32)).size) <= 32


def test_the_command_says_nothing_of_pillows_warnings(tmp_path):
    import subprocess
    import sys

    (tmp_path / "a.png").write_bytes(saved(Image.fromarray(PHOTO), "PNG", exif=BROKEN))
    program = "import sys; from aei.cli.main import main; main()"
    for line in (
        ["encode", "a.png", "--strip"],
        ["encode", "a.png", "-f"],
        ["decode", "a.aei", "-o", "b.tif"],
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, *line], cwd=tmp_path, capture_output=True, timeout=60
        )
        assert done.returncode == 0
        assert all(text.startswith(b"aei: ") for text in done.stderr.splitlines()), done.stderr
