"""The bytes of a file: header, limits, checksum."""

import zlib

import numpy as np
import pytest
from aei.formats import (
    AeiError,
    Contents,
    DamagedFileError,
    Header,
    NotAnAeiFileError,
    UnsupportedError,
    pack,
    parse,
    parse_header,
)
from aei.formats.plane import decode_plane, encode_plane
from aei.formats.sections import inflate
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

sides = st.integers(1, 2048)
headers = st.builds(
    Header, sides, sides, st.integers(0, 255), st.binary(min_size=4, max_size=4),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(headers, st.binary(max_size=40))
def test_round_trip(header, payload):
    data = pack(header, payload)
    assert parse(data) == Contents(header, payload)
    assert parse_header(data[:16])[0] == header


@pytest.mark.parametrize(("width", "height", "most"), [(32, 32, 16), (768, 512, 18)])
def test_overhead(width, height, most):
    assert len(pack(Header(width, height, 9, b"abcd"), b"")) <= most


@given(headers, st.binary(max_size=20), st.data())
def test_every_flipped_bit_is_found(header, payload, data):
    file = bytearray(pack(header, payload))
    bit = data.draw(st.integers(0, 8 * len(file) - 1))
    file[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AeiError):
        parse(bytes(file))


def test_truncation_and_excess():
    file = pack(Header(300, 200, 77, b"abcd"), b"payload")
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
        (sealed(b"\xaeaei\x10" + b"abcd" + b"\x05\x10\x10 future"), UnsupportedError),
        (sealed(b"\xaeaei\x00" + b"abcd" + b"\x05\xff\xff\x7f\x10"), UnsupportedError),
        (sealed(b"\xaeaei\x00" + b"abcd" + b"\x05\xff\xff\xff\xff\x10"), DamagedFileError),
        (sealed(b"\xaeaei\x00" + b"abcd" + b"\x05\x80\x00\x10"), DamagedFileError),
        (sealed(b"\xaeaei\x00" + b"abcd" + b"\x05\x80"), DamagedFileError),
    ],
)
def test_bad_headers(data, error):
    with pytest.raises(error):
        parse(data)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (2049, 1), (1, 2049)])
def test_sizes_out_of_range_are_not_written(size):
    with pytest.raises(UnsupportedError, match="pixels"):
        pack(Header(*size, 0, b"abcd"), b"")


def test_sections_round_trip():
    sections = {1: b"icc", 2: b"", 4: bytes(300)}
    header = Header(7, 9, 1, b"abcd", alpha=True)
    assert parse(pack(header, b"rest", sections)) == Contents(header, b"rest", sections)


def with_sections(listed: bytes) -> bytes:
    return sealed(b"\xaeaei\x04" + b"abcd" + b"\x05\x10\x10" + listed)


def test_unknown_sections_are_skipped():
    contents = parse(with_sections(b"\x01\x01i" + b"\x63\x03xyz" + b"\x00payload"))
    assert contents.sections == {1: b"i"}
    assert contents.payload == b"payload"


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
