"""More than 8 bits and other colour spaces as 8 bits: every bit counts, averages are kept, the same
each time; from files, from Pillow and from arrays."""

import io
import struct
import zlib

import numpy as np
import pytest
from aei import codec as face
from aei.codec import Target, UnsupportedError, encode_many, encode_to_target
from aei.codec.files.convert import open_image
from aei.codec.pixels.deep import samples_of, to_8_bits
from aei.codec.pixels.depth import as_8_bits
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from test_source_files import opened, png, saved

NOISE = (np.arange(48 * 64 * 4) * 40503 % 65536).astype(np.uint16).reshape(48, 64, 4)
SLOPE = np.linspace(9000, 9600, 64)[None, :, None] + np.zeros((48, 1, 3))


def tiff(a: np.ndarray, **options) -> bytes:
    tifffile = pytest.importorskip("tifffile")
    file = io.BytesIO()
    tifffile.imwrite(file, a, **options)
    return file.getvalue()


# ---- the arithmetic


@given(arrays.arrays(np.uint16, st.tuples(*[st.integers(1, 9)] * 2, st.integers(1, 4))))
def test_a_level_is_one_of_the_two_around(a):
    out = to_8_bits(a)
    assert out.dtype == np.uint8
    assert (np.abs(out - a / 257) < 1).all()
    assert np.array_equal(to_8_bits(out * np.uint16(257)), out)
    if a.shape[2] in (2, 4):  # alpha is rounded
        assert np.array_equal(out[..., -1], np.rint(a[..., -1] / 257))


def test_slow_gradients_keep_their_averages_and_get_no_edges():
    a = SLOPE.astype(np.uint16)
    out = to_8_bits(a).astype(float)
    error = (out - a / 257).reshape(6, 8, 8, 8, 3).mean((1, 3))
    assert np.abs(error).max() < 0.06
    rounded = np.rint(a / 257).reshape(6, 8, 8, 8, 3).mean((1, 3))
    assert np.abs(rounded - (a / 257).reshape(6, 8, 8, 8, 3).mean((1, 3))).max() > 0.3
    # rounded columns would be of one level each
    assert (out.std(0) > 0).mean() > 0.8


def test_flat_parts_are_rounded():
    a = np.full((9, 9, 3), 1000, np.uint16)
    assert (to_8_bits(a) == 4).all()
    a[4, 4] = 60000
    assert (to_8_bits(a)[:3] == 4).all()


def test_slabs_do_not_show_and_all_is_the_same_again(monkeypatch):
    from aei.codec.pixels import deep

    whole = to_8_bits(NOISE)
    assert zlib.crc32(whole.tobytes()) == 1760181148
    monkeypatch.setattr(deep, "SLAB", 64 * 5)
    assert np.array_equal(to_8_bits(NOISE), whole)


# ---- every bit of a file


def files() -> dict[str, tuple[bytes, np.ndarray]]:
    rgb, separate = NOISE[..., :3], {"photometric": "rgb", "planarconfig": "separate"}
    return {
        "png rgb": (png(rgb, 2), rgb), "png rgba": (png(NOISE, 6), NOISE),
        "png la": (png(NOISE[..., :2], 4), NOISE[..., :2]),
        "tiff": (tiff(rgb, photometric="rgb"), rgb),
        "big-endian tiff": (tiff(rgb, photometric="rgb", byteorder=">"), rgb),
        "tiff in tiles": (tiff(rgb, photometric="rgb", tile=(16, 16)), rgb),
        "deflated tiff": (tiff(rgb, photometric="rgb", compression="deflate"), rgb),
        "tiff in planes": (tiff(rgb.transpose(2, 0, 1), **separate), rgb),
        "big-endian planes": (tiff(rgb.transpose(2, 0, 1), byteorder=">", **separate), rgb),
        "tiff rgba": (tiff(NOISE, photometric="rgb", extrasamples=["unassalpha"]), NOISE),
        "cmyk": (tiff(NOISE, photometric="separated"), NOISE),
    }  # fmt: skip


@pytest.mark.parametrize("kind", [
    "png rgb", "png rgba", "png la", "tiff", "big-endian tiff", "tiff in tiles", "deflated tiff",
    "tiff in planes", "big-endian planes", "tiff rgba", "cmyk",
])  # fmt: skip
def test_every_bit_of_a_file_is_read(kind):
    data, wanted = files()[kind]
    image = opened(data)
    assert np.array_equal(samples_of(image), wanted)
    image.load()  # the image is as it was
    assert samples_of(image) is None
    if kind != "cmyk":
        made, _ = open_image(data, convert=True)
        assert np.array_equal(np.asarray(made), to_8_bits(wanted))
        assert np.array_equal(np.asarray(as_8_bits(opened(data))), to_8_bits(wanted))


