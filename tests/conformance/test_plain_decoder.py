"""The second decoder, written from docs/format/specification.md, agrees with the codec: on what
files hold, and on what is no file."""

import re
import zlib
from functools import cache

import numpy as np
import plain_decoder as plain
import pytest
from aei.codec import AeiError
from aei.formats import parse
from aei.formats.container import pack
from aei.formats.varint import varint
from golden_files import CORES, FACTS, GOLDEN, codec_of, read
from PIL import Image


@cache
def bundle_of(name: str) -> plain.Bundle:
    return plain.Bundle(GOLDEN / f"{name}.bundle")


def test_fingerprints():
    for name in ("tiny", "finish", "factorized"):
        assert bundle_of(name).fingerprint == codec_of(name).bundle.fingerprint


@pytest.mark.parametrize("name", FACTS)
def test_it_agrees_on_golden_files(name):
    data, facts = read(name), FACTS[name]
    file, tiles = plain.decode(bundle_of(facts["bundle"]), data)
    assert plain.latents_sha256(tiles) == facts["latents_sha256"]
    ours = list(codec_of(facts["bundle"]).latents(data))
    assert len(ours) == len(tiles)
    for mine, (z_hat, y_hat) in zip(ours, tiles):
        assert mine.z_hat.tolist() == z_hat
        assert mine.y_hat.tolist() == y_hat
    assert [file.width, file.height] == facts["size"]
    image = codec_of(facts["bundle"]).decode(data)
    for kind, content in file.metadata.items():
        assert content == image.info[kind].removeprefix(b"Exif\0\0")
    if "pixels_sha256" in facts and file.width * file.height < 30_000:  # it is slow
        found = plain.pixels_sha256(bundle_of(facts["bundle"]), file, tiles)
        assert found == facts["pixels_sha256"]
    with Image.open(GOLDEN / f"{name}.png") as image:
        if "A" in facts["mode"] and not file.tiled:
            alpha = file.tiles[0][3] or [[255] * file.width] * file.height
            assert np.asarray(image.getchannel("A")).tolist() == alpha


def test_it_reads_previews_as_files_of_their_own():
    name = "preview-grey-330x40"
    bundle, codec = FACTS[name]["bundle"], codec_of(FACTS[name]["bundle"])
    small = plain.File(read(name)).sections[7]
    file, tiles = plain.decode(bundle_of(bundle), small)
    assert (file.width, file.height, file.sections) == (320, 39, {})
    assert plain.pixels_sha256(bundle_of(bundle), file, tiles) == codec.pixels_sha256(small)


# -- what must be rejected ------------------------------------------------------------------------


def sealed(head: bytes) -> bytes:
    return head + zlib.crc32(head).to_bytes(4, "little")


def plain_file(
    middle: bytes, flags: int = 0, size: bytes = b"\x13\x13", bundle: str = "tiny"
) -> bytes:
    """A file whose checksum is right: `size` are the dimensions' bytes, `middle` what follows
    them."""
    head = b"\xaeaei" + bytes([1 << 5 | flags]) + bundle_of(bundle).fingerprint + b"\x78"
    return sealed(head + size + middle)


def with_payload(change) -> bytes:
    """rgb-17x3 with its payload changed."""
    data = read("rgb-17x3")
    return sealed(data[:12] + change(data[12:-4]))


def with_table(change) -> bytes:
    """grey-130x70-tiles with its table of contents changed, and its checksum right."""
    data = read("grey-130x70-tiles")
    start = parse(data).entries[0].start
    return sealed(change(data[: start - 4])) + data[start:]


def with_tile(content: bytes) -> bytes:
    """rgb-alpha-130x100-tiles with another first tile."""
    contents = parse(read("rgb-alpha-130x100-tiles"))
    tiles = [(contents.tile(i), entry.code_all) for i, entry in enumerate(contents.entries)]
    return pack(contents.header, [(content, False), *tiles[1:]], contents.sections, contents.side)


def listed(*sections: tuple[int, bytes]) -> bytes:
    return b"".join(bytes([k]) + varint(len(c)) + c for k, c in sections) + b"\0"


PAYLOAD = read("rgb-alpha-opaque-20x20")[12:-4]  # goes with the dimensions of `plain_file`


def wrong_check() -> bytes:
    """A payload in canonical form whose check symbol is another."""
    data = read("rgb-17x3")
    file = plain.File(data)
    prior = plain.Prior(bundle_of("tiny"), file.gain_index)
    coders = []

    class Recording(plain.RangeDecoder):
        def __init__(self, payload):
            super().__init__(payload)
            coders.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "RangeDecoder", Recording)
        plain.decode_tile(prior, 17, 3, False, file.tiles[0][4])
    coded = coders[0].coded
    before, f = coded[-1]
    assert f == 1 << 16
    return sealed(data[:12] + plain.encode([*coded[:-1], (before ^ f, f)]))


