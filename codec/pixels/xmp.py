"""XMP beyond the 64 kB of a JPEG file's segment (XMP specification part 3, section 1.1.3.1): put
together to one packet, and taken apart again.

A packet that is too large has a part of its own in further segments, each with the MD5 of that
part, its length, and where it goes. The packet proper names the MD5. Both parts are RDF, and are
merged as text: what stands between the tags of one goes to the end of the other.
"""

from __future__ import annotations

import hashlib
import re
import struct

PACKET, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
MOST = 65533  # bytes of a segment
MOST_PACKET = MOST - len(PACKET)
PORTION = 65400  # of an extension, as large as fits
MOST_WHOLE = 16 << 20
NAMED = re.compile(rb"""xmpNote:HasExtendedXMP\s*(?:=\s*["']|>)\s*([0-9A-Fa-f]{32})""")
ATTRIBUTE = re.compile(rb"""\s?xmpNote:HasExtendedXMP\s*=\s*(?:"[^"]*"|'[^']*')""")
ELEMENT = re.compile(rb"<xmpNote:HasExtendedXMP>[^<]*</xmpNote:HasExtendedXMP>\s*")
DESCRIPTION = re.compile(rb"</?rdf:Description\b")
REST = re.compile(rb"""(?:[^<>"'/]|"[^"]*"|'[^']*')*(/?)>""")  # of a tag
SPACE = re.compile(rb"""(xmlns:[\w.-]+)\s*=\s*["']([^"']*)["']""")
BEGIN, END = b"<rdf:RDF", b"</rdf:RDF>"
NOTE = (
    b'<rdf:Description rdf:about="" xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
    b'xmpNote:HasExtendedXMP="%s"/>'
)


def without_note(xmp: bytes) -> tuple[bytes, bool]:
    """A packet that names no further part, and whether it did."""
    kept, count = ATTRIBUTE.subn(b"", xmp)
    kept, more = ELEMENT.subn(b"", kept)
    return kept, bool(count + more)


def assembled(xmp: bytes, segments: list[bytes]) -> bytes | None:
    """The packet with its further part, from the contents of a file's APP1 segments; None where
    that is not whole."""
    named = NAMED.search(xmp)
    if named is None:
        return None
    digest = named.group(1).upper()
    start = len(EXTENSION)
    portions: dict[int, bytes] = {}
    lengths = set()
    for segment in segments:
        if segment.startswith(EXTENSION) and segment[start : start + 32].upper() == digest:
            if len(segment) < start + 40:
                return None
            length, offset = struct.unpack_from(">II", segment, start + 32)
            lengths.add(length)
            portions[offset] = segment[start + 40 :]
    part = b"".join(portions[offset] for offset in sorted(portions))
    if lengths != {len(part)} or len(part) > MOST_WHOLE:
        return None
    at = 0
    for offset in sorted(portions):
        if offset != at:
            return None
        at += len(portions[offset])
    if hashlib.md5(part, usedforsecurity=False).hexdigest().upper().encode() != digest:
        return None
    return _merged(without_note(xmp)[0], part)


def _merged(xmp: bytes, part: bytes) -> bytes | None:
    """A packet with the descriptions of another part at its end; None where it is no such text."""
    packet, further = _inside(xmp), _inside(part)
    if packet is None or further is None:
        return None
    (first, last), (begin, end) = packet, further
    # names that only the part's outer tags declare are declared in the packet too
    spaces, known = dict(SPACE.findall(part, 0, begin)), dict(SPACE.findall(xmp, 0, first))
    if any(known.get(name, place) != place for name, place in spaces.items()):
        return None
    more = b"".join(
        b' %s="%s"' % (name, place) for name, place in sorted(spaces.items()) if name not in known
    )
    return xmp[: first - 1] + more + xmp[first - 1 : last] + part[begin:end] + xmp[last:]


def _inside(xmp: bytes) -> tuple[int, int] | None:
    """Where what the RDF element holds begins and ends."""
    at = xmp.find(BEGIN)
    first, last = xmp.find(b">", max(0, at)) + 1, xmp.rfind(END)
    return None if at < 0 or not 0 < first <= last else (first, last)


def segments_of(xmp: bytes) -> list[bytes] | None:
    """The contents of a JPEG file's APP1 segments for a packet of any size; None where it is too
    large for one and cannot be taken apart."""
    if len(xmp) <= MOST_PACKET:
        return [PACKET + xmp]
    inside = _inside(xmp)
    if inside is None:
        return None
    begin, end = inside
    spans = _descriptions(xmp, begin, end)
    room = MOST_PACKET - len(NOTE) - 64 - (begin + len(xmp) - end)
    kept, moved = [], []
    for first, last in spans:
        if last - first <= room:
            kept.append(xmp[first:last])
            room -= last - first
        else:
            moved.append(xmp[first:last])
    if room < 0 or not moved:
        return None
    outer = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + xmp[xmp.find(BEGIN) : begin]
    part = outer + b"".join(moved) + END + b"</x:xmpmeta>"
    digest = hashlib.md5(part, usedforsecurity=False).hexdigest().upper().encode()
    packet = xmp[:begin] + b"".join(kept) + NOTE % digest + xmp[end:]
    head = EXTENSION + digest + struct.pack(">I", len(part))
    return [PACKET + packet] + [
        head + struct.pack(">I", at) + part[at : at + PORTION]
        for at in range(0, len(part), PORTION)
    ]


def _descriptions(xmp: bytes, first: int, last: int) -> list[tuple[int, int]]:
    """Where the outermost descriptions begin and end."""
    spans, depth, begin = [], 0, 0
    while (tag := DESCRIPTION.search(xmp, first, last)) is not None:
        rest = REST.match(xmp, tag.end(), last)
        if rest is None:
            return []
        closing, first = tag.group().startswith(b"</"), rest.end()
        if depth == 0 and not closing:
            begin = tag.start()
        depth += -1 if closing else not rest.group(1)
        if depth < 0:
            return []
        if depth == 0:
            spans.append((begin, first))
    return spans if depth == 0 else []