def test_interlaced_files_and_further_frames():
    rgb = NOISE[..., :3]
    frames = tiff(np.stack([rgb[::-1], rgb]), photometric="rgb")
    image = opened(frames)
    image.seek(1)
    assert np.array_equal(samples_of(image), rgb)
    assert image.tell() == 1


def test_premultiplied_colours_are_divided_by_alpha():
    a = np.full((4, 4, 4), 1000, np.uint16)
    a[..., 3] = 4000
    a[0, 0] = 0
    made = samples_of(opened(tiff(a, photometric="rgb", extrasamples=["assocalpha"])))
    assert (made[1:, :, :3] == round(65535 / 4)).all()
    assert (made[1:, :, 3] == 4000).all()
    assert (made[0, 0] == 0).all()


def test_what_pillow_cannot_give_whole_is_cut_and_said(caplog):
    rgb = NOISE[..., :3].transpose(2, 0, 1)
    data = tiff(rgb, photometric="rgb", planarconfig="separate", compression="deflate")
    image, _ = open_image(data, convert=True)
    assert np.array_equal(np.asarray(image), NOISE[..., :3] >> 8)
    assert "16 bits a channel are cut to 8" in caplog.text


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_colour_of_16_bits_becomes_alpha(channels):
    a = NOISE[..., :channels]
    clear = (b"tRNS", a[3, 5].astype(">u2").tobytes())
    image, _ = open_image(png(a, 2 if channels == 3 else 0, clear), convert=True)
    assert image.mode == ("RGBA" if channels == 3 else "LA")
    alpha = np.asarray(image)[..., -1]
    assert np.array_equal(alpha == 0, (a == a[3, 5]).all(2))
    assert "transparency" not in image.info


# ---- numbers of other ranges


def test_twelve_bits_and_white_is_zero():
    values = np.array([[0, 1, 2047, 4095]], np.uint16)
    pairs = values.reshape(-1, 2).astype(int).tolist()
    packed = b"".join((a << 12 | b).to_bytes(3, "big") for a, b in pairs)
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (277, 1), (278, 1), (279, 6)]

    def file(photometric: int, bits: int, strip: bytes) -> bytes:
        found = dict(tags) | {262: photometric, 258: bits, 279: len(strip)}
        found[273] = 8 + 2 + 12 * (len(found) + 1) + 4
        entries = b"".join(struct.pack("<HHII", t, 4, 1, v) for t, v in sorted(found.items()))
        return b"II*\0\x08\0\0\0" + struct.pack("<H", len(found)) + entries + bytes(4) + strip

    image, _ = open_image(file(1, 12, packed), convert=True)
    assert np.abs(np.asarray(image, float) - values / 4095 * 255).max() <= 1
    assert np.asarray(image)[0, 3] == 255
    image, _ = open_image(file(0, 16, (values * 16).tobytes()), convert=True)
    assert np.abs(np.asarray(image, float) - (255 - values * (16 / 257))).max() <= 1


def test_a_dark_picture_stays_dark():
    a = np.full((4, 4), 200, ">u2")
    for data in (b"P5 4 4 65535\n" + a.tobytes(), png(a[..., None].astype(np.uint16), 0)):
        image, _ = open_image(data, convert=True)
        assert np.asarray(image).max() <= 1


# ---- colour spaces with profiles


