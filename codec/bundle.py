"""Model bundles: folders with a manifest, the integer prior, and ONNX graphs of the float transforms."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..formats import ModelError, UnknownModelError
from .interpreter import known_answer
from .range_coder import Table
from .trellis import Trellis

MODELS = Path(__file__).parent / "models"
DEFAULT_MODEL = "base"
GAIN_LEVELS = 256
# What a squared quantisation step of error is worth in bits to the encoder, unless a bundle says otherwise. At high
# rate theory has 6 / ln 2 = 8.7; but values also serve as context, and a model that was trained with rounding to the
# nearest codes best where little is changed: -0.8 % of rate at 24, 0 at 17, +1.5 at 12 (ten photographs).
ROUNDING_BITS = 24.0

Costs = tuple[np.ndarray, np.ndarray, np.ndarray]  # see `costs_of_tables`


def fingerprint(program: str, arrays: dict[str, np.ndarray]) -> bytes:
    """First 4 bytes of the SHA-256 over all that defines latents: program and arrays.

    Each array enters as name, NUL, dtype and shape as text, NUL, and its little-endian bytes in C
    order, sorted by name; the program's JSON text comes first.
    """
    digest = hashlib.sha256(program.encode() + b"\0")
    for name in sorted(arrays):
        a = np.ascontiguousarray(arrays[name])
        a = a.astype(a.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name}\0{a.dtype.str} {a.shape}\0".encode())
        digest.update(a.tobytes())
    return digest.digest()[:4]


@dataclass
class Prior:
    """The integer prior of a bundle: what turns a payload into latents.

    program: dict with `latents`, `hyper_latents`, `mean_bits`, `skip_below`, `order`, `hyper`,
    `view`, `steps`. arrays: as stored (int16, int32, uint8). rounding_bits: what the encoder takes a squared
    quantisation step of error to be worth.
    """

    program: dict
    arrays: dict[str, np.ndarray]
    fingerprint: bytes
    rounding_bits: float = ROUNDING_BITS
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not known_answer():
            raise ModelError(
                "this machine's matrix product is inexact on integers: install another NumPy build"
            )
        # float64 in the layout the interpreter multiplies with; rows stay as they are stored.
        for name, a in self.arrays.items():
            if name.endswith(".weight") and a.ndim == 2:
                self.weights[name] = a.T.astype(np.float64)
            elif name.endswith(".weight"):
                self.weights[name] = np.ascontiguousarray(a.transpose(1, 2, 0), np.float64)
            elif name.endswith(".bias"):
                self.weights[name] = a.astype(np.float64)
            else:
                self.weights[name] = a

    @cached_property
    def tables(self) -> list[Table]:
        """The frequency tables, by table index; the last symbol of each is the escape."""
        sizes = self.arrays["tables.sizes"]
        ends = np.cumsum(sizes)
        flat = self.arrays["tables.frequencies"]
        return [Table(flat[end - size : end]) for end, size in zip(ends, sizes)]

    @cached_property
    def offsets(self) -> np.ndarray | None:
        """How much nearer to the mean than the integer the symbols of magnitude 1, 2, ... stand for: float64
        (scales, N), fixed point; None for a model without."""
        name = self.program.get("offsets")
        return None if name is None else self.arrays[name].astype(np.float64)

    @cached_property
    def trellis(self) -> Trellis | None:
        """How residuals of larger scales are quantised; None for a model that rounds each by itself."""
        return Trellis.of(self.program, self.arrays)

    @cached_property
    def single(self) -> dict[str, np.ndarray]:
        """The weights as float32, for gradients, which only the encoder takes."""
        return {name: a.astype(np.float32) for name, a in self.weights.items()}

    @cached_property
    def native_block(self) -> np.ndarray | None:
        """The prior as the native core reads it, uint8; None where it cannot."""
        from .exact.native.block import pack

        return pack(self)

    @cached_property
    def costs(self) -> Costs:
        """Code lengths under the tables, see `costs_of_tables`."""
        return costs_of_tables(self.arrays["tables.frequencies"], self.arrays["tables.sizes"])


def costs_of_tables(frequencies: np.ndarray, sizes: np.ndarray) -> Costs:
    """Code lengths for the encoder's decisions: (bits, centre, reach). Value v under table k costs
    bits[centre[k] + v] where |v| <= reach[k]."""
    sizes = sizes.astype(np.int64)
    reach = (sizes - 2) // 2
    bits = 24 - np.log2(frequencies.astype(np.float32))
    return bits, np.cumsum(sizes) - sizes + reach, reach


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a readable part of a model bundle ({error})") from None


class Bundle:
    """A model bundle on disk. Nothing is read before it is needed."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            self.manifest = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
            self.fingerprint = bytes.fromhex(self.manifest["fingerprint"])
            self.name: str = self.manifest["name"]
            # how many cells of the latents' grid around a window the transforms look at
            self.halo: int = self.manifest.get("halo", 0)
            # how many pixels around one the end of g_s looks at; 0: g_s has none
            self.margin: int = self.manifest.get("margin", 0)
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                f"{self.path}: not a model bundle (no readable manifest.json)"
            ) from None

    @cached_property
    def prior(self) -> Prior:
        """The integer prior. Raises ModelError where it is damaged or this machine computes wrongly."""
        try:
            text = (self.path / "prior.json").read_text(encoding="utf-8")
            arrays = read_arrays(self.path / "prior.safetensors")
            program = json.loads(text)
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path}: the prior cannot be read ({error})") from None
        if fingerprint(text, arrays) != self.fingerprint:
            raise ModelError(
                f"{self.path}: the prior does not match its fingerprint; reinstall the model"
            )
        bits = self.manifest.get("rounding_bits", ROUNDING_BITS)
        return Prior(program, arrays, self.fingerprint, bits)

    def bits_per_error(self, row: int) -> float | None:
        """What a squared error of 1 (of pixel values in -0.5..0.5, in one channel of one pixel) is worth in bits at a
        gain index: lambda 255^2 / 3. None for a model that does not say its lambdas, or has no graph of the gradient."""
        if "lambda" not in self.manifest or not (self.path / "g_s_gradient.onnx").exists():
            return None
        least, most = self.manifest["lambda"]
        return least * (most / least) ** (row / 255) * 255**2 / 3

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Float gains, one row per gain index: float32 (256, C) by name. Stored as rows, or as `anchors`, their
        logarithms at a few evenly spaced gain indexes."""
        rows = {}
        for name, a in read_arrays(self.path / "rows.safetensors").items():
            stem = name.removesuffix(".anchors")
            rows[stem] = a if stem == name else _between(a)
        return rows


def _between(anchors: np.ndarray) -> np.ndarray:
    """Positive rows (256, C), log-linear between anchors (N, C)."""
    place = np.linspace(0, len(anchors) - 1, GAIN_LEVELS, dtype=np.float32)[:, None]
    weights = np.maximum(1 - np.abs(place - np.arange(len(anchors), dtype=np.float32)), 0)
    return np.exp(weights @ anchors)


def installed_bundles() -> list[Path]:
    """Folders of the bundles that ship with the package."""
    return sorted(p.parent for p in MODELS.glob("*/manifest.json"))


def default_bundle() -> Bundle:
    """The bundle used for encoding when none is named."""
    return Bundle(MODELS / DEFAULT_MODEL)


def find_bundle(model: bytes) -> Bundle:
    """The installed bundle with this fingerprint. Raises UnknownModelError."""
    for path in installed_bundles():
        bundle = Bundle(path)
        if bundle.fingerprint == model:
            return bundle
    raise UnknownModelError(
        f"the file was written with model {model.hex()}, which is not installed: "
        "install the release of aei-codec that wrote it, or name the bundle with --model"
    )
