"""XMP beyond 64 kB: from a JPEG file's further segments into one packet, and back into segments."""

import hashlib
import io
import logging
import struct
import time

import aei.codec.pillow  # noqa: F401
import numpy as np
import pytest
from aei.codec import Codec
from aei.codec.files.convert import EncodeOptions, decode_file, encode_file
from aei.codec.pixels import xmp
from conftest import synthetic_photo
from PIL import Image

PHOTO = synthetic_photo(48, 64, 3)
GUIDE = b'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
DATA = b"".join(
    hashlib.sha256(bytes([i % 256, i // 256])).hexdigest().encode() for i in range(3000)
)
PART = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="t"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" ' + GUIDE + b">"
    b'<rdf:Description rdf:about="" GDepth:Data="' + DATA + b'"/></rdf:RDF></x:xmpmeta>'
)
DIGEST = hashlib.md5(PART).hexdigest().upper().encode()
STYLES = {
    "attribute": b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="%s">',
    "element": b' xmlns:xmpNote="http://ns.adobe.com/xmp/note/"><xmpNote:HasExtendedXMP>%s'
    b"</xmpNote:HasExtendedXMP>",
}


def packet(style: str = "attribute", digest: bytes = DIGEST) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        + STYLES[style]
        % digest
        + b'<dc:title xmlns:dc="http://purl.org/dc/elements/1.1/">One</dc:title></rdf:Description>'
        b"</rdf:RDF></x:xmpmeta>"
    )


def portions(part: bytes = PART, digest: bytes = DIGEST, size: int = 65400) -> list[bytes]:
    head = xmp.EXTENSION + digest + struct.pack(">I", len(part))
    return [head + struct.pack(">I", at) + part[at : at + size] for at in range(0, len(part), size)]


def jpeg(packet: bytes, segments: list[bytes], format_: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    every = [xmp.PACKET + packet, *segments]
    extra = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in every)
    Image.fromarray(PHOTO).save(file, format_, **options)
    data = file.getvalue()
    return data[:2] + extra + data[2:]


def kept(data: bytes, codec: Codec) -> bytes:
    made = encode_file(data, codec, EncodeOptions(effort=0)).data
    return codec.decode(made).info["xmp"]


def properties(xmp: bytes) -> dict[str, str]:
    """Title and depth data of a packet, as a parser of XML sees them."""
    from xml.etree import ElementTree

    found = {}
    for element in ElementTree.fromstring(xmp).iter():
        if element.tag.endswith("}title"):
            found["title"] = element.text
        for name, value in element.attrib.items():
            if name == "{http://ns.google.com/photos/1.0/depthmap/}Data":
                found["data"] = value
    return found


WHOLE = {"title": "One", "data": DATA.decode()}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("order", [1, -1])
def test_the_parts_become_one_packet(codec, style, order, caplog):
    assert len(PART) > 2 * 65536
    with caplog.at_level(logging.WARNING):
        xmp = kept(jpeg(packet(style), portions()[::order]), codec)
    assert properties(xmp) == WHOLE
    assert b"HasExtendedXMP" not in xmp
    assert not caplog.records


def test_from_pillow_and_the_library_too(codec):
    data = jpeg(packet(), portions())
    image = Image.open(io.BytesIO(data))
    assert properties(codec.decode(codec.encode(image)).info["xmp"]) == WHOLE
    for options in ({}, {"exif": b""}):
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).save(file, "AEI", **options)
        assert properties(Image.open(file).info["xmp"]) == WHOLE


def test_a_camera_s_file_of_several_pictures(codec):
    more = [Image.fromarray(PHOTO[::2, ::2])]
    data = jpeg(packet(), portions(), format_="MPO", save_all=True, append_images=more)
    assert Image.open(io.BytesIO(data)).n_frames == 2
    assert properties(kept(data, codec)) == WHOLE


SPOILT = {
    "one is missing": portions()[:-1],
    "none is there": [],
    "a byte is another": [*portions()[:-1], portions()[-1][:-1] + b"?"],
    "of another packet": portions(digest=b"0" * 32),
    "another length": [
        p.replace(struct.pack(">I", len(PART)), struct.pack(">I", 5)) for p in portions()
    ],
    "overlaps": [*portions(), portions(size=100)[1]],
    "short": [portions()[0][:70]],
}


@pytest.mark.parametrize("how", SPOILT)
def test_parts_that_are_not_whole_are_left_out_and_said(codec, how, caplog):
    with caplog.at_level(logging.WARNING):
        xmp = kept(jpeg(packet(), SPOILT[how]), codec)
    assert properties(xmp) == {"title": "One"}
    assert b"HasExtendedXMP" not in xmp
    assert "further parts" in caplog.text


def test_a_name_that_means_two_things_is_not_merged():
    part = PART.replace(b"xmlns:GDepth", b"xmlns:x2").replace(b"GDepth", b"x2")
    digest = hashlib.md5(part).hexdigest().upper().encode()
    main = packet(digest=digest).replace(b"<rdf:RDF ", b'<rdf:RDF xmlns:x2="urn:other" ')
    assert xmp.assembled(main, portions(part, digest)) is None


@pytest.mark.parametrize("part", [b"", b"no RDF", b"<rdf:RDF", b"</rdf:RDF><rdf:RDF>"])
def test_what_is_no_rdf_is_not_merged(part):
    digest = hashlib.md5(part).hexdigest().upper().encode()
    assert xmp.assembled(packet(digest=digest), portions(part, digest)) is None


def test_there_and_back(codec, caplog):
    data = jpeg(packet(), portions())
    made = encode_file(data, codec, EncodeOptions(effort=0)).data
    with caplog.at_level(logging.WARNING):
        back = decode_file(made, Codec(), "JPEG").data
    assert not caplog.records
    first = Image.open(io.BytesIO(back)).info["xmp"]  # what readers of one segment see
    assert properties(first) == {"title": "One"}
    assert properties(kept(back, codec)) == WHOLE


def test_packets_of_one_segment_stay():
    assert xmp.segments_of(packet()) == [xmp.PACKET + packet()]


@pytest.mark.parametrize("packet", [
    b"<rdf:Description " * 9000, b'<rdf:RDF><rdf:Description "' + b"<rdf:Description '\"" * 9000,
    b"<rdf:RDF" * 20000, b"<rdf:RDF>" + b"</rdf:Description>" * 9000 + b"</rdf:RDF>", b" " * 200000,
    b"<rdf:RDF><rdf:Description>" + b"x" * 70000 + b"</rdf:RDF>",
    b"xmpNote:HasExtendedXMP=\"" * 9000, b"<rdf:RDF>" + b" " * 200000 + b"</rdf:RDF>",
])  # fmt: skip
def test_hostile_packets_take_no_time(packet):
    start = time.process_time()
    assert xmp.segments_of(packet) is None
    xmp.without_note(packet)
    xmp.assembled(packet + b'xmpNote:HasExtendedXMP="' + b"0" * 32, [])
    assert time.process_time() - start < 2


def test_a_jpeg_s_pixels_are_the_same_with_and_without(codec):
    with_xmp = Image.open(io.BytesIO(jpeg(packet(), portions())))
    assert np.array_equal(np.asarray(with_xmp), np.asarray(Image.open(io.BytesIO(jpeg(b"", [])))))
