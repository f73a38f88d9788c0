"""The preview inside a file: when it is written, what it shows, who takes it, and that a bad one
costs nothing but itself."""

import io
import struct

import aei.codec.pillow  # noqa: F401
import numpy as np
import pytest
from aei.codec import AeiError, Codec, Limits, UnsupportedError
from aei.codec import preview as previews
from aei.codec.files.convert import thumbnail
from aei.codec.pixels.images import Picture
from aei.codec.settings import EncodeSettings
from aei.formats import pack, parse
from aei.formats.container import parse_start
from aei.formats.sections import ALPHA, EXIF, PREVIEW
from golden_files import codec_of, read
from PIL import Image

NAMES = {"preview-grey-330x40": "context", "preview-rgb-alpha-48x340-tiles": "finish"}


def photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    across = np.linspace(0, 6, width)[None, :, None]
    down = np.linspace(0, 4, height)[:, None, None]
    a = 127 + 120 * np.sin(across + np.arange(len(mode))) * np.cos(down)
    return Image.fromarray(a.astype(np.uint8)[..., 0] if mode == "L" else a.astype(np.uint8), mode)


def with_preview(data: bytes, small: bytes | None) -> bytes:
    """A file with another preview, or none."""
    contents = parse(data)
    tiles = [(contents.tile(i), e.code_all) for i, e in enumerate(contents.entries)]
    kept = {k: v for k, v in contents.sections.items() if k != PREVIEW}
    return pack(
        contents.header, tiles, kept if small is None else kept | {PREVIEW: small}, contents.side
    )


def test_by_default_only_large_pictures_have_one():
    plain, asked, never = (EncodeSettings(preview=p) for p in (None, True, False))
    assert not previews.is_wanted(plain, (2000, 1000))
    assert previews.is_wanted(plain, (2000, 1001))
    assert previews.is_wanted(asked, (321, 10))
    assert not previews.is_wanted(asked, (320, 320))
    assert not previews.is_wanted(never, (9000, 9000))


def test_it_changes_no_pixel_and_may_be_left_out(monkeypatch):
    codec, image = codec_of("finish"), photo(360, 350)
    without = codec.encode(image, gain_index=200, preview=False)
    assert without == codec.encode(image, gain_index=200)
    monkeypatch.setattr(previews, "LEAST_PIXELS", 100_000)
    monkeypatch.setattr(previews, "SHARE", 1.0)
    data = codec.encode(image, gain_index=200)
    assert PREVIEW in parse(data).sections
    assert with_preview(data, None) == without
    assert codec.pixels_sha256(data) == codec.pixels_sha256(without)
    assert codec.latents_sha256(data) == codec.latents_sha256(without)
    monkeypatch.setattr(previews, "SHARE", 0.001)
    assert codec.encode(image, gain_index=200) == without  # it does not fit


def test_the_best_that_fits():
    made = []

    def encode(index: int) -> bytes:
        made.append(index)
        return bytes(round(400 * 1.015**index))

    assert len(previews.fitting(encode, 150, 20, None)) == round(400 * 1.015**150)
    assert 700 < len(previews.fitting(encode, 150, 20, 1000)) <= 1000
    assert previews.fitting(encode, 150, 20, 500) is None  # 539 at index 20
    assert min(made) >= 20


@pytest.mark.parametrize("mode", ["L", "RGB", "LA", "RGBA"])
@pytest.mark.parametrize("size", [(700, 333), (333, 1700), (5000, 1)])
def test_the_small_picture_is_the_picture_from_afar(mode, size):
    image = photo(*size, mode)
    small = previews.small_picture(Picture(image), 64)
    assert small.size == previews.fitted(*size, 64)
    assert small.source.mode == mode
    expected = image.resize(small.size, Image.Resampling.LANCZOS)
    difference = np.asarray(small.source).astype(int) - np.asarray(expected)
    assert np.abs(difference).mean() < 3


def test_what_cannot_be_seen_does_not_colour_it():
    image = Image.new("RGBA", (640, 480), (0, 255, 0, 0))
    image.paste((200, 10, 10, 255), (0, 0, 333, 480))
    small = np.asarray(previews.small_picture(Picture(image), 64).source)
    seen = small[small[..., 3] > 30]
    assert seen[:, 1].max() < 30  # no green


@pytest.mark.parametrize("name", NAMES)
def test_thumbnails_come_from_it(name, tmp_path, monkeypatch):
    codec, data = codec_of(NAMES[name]), read(name)
    path = tmp_path / "a.aei"
    path.write_bytes(data[: parse(data).entries[0].start])  # all that is read
    monkeypatch.setattr(previews, "START_BYTES", 20)
    image = codec.thumbnail(path, 300)
    assert max(image.size) == 300
    assert image.mode == parse(data).header.mode
    whole = codec.decode(data).resize(image.size, Image.Resampling.LANCZOS)
    difference = np.asarray(image).astype(int) - np.asarray(whole)
    assert np.abs(difference).mean() < 12
    assert codec.thumbnail(data, 300).tobytes() == image.tobytes()
    # larger ones, and those of files without, come from the latents
    assert max(codec.thumbnail(data, 330).size) == 330
    assert codec.thumbnail(with_preview(data, None), 300).size == image.size
    assert codec.thumbnail(data, 5000).size == codec.decode(data).size
    for wrong in (0, -1, 1.5, "9", True):
        with pytest.raises(UnsupportedError, match="thumbnail"):
            codec.thumbnail(data, wrong)