def factorized(escape: list[int], value: int) -> bytes:
    """A file of the factorized model: z_hat is `value` in its first place, coded as an escape with
    these bits, and 0 elsewhere."""
    bundle = bundle_of("factorized")
    coded = []
    indexes = sorted(bundle.arrays["rows.z_table"][0] * 16)
    for place, index in enumerate(indexes):
        table = bundle.tables[index]
        symbol = len(table) - 1 if place == 0 else len(table) // 2 - 1
        coded.append((sum(table[:symbol]), table[symbol]))
    coded += [(bit << 23, 1 << 23) for bit in escape]
    y_hat = np.zeros((4, 4, 8), "<i4")
    y_hat[0, 0, 0] = value << 6
    coded.append(((zlib.crc32(y_hat.tobytes()) & 255) << 16, 1 << 16))
    head = read("factorized-rgb")[:9] + b"\0\x1f\x1f"
    return sealed(head + plain.encode(coded))


def exp_golomb(u: int) -> list[int]:
    bits = [int(b) for b in f"{u + 1:b}"]
    return [0] * (len(bits) - 1) + bits


def reach() -> int:
    return len(bundle_of("factorized").tables[0]) // 2 - 1


def bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


ALPHA = b"".join(b"\0" + bytes(20) for _ in range(20))  # fully transparent, filter 0

GOOD = {
    "plain": plain_file(PAYLOAD),
    "skippable section": plain_file(listed((100, b"?")) + PAYLOAD, 4),
    "empty list of sections": plain_file(b"\0" + PAYLOAD, 4),
    "alpha": plain_file(listed((4, zlib.compress(ALPHA))) + PAYLOAD, 12),
    "largest escape": factorized(exp_golomb(2 * (32767 - reach() - 1)), 32767),
    "most negative escape": factorized(exp_golomb(2 * (32767 - reach() - 1) + 1), -32767),
}

BAD = {
    "empty": b"",
    "signature": b"\xaeaeI" + GOOD["plain"][4:],
    "version 0": sealed(b"\xaeaei\0" + GOOD["plain"][5:-4]),
    "version 2": sealed(b"\xaeaei\x40" + GOOD["plain"][5:-4]),
    "CRC": GOOD["plain"][:-1] + bytes([GOOD["plain"][-1] ^ 1]),
    "byte after the end": GOOD["plain"] + b"\0",
    "another model": sealed(b"\xaeaei\x20abcd" + GOOD["plain"][9:-4]),
    "dimension not in shortest form": plain_file(PAYLOAD, size=b"\x93\x00\x13"),
    "dimension of four bytes": plain_file(PAYLOAD, size=b"\x93\x80\x80\x01\x13"),
    "dimensions cut short": sealed(b"\xaeaei\x20" + bundle_of("tiny").fingerprint + b"\x78\x93"),
    "plain file of 2049 pixels": plain_file(PAYLOAD, size=b"\x80\x10\x13"),
    "sections out of order": plain_file(listed((101, b""), (100, b"")) + PAYLOAD, 4),
    "section twice": plain_file(listed((100, b""), (100, b"")) + PAYLOAD, 4),
    "section that must be understood": plain_file(listed((128, b"")) + PAYLOAD, 4),
    "section beyond the end": plain_file(b"\x64\xff\x7f" + PAYLOAD, 4),
    "section length not in shortest form": plain_file(b"\x64\x80\x00\0" + PAYLOAD, 4),
    "section length of five bytes": plain_file(b"\x64\x81\x80\x80\x80\x00\0" + PAYLOAD, 4),
    "sections without an end": plain_file(b"\x64\x00", 4),
    "metadata not deflated": plain_file(listed((3, b"<x/>")) + PAYLOAD, 4),
    "metadata cut short": plain_file(listed((3, bomb(99)[:-1])) + PAYLOAD, 4),
    "metadata and more": plain_file(listed((3, bomb(99) + b"\0")) + PAYLOAD, 4),
    "metadata over 16 MiB": plain_file(listed((1, bomb(2**24 + 1))) + PAYLOAD, 4),
    "alpha without its flag": plain_file(listed((4, zlib.compress(ALPHA))) + PAYLOAD, 4),
    "alpha too short": plain_file(listed((4, zlib.compress(ALPHA[:-1]))) + PAYLOAD, 12),
    "alpha too long": plain_file(listed((4, zlib.compress(ALPHA + b"\0"))) + PAYLOAD, 12),
    "alpha bomb": plain_file(listed((4, bomb(2**24))) + PAYLOAD, 12),
    "alpha and more": plain_file(listed((4, zlib.compress(ALPHA) + b"\0")) + PAYLOAD, 12),
    "alpha filter 3": plain_file(listed((4, zlib.compress(b"\3" + ALPHA[1:]))) + PAYLOAD, 12),
    "empty alpha section": plain_file(listed((4, b"")) + PAYLOAD, 12),
    "flag 2 in a tiled file": with_table(lambda t: t[:4] + bytes([t[4] | 2]) + t[5:]),
    "side that does not suit": with_table(lambda t: t[:13] + b"\x01" + t[14:]),
    "table cut short": with_table(lambda t: t[:-1]),
    "table too long": with_table(lambda t: t + b"\0"),
    "tile length not in shortest form": with_table(
        lambda t: t[:14] + bytes([t[14] | 128, 0]) + t[15:]
    ),
    "tile length": with_table(lambda t: t[:14] + bytes([t[14] + 2]) + t[15:]),
    "tile CRC": with_table(lambda t: t[:15] + bytes([t[15] ^ 1]) + t[16:]),
    "tiles and more": read("grey-130x70-tiles") + b"\0",
    "tiles cut short": read("grey-130x70-tiles")[:-1],
    "more tiles than bytes": sealed(
        b"\xaeaei\x30"
        + bundle_of("tiny").fingerprint
        + b"\x05\xff\xff\x7f\xff\xff\x7f\x00"
        + bytes(99)
    ),
    "empty tile": with_tile(b""),
    "alpha of a tile beyond its end": with_tile(b"\x7f\x00"),
    "alpha of a tile not in shortest form": with_tile(b"\x80\x00" + PAYLOAD),
    "alpha of a tile of the wrong size": with_tile(b"\x0b" + zlib.compress(b"\0\0") + PAYLOAD),
    "payload and a zero": with_payload(lambda p: p + b"\0"),
    "payload and more": with_payload(lambda p: p + b"\1"),
    "payload cut short": with_payload(lambda p: p[:-1]),
    "payload not in shortest form": with_payload(lambda p: p[:-1] + bytes([p[-1] + 1])),
    "no payload": with_payload(lambda p: b""),
    "point beyond the range": with_payload(lambda p: b"\xff" * 9),
    "check": wrong_check(),
    "symbols coded that are not": sealed(
        read("rgb-100x60-low")[:4]
        + bytes([read("rgb-100x60-low")[4] ^ 2])
        + read("rgb-100x60-low")[5:-4]
    ),
    "escape too large": factorized(exp_golomb(2 * (32768 - reach() - 1)), 32768),
    "escape too long": factorized([0] * 17 + [1] + [0] * 17, 2**16 + reach()),
    "factorized model of another size": sealed(
        read("factorized-rgb")[:10] + b"\x1f\x20" + read("factorized-rgb")[12:-4]
    ),
}


