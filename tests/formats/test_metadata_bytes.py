"""What metadata costs: known profiles as a byte, and a dictionary for the rest."""

import base64
import io
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from aei import codec as face
from aei.codec.pixels.profiles import (
    ADOBE_CURVE,
    ADOBE_RGB,
    KNOWN,
    NAMES,
    SRGB,
    known_profile,
    make_profile,
    number_of_profile,
)
from aei.codec.pixels.side_channels import pack_metadata, read_metadata
from aei.formats import DEFAULT_LIMITS, DamagedFileError, Limits, UnsupportedError
from aei.formats.dictionary import METADATA_DICTIONARY
from aei.formats.sections import EXIF, ICC, deflate, inflate
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

FORMAT = Path(__file__).parents[2] / "docs" / "format" / "specification.md"


def lcms_srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def looks(profile: bytes, pixels: Image.Image) -> np.ndarray:
    """Pixels as a profile shows them, in sRGB."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    target = ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(pixels, source, target, outputMode="RGB")
    return np.asarray(made).astype(int)


@pytest.mark.parametrize("number", list(KNOWN))
def test_known_profiles_come_back_as_themselves(number):
    profile = known_profile(number)
    assert NAMES[number].encode("utf-16-be") in profile
    assert number_of_profile(profile) == number
    sections = pack_metadata({"icc_profile": profile})
    assert sections == {ICC: bytes([number])}
    assert read_metadata(sections, DEFAULT_LIMITS) == {"icc_profile": profile}


@pytest.mark.parametrize("name", ["lcms", "table", "astronaut"])
def test_srgb_is_known_by_its_meaning(name):
    if name == "lcms":
        profile = lcms_srgb()
    elif name == "table":  # as the oldest and most frequent profile has it: a table of 1024
        profile = with_table(known_profile(1), 1024)
    else:
        skimage = pytest.importorskip("skimage")
        path = Path(skimage.__path__[0]) / "data" / "astronaut.png"
        profile = Image.open(path).info["icc_profile"]
    assert number_of_profile(profile) == 1
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    assert np.abs(looks(profile, colours) - looks(known_profile(1), colours)).max() <= 1


def with_table(profile: bytes, size: int) -> bytes:
    """A profile whose curve is a table of sRGB's."""
    x = np.linspace(0, 1, size)
    y = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    table = b"curv\0\0\0\0" + size.to_bytes(4, "big") + np.rint(y * 65535).astype(">u2").tobytes()
    out = bytearray(profile) + table
    for i in range(int.from_bytes(profile[128:132], "big")):
        at = 132 + 12 * i
        if out[at + 1 : at + 4] == b"TRC":
            out[at + 4 : at + 8] = len(profile).to_bytes(4, "big")
            out[at + 8 : at + 12] = len(table).to_bytes(4, "big")
    out[:4] = len(out).to_bytes(4, "big")
    return bytes(out)


@pytest.mark.parametrize(
    ("primaries", "curve", "grey"),
    [(SRGB, (0, (2.2,)), False), (SRGB, (0, (1.0,)), False), (ADOBE_RGB, (0, (1.8,)), False),
     ((0.3457, 0.3585, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), ADOBE_CURVE, False),
     (SRGB, (0, (1.8,)), True), ((0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
      ADOBE_CURVE, False)],
)  # fmt: skip
def test_other_profiles_travel_as_they_are(primaries, curve, grey):
    profile = make_profile(primaries, curve, grey)
    assert number_of_profile(profile) is None
    sections = pack_metadata({"icc_profile": profile})
    assert read_metadata(sections, DEFAULT_LIMITS) == {"icc_profile": profile}


def test_tables_of_colours_are_never_taken_for_a_matrix():
    profile = bytearray(known_profile(1))
    at = profile.index(b"chad", 132)
    profile[at : at + 4] = b"A2B0"
    assert number_of_profile(bytes(profile)) is None


@given(st.binary(max_size=300), st.integers(0, 10**6), st.integers(0, 255))
def test_any_bytes_are_a_profile_or_none(noise, at, value):
    assert number_of_profile(noise) is None
    profile = bytearray(lcms_srgb())
    profile[at % len(profile)] = value
    number_of_profile(bytes(profile))
    number_of_profile(bytes(profile[: at % len(profile)]))


def test_a_number_of_a_later_release_is_no_wrong_colour():
    with pytest.raises(UnsupportedError, match="colour profile 200"):
        read_metadata({ICC: b"\xc8"}, DEFAULT_LIMITS)


def test_the_file_of_a_photograph_with_srgb_is_a_few_bytes_longer_than_without():
    image = Image.new("RGB", (32, 24), "olive")
    without = face.encode(image)
    image.info["icc_profile"] = lcms_srgb()
    data = face.encode(image)
    assert len(data) - len(without) == 4  # type, length, number, end of the list
    assert number_of_profile(face.decode(data).info["icc_profile"]) == 1


@given(st.binary(max_size=500))
def test_the_dictionary_loses_nothing(content):
    stream = deflate(content, METADATA_DICTIONARY)
    assert inflate(stream, 500, METADATA_DICTIONARY) == content
    assert len(stream) <= len(deflate(content))


def test_streams_without_it_are_read_and_others_are_not():
    content = b"content " * 9
    assert inflate(deflate(content), 100, METADATA_DICTIONARY) == content
    other = zlib.compressobj(9, zdict=b"another content")
    stream = other.compress(content) + other.flush()
    with pytest.raises(DamagedFileError):
        inflate(stream, 100, METADATA_DICTIONARY)
    with pytest.raises(DamagedFileError):
        inflate(deflate(METADATA_DICTIONARY * 9, METADATA_DICTIONARY), 2000, METADATA_DICTIONARY)


def test_exif_and_xmp_take_fewer_bytes():
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon", "Canon EOS 5D", 1
    exif[0x8769] = {0x9003: "2021:05:06 07:08:09", 0x829A: 0.01, 0x9000: b"0232"}
    xmp = (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf='
        b'"http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3"/></rdf:RDF></x:xmpmeta>'
    )
    metadata = {"exif": exif.tobytes()[6:], "xmp": xmp}
    sections = pack_metadata(metadata)
    assert read_metadata(sections, DEFAULT_LIMITS) == metadata
    for name, kind in (("exif", EXIF), ("xmp", EXIF + 1)):
        assert len(sections[kind]) < 0.85 * len(deflate(metadata[name]))
    with pytest.raises(DamagedFileError):
        read_metadata(sections, Limits(metadata=100))


def test_the_specification_has_the_dictionary():
    text = FORMAT.read_text(encoding="utf-8")
    block = re.search(r"<!-- dictionary -->\n```\n(.*?)```", text, re.DOTALL)
    assert base64.b64decode(block[1]) == METADATA_DICTIONARY
    assert f"{len(METADATA_DICTIONARY)} bytes" in text
    assert f"{zlib.adler32(METADATA_DICTIONARY):08X}" in text
