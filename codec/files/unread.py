"""Photographs that Pillow cannot read, told by their first bytes or their suffix, and what to use
first."""

from __future__ import annotations

import struct
from collections.abc import Mapping

RAW_SUFFIXES = frozenset((
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".fff",
    ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf", ".pef",
    ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
))  # fmt: skip
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif"))
DEVELOP = "develop {} to TIFF or JPEG first, with darktable, RawTherapee or the camera's program"
INSTALL = "the package pillow-heif reads {} (pip install pillow-heif)"
# What raw files begin with, where they are no TIFF that says so in its tags
STARTS = {
    b"FUJIFILMCCD-RAW": "Fujifilm", b"IIRO": "Olympus", b"IIRS": "Olympus", b"MMOR": "Olympus",
    b"IIU\0": "Panasonic", b"FOVb": "Sigma", b"\0MRM": "Minolta",
}  # fmt: skip
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")
NEW_SUBFILE_TYPE, COMPRESSION, DNG_VERSION = 254, 259, 50706  # tags of TIFF
# Compressions of Sony, Nikon, Pentax, Kodak, Samsung and DNG
RAW_COMPRESSIONS = {32767, 34713, 65535, 65000, 32867, 32770, 34892}
MOST_TAGS = 512


def why_unread(data: bytes, heic: bool = False) -> str | None:
    """What a raw or HEIC photograph is and what to use first, in a sentence; None for all else.
    heic: such can be read."""
    kind = _raw_kind(data)
    if kind is not None:
        what = f"a raw photograph ({kind}), of which only a preview could be read"
        return f"{what}: {DEVELOP.format('it')}"
    if (
        not heic
        and data[4:8] == b"ftyp"
        and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
    ):
        return f"a HEIC photograph: {INSTALL.format('it')}"
    return None


def hints(suffixes: Mapping[str, int]) -> list[str]:
    """What to do about files that were left out of folders, by their suffixes and how many have
    each; those that nothing is known of are not named."""
    found = []
    for kind, known, advice in (
        ("raw", RAW_SUFFIXES, DEVELOP),
        ("HEIC", HEIC_SUFFIXES, INSTALL),
    ):
        some = sorted(suffix for suffix in suffixes if suffix in known)
        if some:
            counts = ", ".join(f"{suffixes[suffix]} {suffix}" for suffix in some)
            found.append(f"{kind} photographs left out ({counts}): {advice.format('them')}")
    return found


def _raw_kind(data: bytes) -> str | None:
    for start, maker in STARTS.items():
        if data.startswith(start):
            return maker
    if data[8:11] == b"CR\2" or data[4:12] == b"ftypcrx " or data[6:14] == b"HEAPCCDR":
        return "Canon"
    tags = _first_tags(data)
    if DNG_VERSION in tags:
        return "DNG"
    if tags.get(COMPRESSION) in RAW_COMPRESSIONS or tags.get(NEW_SUBFILE_TYPE, 0) & 1:
        return "a TIFF with a preview in front"
    return None


def _first_tags(data: bytes) -> dict[int, int]:
    """The tags of a TIFF file's first directory, with their first number; empty for all else."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return {}
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        tags = {}
        for i in range(min(count, MOST_TAGS)):
            tag, kind = struct.unpack_from(order + "HH", data, at + 2 + 12 * i)
            form = "H" if kind == 3 else "I"
            (tags[tag],) = struct.unpack_from(order + form, data, at + 10 + 12 * i)
    except struct.error:  # cut short: Pillow says what is wrong
        return {}
    return tags