def bundle_for(data: bytes) -> str:
    return "factorized" if data[5:9] == bundle_of("factorized").fingerprint else "tiny"


@pytest.mark.parametrize("name", GOOD)
def test_both_accept(name):
    data = GOOD[name]
    _, tiles = plain.decode(bundle_of(bundle_for(data)), data)
    codec = codec_of(bundle_for(data))
    assert codec.latents_sha256(data) == plain.latents_sha256(tiles)
    codec.decode(data)


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("name", BAD)
def test_both_reject(name, core, monkeypatch):
    for variable, value in CORES[core].items():
        monkeypatch.setenv(variable, value)
    data = BAD[name]
    if core == "numpy":
        with pytest.raises(plain.Rejected):
            plain.decode(bundle_of(bundle_for(data)), data)
    with pytest.raises(AeiError):
        codec_of(bundle_for(data)).decode(data)


# -- the worked example of the page ---------------------------------------------------------------


def page() -> str:
    for folder in (GOLDEN.parent.parent, GOLDEN.parent):
        if (folder / "docs" / "format" / "specification.md").exists():
            return (folder / "docs" / "format" / "specification.md").read_text(encoding="utf-8")
    pytest.skip("needs docs/format/specification.md")


def dumped(table: str) -> bytes:
    """The bytes of a table of the page; each row is where it says."""
    out = b""
    for offset, hexadecimal in re.findall(r"^\| (\d+) \| `([0-9A-F ]+)`", table, re.MULTILINE):
        assert int(offset) == len(out)
        out += bytes.fromhex(hexadecimal)
    return out


def test_the_pages_bytes_are_the_files():
    plain_part, tiled_part = page().split("## 10. ")[1].split("A tiled file begins alike")
    assert dumped(plain_part) == read("rgb-17x3")
    start = dumped(tiled_part)
    assert len(start) == 27
    assert read("rgb-64x64-one-tile").startswith(start)


def test_the_pages_symbols_are_the_files(monkeypatch):
    seen = []
    original = plain.RangeDecoder.values

    def values(self, tables, indexes):
        out = original(self, tables, indexes)
        seen.append((indexes, out))
        return out

    monkeypatch.setattr(plain.RangeDecoder, "values", values)
    _, tiles = plain.decode(bundle_of("tiny"), read("rgb-17x3"))

    def listed(numbers) -> str:
        return ", ".join(map(str, numbers))

    example = page().split("## 10. ")[1]
    rows = re.findall(r"^\| (?:z_hat|step \d.*?) \| (.*?) \| (.*?) \|$", example, re.MULTILINE)
    assert rows == [(listed(indexes), listed(out)) for indexes, out in seen]
    for position in tiles[0][1][0]:
        assert f" {listed(position)}\n" in example
    assert plain.latents_sha256(tiles) in example
