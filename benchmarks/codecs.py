"""The codecs compared: each encodes an image at a quality to real bytes, and decodes them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

JPEG_QUALITIES = (5, 10, 15, 25, 40, 55, 70, 80, 88, 94)
WEBP_QUALITIES = (1, 5, 15, 30, 45, 60, 75, 85, 92, 97)
AVIF_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
AEI_QUALITIES = (1, 5, 15, 30, 45, 60, 75, 90, 100)


@dataclass
class PeerCodec:
    """A codec under test.

    settings: what a reader needs to reproduce it. encode: (uint8 (H, W, 3), quality) -> bytes.
    decode: bytes -> uint8 (H, W, 3). payload: bytes of the file that are not headers.
    """

    name: str
    settings: str
    qualities: tuple[int, ...]
    encode: Callable[[np.ndarray, int], bytes]
    decode: Callable[[bytes], np.ndarray]
    payload: Callable[[bytes], int]
    version: str = field(default="")


def _pillow_decode(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _pillow_encoder(format_: str, **options) -> Callable[[np.ndarray, int], bytes]:
    def encode(image: np.ndarray, quality: int) -> bytes:
        from PIL import Image

        out = io.BytesIO()
        Image.fromarray(image).save(out, format_, quality=quality, **options)
        return out.getvalue()

    return encode


def jpeg_payload(data: bytes) -> int:
    """Bytes of the entropy-coded segments: what stands between each SOS header and the next marker."""
    total, i = 0, 2
    while i + 4 <= len(data):
        marker = data[i + 1]
        length = int.from_bytes(data[i + 2 : i + 4], "big")
        i += 2 + length
        if marker == 0xDA:
            start = i
            while data[i] != 0xFF or data[i + 1] == 0 or 0xD0 <= data[i + 1] <= 0xD7:
                i += 1
            total += i - start
        if data[i + 1] == 0xD9:
            break
    return total


def riff_payload(data: bytes) -> int:
    """Bytes of WebP's VP8 or VP8L chunk."""
    i = 12
    while i + 8 <= len(data):
        size = int.from_bytes(data[i + 4 : i + 8], "little")
        if data[i : i + 4] in (b"VP8 ", b"VP8L"):
            return size
        i += 8 + size + size % 2
    return len(data)


def isobmff_payload(data: bytes) -> int:
    """Bytes inside AVIF's `mdat` boxes."""
    total, i = 0, 0
    while i + 8 <= len(data):
        size = int.from_bytes(data[i : i + 4], "big") or len(data) - i
        if data[i + 4 : i + 8] == b"mdat":
            total += size - 8
        i += max(size, 8)
    return total


def aei_payload(data: bytes) -> int:
    """Bytes of the entropy-coded part of an .aei file."""
    from ..formats import parse

    return len(parse(data).payload)


def aei_codec(model: str | None = None, qualities: tuple[int, ...] = AEI_QUALITIES) -> PeerCodec:
    """aei with the shipped model, or with a bundle; one of a single quality gives a single point."""
    from importlib.metadata import version

    from ..codec import Codec

    codec = Codec(model)
    if codec.bundle.manifest.get("arch") == "cae":
        qualities = (50,)
    return PeerCodec(
        "aei" if model is None else f"aei ({codec.bundle.name})",
        f"model {codec.bundle.name} {codec.bundle.fingerprint.hex()}",
        qualities,
        codec.encode,
        lambda data: np.asarray(codec.decode(data).convert("RGB")),
        aei_payload,
        f"aei-codec {version('aei-codec')}",
    )


def peer_codecs() -> list[PeerCodec]:
    """JPEG (two ways), WebP and AVIF as the installed Pillow has them."""
    from PIL import __version__, features

    pillow = f"Pillow {__version__}"
    jpeg = f"{pillow}, libjpeg-turbo {features.version('libjpeg_turbo')}"
    codecs = [
        PeerCodec(
            "JPEG", "Pillow's default: 4:2:0, standard Huffman tables", JPEG_QUALITIES,
            _pillow_encoder("JPEG"), _pillow_decode, jpeg_payload, jpeg,
        ),
        PeerCodec(
            "JPEG optimised", "optimize=True, progressive=True, 4:2:0", JPEG_QUALITIES,
            _pillow_encoder("JPEG", optimize=True, progressive=True),
            _pillow_decode, jpeg_payload, jpeg,
        ),
        PeerCodec(
            "WebP", "Pillow's default: method 4", WEBP_QUALITIES, _pillow_encoder("WEBP"),
            _pillow_decode, riff_payload, f"{pillow}, libwebp {features.version('webp')}",
        ),
    ]  # fmt: skip
    if features.check("avif"):
        codecs.append(
            PeerCodec(
                "AVIF",
                "Pillow's default: speed 6, 4:2:0",
                AVIF_QUALITIES,
                _pillow_encoder("AVIF"),
                _pillow_decode,
                isobmff_payload,
                f"{pillow}, libavif {features.version('avif')}",
            )
        )
    return codecs
