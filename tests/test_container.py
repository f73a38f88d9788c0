"""The bytes of a file: header, limits, checksum."""

import zlib

import pytest
from aei.formats import (
    AeiError,
    DamagedFileError,
    Header,
    NotAnAeiFileError,
    UnsupportedError,
    pack,
    parse,
    parse_header,
)
from hypothesis import given
from hypothesis import strategies as st

sides = st.integers(1, 2048)
headers = st.builds(
    Header, sides, sides, st.integers(0, 255), st.binary(min_size=4, max_size=4),
    st.booleans(), st.booleans(),
)  # fmt: skip


def sealed(body: bytes) -> bytes:
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(headers, st.binary(max_size=40))
def test_round_trip(header, payload):
    data = pack(header, payload)
    assert parse(data) == (header, payload)
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
        (sealed(b"\xaeaei\x08" + b"abcd" + b"\x05\x10\x10 flags"), UnsupportedError),
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
