"""The codecs that aei is compared with: small adapters over the libraries that people use."""

from __future__ import annotations

import io
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from . import payload
from .base import PeerCodec

JPEG_QUALITIES = (5, 10, 15, 25, 40, 55, 70, 80, 88, 94)
WEBP_QUALITIES = (1, 5, 15, 30, 45, 60, 75, 85, 92, 97)
AVIF_QUALITIES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
AVIF_SLOW_QUALITIES = (10, 25, 40, 55, 70, 85)
HEIC_QUALITIES = (5, 15, 25, 35, 45, 55, 65, 75, 85)
JXL_QUALITIES = (5, 15, 30, 45, 60, 70, 80, 88, 94)
JPEG2000_BPP = (0.1, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5, 2.2, 3.2)
JPEGLI_QUALITIES = (10, 20, 30, 40, 55, 70, 80, 88, 94)


def peer_codecs() -> tuple[list[PeerCodec], dict[str, str]]:
    """The peers that can be used here, and for the others the reason why not."""
    from PIL import features

    found: list[PeerCodec] = []
    missing: dict[str, str] = {}

    def want(names: tuple[str, ...], ready: bool | None, reason: str) -> bool:
        if not ready:
            missing.update(dict.fromkeys(names, reason))
        return bool(ready)

    found += _jpeg()
    if want(("JPEG mozjpeg",), _has("mozjpeg_lossless_optimization"),
            "needs mozjpeg-lossless-optimization (the [bench] extra)"):  # fmt: skip
        found.append(_mozjpeg())
    if want(("JPEG jpegli",), _has("pyjpegli"), "needs pyjpegli (the [bench] extra)"):
        found.append(_jpegli())
    if want(("JPEG 2000",), features.check("jpg_2000"), "this Pillow has no OpenJPEG"):
        found.append(_jpeg2000())
    if want(("WebP", "WebP method 6", "WebP lossless"), features.check("webp"),
            "this Pillow has no libwebp"):  # fmt: skip
        found += _webp()
    if want(("AVIF", "AVIF 4:4:4", "AVIF tune=psnr", "AVIF tune=ssim", "AVIF speed 4",
             "AVIF speed 2"), features.check("avif"), "this Pillow has no libavif"):  # fmt: skip
        found += _avif()
    if want(("HEIC",), _has("pillow_heif"), "needs pillow-heif (the [bench] extra)"):
        found.append(_heic())
    if want(("JPEG XL",), _has("pillow_jxl"), "needs pillow-jxl-plugin (the [bench] extra)"):
        found.append(_jpeg_xl())
    found.append(_png())
    return found, missing


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _decode(data: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _saver(format_: str, quality_as: str, **options) -> Callable[[np.ndarray, float], bytes]:
    def encode(image: np.ndarray, quality: float) -> bytes:
        from PIL import Image

        out = io.BytesIO()
        values: dict[str, Any] = {quality_as: quality} if quality_as else {}
        if format_ == "JPEG" and quality % 1:
            values = {"qtables": _tables_between(quality), "subsampling": "4:2:0"}
        Image.fromarray(image).save(out, format_, **(values | options))
        return out.getvalue()

    return encode


def _tables_between(quality: float) -> list[list[int]]:
    """JPEG's tables at a quality that is no whole number, scaled as libjpeg scales the
    standard's."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", quality=50)  # where they are the standard's own
    with Image.open(out) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return [[int(min(max((v * scale + 50) // 100, 1), 255)) for v in tables[i]] for i in (0, 1)]


def _pillow(
    name: str,
    note: str,
    format_: str,
    qualities: tuple[float, ...],
    scale: tuple[float, ...] = (),
    quality_as: str = "quality",
    options: dict | None = None,
    **facts,
) -> PeerCodec:
    """A format that Pillow writes; the settings name every option that is passed."""
    options = options or {}
    given = "".join(f", {key}={value!r}" for key, value in options.items())
    return PeerCodec(
        name, f"{note}; save({format_!r}, {quality_as or 'lossless'}{given})", qualities,
        _saver(format_, quality_as, **options), facts.pop("decode", _decode), scale=scale, **facts,
    )  # fmt: skip


def _library(feature: str, name: str) -> str:
    from PIL import __version__, features

    return f"Pillow {__version__}, {name} {features.version(feature)}"


def _package(name: str) -> str:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name


def _steps(low: int, high: int) -> tuple[float, ...]:
    return tuple(range(low, high + 1))


def _jpeg() -> list[PeerCodec]:
    facts: dict[str, Any] = {
        "payload": payload.jpeg, "version": _library("libjpeg_turbo", "libjpeg-turbo"),
        "family": "JPEG", "mime": "image/jpeg", "tuned_for": "the standard's tables",
        "continuous": True,
    }  # fmt: skip
    scale = _steps(1, 98)
    smaller = {"optimize": True, "progressive": True}
    return [
        _pillow("JPEG", "Pillow's default: 4:2:0, standard Huffman tables", "JPEG",
                JPEG_QUALITIES, scale, **facts),
        _pillow("JPEG optimised", "4:2:0, optimised Huffman tables, progressive", "JPEG",
                JPEG_QUALITIES, scale, options=smaller, **facts),
        _pillow("JPEG 4:4:4", "full-size chroma, optimised, progressive", "JPEG",
                JPEG_QUALITIES, scale, options={**smaller, "subsampling": "4:4:4"}, **facts),
    ]  # fmt: skip


def _mozjpeg() -> PeerCodec:
    """MozJPEG's scan optimisation. No wheel of its encoder (trellis quantisation) was found, so the
    coefficients are libjpeg-turbo's."""
    save = _saver("JPEG", "quality")

    def encode(image: np.ndarray, quality: float) -> bytes:
        from mozjpeg_lossless_optimization import optimize

        return optimize(save(image, quality))

    return PeerCodec(
        "JPEG mozjpeg",
        "Pillow's default JPEG, 4:2:0, recoded without loss by MozJPEG's scan optimisation "
        "(not its trellis quantisation)",
        JPEG_QUALITIES,
        encode,
        _decode,
        payload.jpeg,
        f"{_library('libjpeg_turbo', 'libjpeg-turbo')}, "
        f"{_package('mozjpeg-lossless-optimization')}",
        scale=_steps(1, 98),
        family="JPEG",
        mime="image/jpeg",
        tuned_for="the standard's tables",
        continuous=True,
    )


def _jpegli() -> PeerCodec:
    def encode(image: np.ndarray, quality: float) -> bytes:
        import pyjpegli

        height, width = image.shape[:2]
        return pyjpegli.encode(np.ascontiguousarray(image), width, height, quality=int(quality))

    return PeerCodec(
        "JPEG jpegli", "jpegli's default; decoded by libjpeg-turbo", JPEGLI_QUALITIES, encode,
        _decode, payload.jpeg, _package("pyjpegli"), scale=_steps(1, 98), family="JPEG",
        mime="image/jpeg", tuned_for="Butteraugli",
    )  # fmt: skip


def _jpeg2000() -> PeerCodec:
    """The quality is the rate asked for, as is the custom for JPEG 2000."""

    def encode(image: np.ndarray, quality: float) -> bytes:
        return _saver(
            "JPEG2000",
            "",
            quality_mode="rates",
            quality_layers=[24 / quality],
            irreversible=True,
        )(image, quality)

    return PeerCodec(
        "JPEG 2000",
        "9/7 wavelet, one layer; the quality is the bits per pixel asked for; "
        "save('JPEG2000', quality_mode='rates', quality_layers=[24 / quality], irreversible=True)",
        JPEG2000_BPP, encode, _decode, payload.jpeg2000, _library("jpg_2000", "OpenJPEG"),
        scale=tuple(round(0.05 * 1.03**i, 4) for i in range(160)), family="JPEG 2000",
        continuous=True, tuned_for="squared error",
    )  # fmt: skip


def _webp() -> list[PeerCodec]:
    facts: dict[str, Any] = {
        "payload": payload.riff, "version": _library("webp", "libwebp"),
        "family": "WebP", "mime": "image/webp", "continuous": True,
        "tuned_for": "squared error, more of it in texture",
    }  # fmt: skip
    scale = _steps(0, 100)
    return [
        _pillow("WebP", "Pillow's default: method 4", "WEBP", WEBP_QUALITIES, scale, **facts),
        _pillow("WebP method 6", "the slowest method", "WEBP", WEBP_QUALITIES, scale,
                options={"method": 6}, **facts),
        _pillow("WebP lossless", "for reference", "WEBP", (100,), quality_as="",
                options={"lossless": True}, lossless=True,
                slow=True, **facts),
    ]  # fmt: skip


def _avif() -> list[PeerCodec]:
    facts: dict[str, Any] = {
        "payload": payload.mdat, "version": _library("avif", "libavif"),
        "family": "AVIF", "mime": "image/avif",
        "tuned_for": _avif_default_tune(),
    }  # fmt: skip
    scale = _steps(0, 99)

    def tuned(metric: str) -> PeerCodec:
        other = {**facts, "tuned_for": f"tune={metric}"}
        return _pillow(f"AVIF tune={metric}", f"speed 6, 4:2:0, libaom tuned for {metric.upper()}",
                       "AVIF", AVIF_QUALITIES, scale, options={"advanced": {"tune": metric}},
                       **other)  # fmt: skip

    return [
        _pillow("AVIF", "Pillow's default: speed 6, 4:2:0", "AVIF", AVIF_QUALITIES, scale, **facts),
        _pillow(
            "AVIF 4:4:4",
            "speed 6, full-size chroma",
            "AVIF",
            AVIF_QUALITIES,
            scale,
            options={"subsampling": "4:4:4"},
            **facts,
        ),
        tuned("psnr"),
        tuned("ssim"),
        _pillow(
            "AVIF speed 4",
            "slower, 4:2:0",
            "AVIF",
            AVIF_SLOW_QUALITIES,
            scale,
            options={"speed": 4},
            slow=True,
            **facts,
        ),
        _pillow(
            "AVIF speed 2",
            "slow, 4:2:0; slower speeds gain little",
            "AVIF",
            AVIF_SLOW_QUALITIES,
            scale,
            options={"speed": 2},
            slow=True,
            **facts,
        ),
    ]


def _avif_default_tune() -> str:
    """libavif tunes libaom for SSIM, since 1.4 by `iq`, an image quality of its own. (Seen
    with 1.4.2: the files are those of an explicit tune=iq.)"""
    from PIL import features

    try:
        found = tuple(int(part) for part in (features.version("avif") or "").split(".")[:2])
    except ValueError:
        return ""
    return "tune=iq" if found >= (1, 4) else "tune=ssim"


def _heic() -> PeerCodec:
    # Pillow's registry is left alone, so that other code reads the same files as before.
    def encode(image: np.ndarray, quality: float) -> bytes:
        import pillow_heif

        height, width = image.shape[:2]
        heif = pillow_heif.from_bytes("RGB", (width, height), np.ascontiguousarray(image).tobytes())
        out = io.BytesIO()
        heif.save(out, quality=int(quality))
        return out.getvalue()

    def decode(data: bytes) -> np.ndarray:
        import pillow_heif

        return np.asarray(pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True))[
            ..., :3
        ]

    import pillow_heif

    info = pillow_heif.libheif_info()
    encoder = info["HEIF"].removesuffix(" HEVC encoder").split(" (")[-1].rstrip(")")
    return PeerCodec(
        "HEIC", "pillow-heif's default: x265, 4:2:0", HEIC_QUALITIES, encode, decode, payload.mdat,
        f"{_package('pillow-heif')}, libheif {info['libheif']}, x265 {encoder}",
        scale=_steps(0, 99), family="HEIC", tuned_for="tune=ssim",
    )  # fmt: skip


def _jpeg_xl() -> PeerCodec:
    def decode(data: bytes) -> np.ndarray:

        return _decode(data)

    save = _saver("JXL", "quality")

    def encode(image: np.ndarray, quality: float) -> bytes:
        import pillow_jxl.JpegXLImagePlugin  # noqa: F401  registers the format

        return save(image, quality)

    return PeerCodec(
        "JPEG XL",
        "pillow-jxl-plugin's default: VarDCT, effort 7, bare code stream; save('JXL', quality)",
        JXL_QUALITIES,
        encode,
        decode,
        None,
        _package("pillow-jxl-plugin"),
        scale=_steps(1, 99),
        family="JPEG XL",
        tuned_for="Butteraugli",
    )


def _png() -> PeerCodec:
    return _pillow(
        "PNG", "for reference, lossless", "PNG", (100,), quality_as="", options={"optimize": True},
        payload=payload.png, version=_library("zlib", "zlib"), family="PNG", mime="image/png",
        lossless=True, slow=True,
    )  # fmt: skip