def test_scales_of_the_whole_come_from_it():
    name = "preview-grey-330x40"
    codec, data = codec_of(NAMES[name]), read(name)
    small = codec.decode(parse(data).sections[PREVIEW])
    half = codec.decode(data, scale=2)
    assert half.tobytes() == small.resize((165, 20), Image.Resampling.LANCZOS).tobytes()
    region = codec.decode(data, scale=2, region=(0, 0, 330, 40))
    assert region.tobytes() == codec.decode(with_preview(data, None), scale=2).tobytes()
    with pytest.raises(UnsupportedError, match="scale"):
        codec.decode(data, scale=3)


def bad_previews(codec: Codec, data: bytes) -> dict[str, bytes]:
    contents = parse(data)
    good = contents.sections[PREVIEW]
    image = codec.decode(good)
    tiny = codec_of("tiny")
    damaged = bytearray(good)
    damaged[len(good) // 2] ^= 4
    inner = parse(good)
    tile = inner.tile(0)
    worse = bytes([tile[0], tile[1] ^ 85, *tile[2:]])
    other = image.convert("LA" if image.mode == "L" else "RGB")
    return {
        "nothing": b"",
        "no file": b"\xff" * 300,
        "damaged": bytes(damaged),
        "a payload of something else": pack(
            inner.header, [(worse, inner.entries[0].code_all)], inner.sections
        ),
        "itself": data,
        "with a preview": with_preview(good, good),
        "with metadata": pack(
            inner.header,
            [(tile, inner.entries[0].code_all)],
            inner.sections | {EXIF: b"\x78\x9c\x03\x00\x00\x00\x00\x01"},
        ),
        "tiled": codec.encode(image, gain_index=90, tile_side=64),
        "of another model": tiny.encode(image, gain_index=90),
        "of another mode": codec.encode(other, gain_index=90),
        "of other proportions": codec.encode(image.resize((100, 100)), gain_index=90),
        "larger": codec.encode(image.resize((400, 400)), gain_index=90),
        "too many pixels": codec.encode(image.resize((600, 600)), gain_index=90),
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_one_is_none(name, monkeypatch):
    codec, data = codec_of(NAMES[name]), read(name)
    monkeypatch.setattr("aei.codec.api._shared", codec)
    without = codec.thumbnail(with_preview(data, None), 300).tobytes()
    pixels = codec.pixels_sha256(data)
    for why, small in bad_previews(codec, data).items():
        bad = with_preview(data, small)
        header, sections = parse_start(bad)
        if why != "a payload of something else":
            assert previews.contents_of(header, sections) is None, why
        assert codec.thumbnail(bad, 300).tobytes() == without, why
        assert codec.pixels_sha256(bad) == pixels, why
        opened = Image.open(io.BytesIO(bad))
        opened.thumbnail((30, 30))
        assert max(opened.size) == 30, why


def test_costs_are_bounded():
    codec = codec_of("context")
    data = read("preview-grey-330x40")
    with pytest.raises(AeiError, match="over the limit"):
        codec.thumbnail(data, 300, limits=Limits(pixels=1000))
    with pytest.raises(AeiError, match="cancelled"):
        codec.thumbnail(data, 300, limits=Limits(cancel=lambda: True))
    header, sections = parse_start(data)
    long = sections | {PREVIEW: sections[PREVIEW] + bytes(previews.MOST_BYTES)}
    assert previews.contents_of(header, long) is None


def test_pillow_drafts_and_thumbnails(monkeypatch):
    name = "preview-rgb-alpha-48x340-tiles"
    codec, data = codec_of(NAMES[name]), read(name)
    monkeypatch.setattr("aei.codec.api._shared", codec)
    small = codec.decode(parse(data).sections[PREVIEW])
    image = Image.open(io.BytesIO(data))
    assert image.draft(None, (30, 200)) == ("RGBA", (0, 0, *small.size))
    assert image.tobytes() == small.tobytes()
    image = Image.open(io.BytesIO(data))
    image.draft(None, (48, 330))
    assert image.size == (48, 340)
    image = Image.open(io.BytesIO(data))
    image.thumbnail((300, 300))  # Pillow asks for twice of it
    assert image.size == (42, 300)
    box = (0, 0, *small.size)
    expected = small.resize((42, 300), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
    assert image.tobytes() == expected.tobytes()


def test_thumbnails_are_upright_and_in_their_colours():
    codec = codec_of("finish")
    image = photo(400, 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info["exif"] = exif.tobytes()
    data = codec.encode(image, gain_index=90, preview=True)
    made = Image.open(io.BytesIO(thumbnail(data, 100, codec)))
    assert made.size == (50, 100)
    assert not made.getexif()
    assert ALPHA not in parse(data).sections
    with pytest.raises(AeiError):
        thumbnail(data[:40] + struct.pack("<I", 7) + data[44:], 390, codec)
