"""The bytes of a file: header, limits, checksum."""

import zlib

import numpy as np
import pytest
from aei.formats import (
    AeiError,
    DamagedFileError,
    Header,
    LimitError,
    Limits,
    NotAnAeiFileError,
    UnsupportedError,
    pack,
    parse,
    parse_header,
)
from aei.formats.plane import decode_plane, encode_plane
from aei.formats.sections import inflate
from aei.formats.tiles import Box
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

sides = st.integers(1, 2048)
headers = st.builds(
    Header, sides, sides, st.integers(0, 255), st.binary(min_size=4, max_size=4),
    st.booleans(), st.booleans(),
)  # fmt: skip
tiles = st.tuples(st.binary(max_size=40), st.booleans())
START = b"\xaeaei\x20abcd\x05"  # version 1, no flags, a model, a gain index


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(headers, tiles)
def test_round_trip(header, tile):
    data = pack(header, [tile])
    contents = parse(data)
    assert contents.header == header
    assert (contents.tile(0), contents.entries[0].code_all) == tile
    assert contents.boxes == [Box(0, 0, header.width, header.height)]
    assert parse_header(data[:16])[0] == header


@pytest.mark.parametrize(("width", "height", "most"), [(32, 32, 16), (768, 512, 18)])
def test_overhead(width, height, most):
    assert len(pack(Header(width, height, 9, b"abcd"), [(b"", False)])) <= most


@given(headers, tiles, st.data())
def test_every_flipped_bit_is_found(header, tile, data):
    file = bytearray(pack(header, [tile]))
    bit = data.draw(st.integers(0, 8 * len(file) - 1))
    file[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AeiError):
        parse(bytes(file))


def test_truncation_and_excess():
    file = pack(Header(300, 200, 77, b"abcd"), [(b"payload", False)])
    for n in range(len(file)):
        with pytest.raises(AeiError):
            parse(file[:n])
    with pytest.raises(DamagedFileError):
        parse(file + b"\0")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", NotAnAeiFileError),
        (b"\xff\xd8\xff\xe0 jpeg", NotAnAeiFileError),
        (b"\xae", DamagedFileError),
        (sealed(b"\xaeaei\x40abcd\x05\x10\x10 future"), UnsupportedError),
        (sealed(b"\xaeaei\x00abcd\x05\x10\x10 draft"), UnsupportedError),
        (sealed(START + b"\xff\x10\x10 too large without tiles"), DamagedFileError),
        (sealed(START + b"\xff\xff\xff\xff\x10"), DamagedFileError),
        (sealed(START + b"\x80\x00\x10"), DamagedFileError),
        (sealed(START + b"\x80"), DamagedFileError),
    ],
)
def test_bad_headers(data, error):
    with pytest.raises(error):
        parse(data)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2**21 + 1, 1), (1, 2**21 + 1)])
def test_sizes_out_of_range_are_not_written(size):
    with pytest.raises(UnsupportedError, match="pixels"):
        pack(Header(*size, 0, b"abcd"), [(b"", False)])


def test_limits_are_checked_before_the_rest():
    file = pack(Header(300, 200, 77, b"abcd"), [(b"payload", False)])
    assert parse(file, Limits(pixels=60_000)).header.width == 300
    with pytest.raises(LimitError, match="59999"):
        parse(file, Limits(pixels=59_999))


def test_sections_round_trip():
    sections = {1: b"icc", 2: b"", 4: bytes(300)}
    header = Header(7, 9, 1, b"abcd", alpha=True)
    contents = parse(pack(header, [(b"rest", False)], sections))
    assert contents.sections == sections
    assert contents.tile(0) == b"rest"


def with_sections(listed: bytes) -> bytes:
    return sealed(b"\xaeaei\x24abcd\x05\x10\x10" + listed)


def test_unknown_sections_are_skipped():
    contents = parse(with_sections(b"\x01\x01i" + b"\x63\x03xyz" + b"\x00payload"))
    assert contents.sections == {1: b"i"}
    assert contents.tile(0) == b"payload"


@pytest.mark.parametrize(
    ("listed", "error"),
    [
        (b"\x80\x01x\x00", UnsupportedError),  # a critical type
        (b"\x02\x01x\x01\x01x\x00", DamagedFileError),  # out of order
        (b"\x01\x01x\x01\x01x\x00", DamagedFileError),  # twice
        (b"\x01\xff\xff\xff\x7fx\x00", DamagedFileError),  # longer than the file
        (b"\x01\x05x", DamagedFileError),
        (b"\x01", DamagedFileError),
        (b"", DamagedFileError),
        (b"\x04\x01x\x00", DamagedFileError),  # alpha without an alpha channel
    ],
)
def test_bad_section_lists(listed, error):
    with pytest.raises(error):
        parse(with_sections(listed))


def test_deflate_bombs_are_stopped():
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(DamagedFileError, match="longer"):
        inflate(bomb, 1000)
    for bad in (bomb[:-1], zlib.compress(b"ok") + b"x", b"junk", b""):
        with pytest.raises(DamagedFileError):
            inflate(bad, 1 << 30)


@given(arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_planes_are_lossless(plane):
    height, width = plane.shape
    np.testing.assert_array_equal(decode_plane(encode_plane(plane), width, height), plane)


def test_smooth_planes_are_small():
    y, x = np.mgrid[0:200, 0:200]
    plane = np.clip(255 - np.hypot(y - 100, x - 100) * 2, 0, 255).astype(np.uint8)
    assert len(encode_plane(plane)) < 0.6 * len(zlib.compress(plane.tobytes(), 9))


def test_planes_of_the_wrong_size_are_refused():
    data = encode_plane(np.zeros((5, 6), np.uint8))
    for size in ((6, 4), (6, 6), (7, 5)):
        with pytest.raises(DamagedFileError):
            decode_plane(data, *size)
    with pytest.raises(DamagedFileError, match="filter"):
        decode_plane(zlib.compress(b"\x07\x00"), 1, 1)