def ink_profile() -> bytes:
    """An ICC profile of four inks by a table of 2^4 places: K makes L* 20, C alone L* 60 a* -40."""
    nodes = []
    for i in range(16):
        c, m, y, k = (i >> 3 & 1, i >> 2 & 1, i >> 1 & 1, i & 1)
        light = 20 if k else 100 - 40 * c - 20 * m - 10 * y
        nodes.append((light, 0 if k else -40 * c + 40 * m, 0 if k else 50 * y))
    table = b"".join(
        bytes([round(light * 2.55), round(a) + 128, round(b) + 128]) for light, a, b in nodes
    )
    steps = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * n for n in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + steps * 4 + table + steps * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"inks\0" + bytes(78)
    ends = bytes(
        255 if light == 0 and ink == 3 else 0
        for light in (0, 1)
        for _ in range(4)
        for ink in range(4)
    )
    back = b"mft1\0\0\0\0" + bytes([3, 4, 2, 0]) + identity + steps * 3 + ends + steps * 4
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    parts = {b"desc": text, b"wtpt": white, b"A2B0": lut, b"A2B1": lut, b"B2A0": back}
    parts = {name: part + bytes(-len(part) % 4) for name, part in parts.items()}
    at, entries, body = 128 + 4 + 12 * len(parts), b"", b""
    for name, part in parts.items():
        entries += name + struct.pack(">II", at + len(body), len(part))
        body += part
    head = struct.pack(
        ">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(parts)) + entries + body


@pytest.mark.parametrize("deep", [False, True])
def test_inks_are_seen_through_their_profile(deep):
    inks = np.zeros((4, 4, 4), np.uint8)
    inks[0, 0] = 0, 0, 0, 255
    inks[1, 1] = 255, 0, 0, 0
    profile = ink_profile()
    if deep:
        data = tiff(inks * np.uint16(257), photometric="separated", iccprofile=profile)
    else:
        data = saved(Image.fromarray(inks, "CMYK"), "TIFF", icc_profile=profile)
    image, _ = open_image(data, convert=True)
    pixels = np.asarray(image).astype(int)
    assert pixels[3, 3].min() >= 253  # paper
    assert pixels[0, 0].max() <= 2  # the darkest ink is black
    plain = np.asarray(Image.fromarray(inks, "CMYK").convert("RGB")).astype(int)
    assert np.abs(pixels[1, 1] - plain[1, 1]).max() > 30
    assert "icc_profile" not in image.info


# ---- the library


def deep_image() -> Image.Image:
    return opened(png(SLOPE.astype(np.uint16), 2))


def test_the_library_converts_where_it_is_asked_to(tmp_path):
    wanted = face.encode(to_8_bits(SLOPE.astype(np.uint16)))
    assert face.encode(deep_image(), convert=True) == wanted
    assert face.encode(SLOPE.astype(np.uint16), convert=True) == wanted
    assert next(iter(encode_many([deep_image()], convert=True))) == wanted
    target = Target("bpp", 2)
    reached = encode_to_target(face.Codec(), deep_image(), target, convert=True)
    assert face.decode(reached.data).size == (64, 48)
    floats = SLOPE / 65535
    made = face.decode(face.encode(floats.astype(np.float32), 90, convert=True))
    assert np.abs(np.asarray(made).astype(float) - floats * 255).mean() < 2
    for image in (deep_image(), SLOPE.astype(np.uint16), floats):
        with pytest.raises(UnsupportedError, match="convert"):
            face.encode(image)


def test_8_bits_are_left_alone():
    rgb = (NOISE >> 8).astype(np.uint8)
    assert as_8_bits(rgb) is rgb
    image = Image.fromarray(rgb)
    assert as_8_bits(image) is image
    assert face.encode(image, convert=True) == face.encode(image)


@pytest.mark.parametrize(
    "a", [np.full((2, 2), np.nan), np.full((2, 2), -0.1), np.full((2, 2, 3), 1.5),
          np.zeros((2, 2, 9), np.uint16), np.zeros(3, np.uint16), np.zeros((2, 2), np.int64),
          np.zeros((2, 2), complex)],
)  # fmt: skip
def test_arrays_that_cannot_be_told(a):
    with pytest.raises(UnsupportedError):
        face.encode(a, convert=True)


def test_pillow_saves_what_it_has_not_cut():
    import aei.codec.pillow  # noqa: F401

    deep = opened(png(NOISE[..., :1], 0))
    assert deep.mode == "I;16"
    with pytest.raises(OSError, match="16 bits"):
        saved(deep, "AEI")
    assert opened(saved(deep, "AEI", convert=True)).mode == "L"
    assert opened(saved(Image.new("CMYK", (8, 8)), "AEI", convert=True)).mode == "RGB"
    with pytest.raises(OSError, match="below 0"):
        saved(Image.new("F", (8, 8), -1), "AEI", convert=True)


def test_the_command_says_what_to_do(run_aei, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(NOISE[..., :3], 2))
    assert "--convert" in run_aei("encode", path).err
    Image.new("CMYK", (8, 8)).save(tmp_path / "b.tif")
    assert "--convert" in run_aei("encode", tmp_path / "b.tif").err
