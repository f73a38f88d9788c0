"""What metadata is full of: the preset dictionary of its zlib streams (specification, section 1).

The likeliest strings stand last, where references to them are shortest. Never to be changed: files
name it by its Adler-32. Another one would be another entry of docs/format/specification.md.
"""

from __future__ import annotations

import struct

_NAMESPACES = (
    ("photoshop", "http://ns.adobe.com/photoshop/1.0/"),
    ("crs", "http://ns.adobe.com/camera-raw-settings/1.0/"),
    ("aux", "http://ns.adobe.com/exif/1.0/aux/"),
    ("stEvt", "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"),
    ("stRef", "http://ns.adobe.com/xap/1.0/sType/ResourceRef#"),
    ("xmpRights", "http://ns.adobe.com/xap/1.0/rights/"),
    ("xmpMM", "http://ns.adobe.com/xap/1.0/mm/"),
    ("exif", "http://ns.adobe.com/exif/1.0/"),
    ("tiff", "http://ns.adobe.com/tiff/1.0/"),
    ("dc", "http://purl.org/dc/elements/1.1/"),
    ("xmp", "http://ns.adobe.com/xap/1.0/"),
)
_WORDS = (
    "Apple iPhone", "SAMSUNG", "Google Pixel", "Canon EOS", "NIKON CORPORATION", "SONY", "FUJIFILM",
    "Adobe Photoshop", "Lightroom", "GIMP", "DocumentID", "InstanceID", "CreatorTool", "ModifyDate",
    "CreateDate", "MetadataDate", "Orientation", "rdf:Seq", "rdf:Bag", "rdf:Alt", "rdf:li",
    'xml:lang="x-default"', "Copyright", "IEC 61966-2.1", "sRGB", "Display P3", "Adobe RGB (1998)",
)  # fmt: skip
# Exif: tag and type of what cameras write first, then of the directory of the exposure
_FIRST = (
    (0x010E, 2),
    (0x010F, 2),
    (0x0110, 2),
    (0x0112, 3),
    (0x011A, 5),
    (0x011B, 5),
    (0x0128, 3),
    (0x0131, 2),
    (0x0132, 2),
    (0x013B, 2),
    (0x0213, 3),
    (0x8298, 2),
    (0x8769, 4),
    (0x8825, 4),
)
_SECOND = (
    (0x829A, 5),
    (0x829D, 5),
    (0x8822, 3),
    (0x8827, 3),
    (0x9000, 7),
    (0x9003, 2),
    (0x9004, 2),
    (0x9101, 7),
    (0x9201, 10),
    (0x9202, 5),
    (0x9204, 10),
    (0x9207, 3),
    (0x9209, 3),
    (0x920A, 5),
    (0x927C, 7),
    (0x9286, 7),
    (0xA000, 7),
    (0xA001, 3),
    (0xA002, 4),
    (0xA003, 4),
    (0xA402, 3),
    (0xA403, 3),
    (0xA405, 3),
    (0xA406, 3),
)


def _directory(order: str, entries: tuple[tuple[int, int], ...]) -> bytes:
    return b"".join(
        struct.pack(f"{order}HHI", tag, kind, 1 if kind != 2 else 20) for tag, kind in entries
    )


def _make() -> bytes:
    words = " ".join(_WORDS).encode()
    profile = (
        b"mluc\0\0\0\0\0\0\0\1\0\0\0\x0cenUS para\0\0\0\0\0\3\0\0 curv\0\0\0\0 text\0\0\0\0 "
        b"desc\0\0\0\0"
        b"XYZ \0\0\0\0\0\0\xf6\xd6\0\1\0\0\0\0\xd3-sf32\0\0\0\0cprtwtptchadrXYZgXYZbXYZrTRCgTRC"
        b"bTRCkTRC"
        b"lcmsappl\4 \0\0mntrRGB XYZ GRAYXYZ acspAPPLMSFT"
    )
    exif = b"".join(
        head + _directory(order, _SECOND) + _directory(order, _FIRST) + version
        for order, head, version in (
            (">", b"MM\0*\0\0\0\x08", b"0100 0232 2020:01:01 00:00:00\0"),
            ("<", b"II*\0\x08\0\0\0", b"0100 0230 0231\1\2\3\0ASCII\0\0\0"),
        )
    )
    names = "".join(f' xmlns:{name}="{place}"' for name, place in _NAMESPACES)
    xmp = (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta '
        'xmlns:x="adobe:ns:meta/" '
        'x:xmptk="XMP Core"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about=""{names}></rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    )
    return words + profile + exif + xmp.encode()


METADATA_DICTIONARY = _make()
