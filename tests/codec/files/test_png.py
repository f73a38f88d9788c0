"""PNG files of decoded images: the same pixels and metadata as Pillow's, and no larger."""

import io
import threading

import numpy as np
import pytest
from aei.codec.files import png
from aei.codec.files.writing import DecodeOptions, decode_file, image_file
from golden_files import FACTS, codec_of, read
from PIL import Image, ImageCms, PngImagePlugin

SIZES = [(1, 1), (1, 9), (9, 1), (3, 2), (64, 48), (700, 301), (70_000, 2)]


def picture(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth in places, noise in others."""
    random = np.random.default_rng([seed, width, height])
    channels = len(Image.new(mode, (1, 1)).getbands())
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] // 2
    noise = random.integers(0, 256, (height, width, channels)) * (ramp % 64 > 40)
    pixels = ((ramp + noise) % 256).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("name", FACTS)
def test_a_file_is_decoded_to_the_same_png_without_pillow(name):
    data, codec = read(name), codec_of(FACTS[name]["bundle"])
    image = codec.decode(data)
    assert decode_file(data, codec).data == image_file(image, "PNG")
    box = (image.width // 3, 0, image.width - image.width // 3, image.height // 2 + 1)
    part = decode_file(data, codec, options=DecodeOptions(region=box))
    assert part.data == image_file(codec.decode(data, region=box), "PNG")
    assert (part.width, part.height) == box[2:]


@pytest.mark.parametrize("mode", png.MODES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("threads", [1, 3])
def test_pixels_come_back(mode, size, threads):
    image = picture(mode, *size)
    back = opened(image_file(image, "PNG", threads))
    assert (back.mode, back.size) == (mode, size)
    assert back.tobytes() == image.tobytes()


def test_threads_change_no_byte_and_may_be_missing(monkeypatch):
    image = picture("RGB", 640, 480)
    one = image_file(image, "PNG", 1)
    assert image_file(image, "PNG", 4) == one

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    assert image_file(image, "PNG", 4) == one


def test_a_strip_that_failed_on_a_thread_is_made_again(monkeypatch):
    image = picture("RGB", 640, 480)
    good, strip = image_file(image, "PNG", 1), png._strip

    def fragile(*arguments):
        if threading.current_thread() is not threading.main_thread():
            raise MemoryError
        return strip(*arguments)

    monkeypatch.setattr(png, "_strip", fragile)
    monkeypatch.setattr(threading, "excepthook", lambda _: pytest.fail("said on stderr"))
    assert image_file(image, "PNG", 3) == good


@pytest.mark.parametrize("mode", png.MODES)
def test_all_but_the_pixels_is_what_pillow_writes(mode):
    image = picture(mode, 40, 30)
    space = "sRGB" if mode.startswith("RGB") else "LAB"
    pieces = {
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes(),
        "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0",
        "xmp": "<x:xmpmeta>caf\u00e9</x:xmpmeta>".encode(),
    }
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", pieces["xmp"].decode())
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info, exif=pieces["exif"], icc_profile=pieces["icc_profile"])

    def others(data: bytes) -> list[bytes]:
        chunks, at = [], 8
        while at < len(data):
            size = 12 + int.from_bytes(data[at : at + 4], "big")
            chunks.append(data[at : at + size])
            at += size
        return [chunk for chunk in chunks if chunk[4:8] != b"IDAT"]

    assert others(png.file_of(np.asarray(image), pieces)) == others(out.getvalue())


def test_metadata_is_pillows():
    image = picture("RGB", 40, 30)
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image.info = {
        "icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "exif": exif.tobytes(),
        "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>",
    }
    back = opened(image_file(image, "PNG", 2))
    assert back.info["icc_profile"] == image.info["icc_profile"]
    assert back.getexif()[0x010E] == "a description"
    assert back.info["XML:com.adobe.xmp"] == image.info["xmp"].decode()
    assert back.tobytes() == image.tobytes()


def test_other_modes_are_left_to_pillow():
    for mode in ("1", "P"):
        image = picture("L", 50, 40).convert(mode)
        assert opened(image_file(image, "PNG", 2)).tobytes() == image.tobytes()


def plain_paeth(left: int, above: int, corner: int) -> int:
    """As the PNG specification words it, section 9.4."""
    p = left + above - corner
    pa, pb, pc = abs(p - left), abs(p - above), abs(p - corner)
    if pa <= pb and pa <= pc:
        return left
    return above if pb <= pc else corner


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_the_filter_is_paeths(channels):
    rows = np.random.default_rng(channels).integers(0, 256, (7, 6 * channels)).astype(np.uint8)
    rows[3:] //= 64  # ties
    for top, count in ((0, 7), (2, 3), (5, 9)):
        made = png.filtered(rows, channels, top, count)
        assert made.shape == (min(count, 7 - top), 1 + rows.shape[1])
        for i, row in enumerate(made, top):
            assert row[0] == png.PAETH
            for j in range(rows.shape[1]):
                left = int(rows[i, j - channels]) if j >= channels else 0
                above = int(rows[i - 1, j]) if i else 0
                corner = int(rows[i - 1, j - channels]) if i and j >= channels else 0
                expected = (int(rows[i, j]) - plain_paeth(left, above, corner)) % 256
                assert row[1 + j] == expected


def test_a_smooth_picture_is_no_larger_than_pillows():
    y, x = np.mgrid[:256, :384] / 40
    smooth = np.stack([np.sin(x) * np.cos(y), np.sin(x + y), np.cos(x - y)], -1) * 100 + 128
    smooth += np.random.default_rng(1).normal(0, 2, smooth.shape)
    image = Image.fromarray(smooth.astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "PNG")
    assert len(image_file(image, "PNG")) < 1.01 * len(out.getvalue())
