"""aei as a codec under test: with the shipped model or a bundle, in its variants."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ...codec.settings import EFFORTS, TUNES
from . import payload
from .base import CodecError, PeerCodec

SHIPPED = "shipped"  # stands for the model of the package
# What a tune is called in tables.
TUNED_FOR = {"ssimulacra2": "SSIMULACRA 2", "psnr": "PSNR", "ms-ssim": "MS-SSIM"}
AEI_QUALITIES = (1, 5, 15, 30, 45, 60, 75, 90, 100)

AEI_VARIANTS: dict[str, dict[str, Any]] = {  # what each passes to Codec.encode
    "aei": {},
    **{f"aei effort {effort}": {"effort": effort} for effort in range(EFFORTS)},
    "aei psnr": {"tune": "psnr"},
    "aei psnr effort 5": {"tune": "psnr", "effort": 5},
    "aei ms-ssim": {"tune": "ms-ssim"},
}


def aei_codec(
    model: str | None = None,
    qualities: tuple[float, ...] = AEI_QUALITIES,
    variant: str = "aei",
    threads: int = 1,
) -> PeerCodec:
    """aei with the shipped model, or with a bundle; one of a single quality gives a single point.
    variant: one of AEI_VARIANTS. threads: of the transforms; where several images are coded at a
    time, more would wait for each other."""
    from importlib.metadata import version

    from ...codec import Codec

    codec = Codec(model, threads)
    options = AEI_VARIANTS[variant]
    bundle = codec.model_of_tune(options.get("tune")).bundle
    if bundle.manifest.get("arch") == "cae":
        qualities = (50,)
    settings = f"model {bundle.name} {bundle.fingerprint.hex()}"
    return PeerCodec(
        variant if model is None else f"{variant} ({bundle.name})",
        ", ".join([settings, *(f"{key} {value}" for key, value in options.items())]),
        qualities,
        lambda image, quality: codec.encode(image, quality, **options),
        lambda data: np.asarray(codec.decode(data).convert("RGB")),
        payload.aei,
        f"aei-codec {version('aei-codec')}",
        scale=tuple((1 + 99 * np.arange(256) / 255).tolist()),  # the gain indices
        family="aei",
        continuous=True,
        build=_aei_build(bundle.path),
        tuned_for=TUNED_FOR[options.get("tune", next(iter(TUNES)))],
    )


def aei_codecs(models: tuple[str, ...], variant: str = "aei", threads: int = 1) -> list[PeerCodec]:
    """aei with each of some bundles, `shipped` being the package's. Raises CodecError for equal
    names."""
    codecs = [
        aei_codec(None if model == SHIPPED else model, variant=variant, threads=threads)
        for model in models
    ]
    if len({codec.name for codec in codecs}) < len(codecs):
        raise CodecError("two of the models have one name: export them with different --name")
    return codecs


def _aei_build(bundle: Path) -> str:
    """Hash of the model's files and of the code that turns images into bytes and back."""
    package = Path(__file__).parent.parent.parent
    files = [p for folder in ("codec", "formats") for p in (package / folder).rglob("*.py")]
    files = [p for p in files if "training" not in p.relative_to(package).parts]
    digest = hashlib.sha256()
    for path in sorted(files) + sorted(p for p in bundle.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
