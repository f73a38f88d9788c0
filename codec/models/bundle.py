"""Model bundles: folders with a manifest, the integer prior, and ONNX graphs of the float
transforms."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ...formats import AeiError, ModelError, UnknownModelError
from ..exact.check import check_prior
from ..exact.native.synthesis import block_of
from ..exact.prior import ROUNDING_BITS, Prior
from ..exact.program import Synthesis, read_synthesis
from ..forks import Lock
from ..settings import GAIN_LEVELS, TUNES, gain_index_of_quality
from . import ahead
from .arrays import arrays_of
from .channel_worth import CHANNEL_WORTH, row_of
from .parts import MANIFEST, check_whole, read_json, read_part
from .stored import Stored, read_stored

if TYPE_CHECKING:
    from ..exact.analysis_program import Analysis

MODELS = Path(__file__).parent
DEFAULT_MODEL = "photo-1"
MODEL_OF_TUNE = {"psnr": "psnr"}  # of tunes that have a model of their own
READS_ONLY = "reads_only"  # of the manifest: what encoding needs is left out
MOST_HALO, MOST_MARGIN = 256, 256
T = TypeVar("T")


def _room(size: int) -> np.ndarray:
    """NumPy's memory comes in large pages, which cost less to be had than they take to be read."""
    return np.empty(size, np.uint8)


def read_arrays(path: Path, *, hashed: bool = True) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, by name, read-only. hashed: see `read_part`. Raises
    ModelError."""
    try:
        return arrays_of(read_part(path, hashed=hashed, room=_room))
    except ValueError as error:
        raise ModelError(f"{path}: not a readable part of a model bundle ({error})") from None


class Bundle:
    """A model bundle on disk. Nothing but the manifest is read before it is needed.

    path: its folder, or the name of one that ships with the package.

    Raises ModelError where the folder holds no manifest of one, and later where a file is missing,
    damaged, or not the one that the manifest names by its hash.
    """

    def __init__(self, path: str | Path):
        self.path = located(path)
        self._ahead: threading.Thread | None = None  # reads the synthesis
        self._prior_lock = Lock()
        try:
            self.manifest = read_json(self.path / MANIFEST)
            self.fingerprint = bytes.fromhex(self.manifest["fingerprint"])
            self.name: str = self.manifest["name"]
            # how many cells of the latents' grid around a window the transforms look at
            self.halo: int = self.manifest.get("halo", 0)
            # how many pixels around one the end of g_s looks at; 0: g_s has none
            self.margin: int = self.manifest.get("margin", 0)
            self._rounding_bits = float(self.manifest.get("rounding_bits", ROUNDING_BITS))
            self._lambda = self._checked()
        except (ModelError, ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(
                f"{self.path}: not a model bundle (no readable manifest.json)"
            ) from None
        check_whole(self.path, self.manifest)

    def _checked(self) -> tuple[float, float] | None:
        """Look at the manifest's values; lambda's least and most. Raises ValueError or
        TypeError."""
        if len(self.fingerprint) != 4 or not isinstance(self.name, str):
            raise ValueError
        for value, limit in ((self.halo, MOST_HALO), (self.margin, MOST_MARGIN)):
            if type(value) is not int or not 0 <= value <= limit:
                raise ValueError
        if not 0 < self._rounding_bits < 1e9:
            raise ValueError
        if "lambda" not in self.manifest:
            return None
        least, most = map(float, self.manifest["lambda"])
        if not 0 < least <= most < 1e9:
            raise ValueError
        return least, most

    @property
    def prior(self) -> Prior:
        """The integer prior. Raises ModelError where it is damaged, cannot be run exactly, or this
        machine computes wrongly."""
        with self._prior_lock:
            return self._prior

    @cached_property
    def _prior(self) -> Prior:
        stored, program, arrays = self._stored("prior")
        if stored.sha256[: len(self.fingerprint)] != self.fingerprint:
            raise ModelError(
                f"{self.path}: the prior does not match its fingerprint; reinstall the model"
            )
        try:
            check_prior(program, arrays)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None
        return Prior(program, arrays, self.fingerprint, self._rounding_bits)

    def prepare_synthesis(self) -> None:
        """Read the synthesis, and pack it for the native core, on a thread of its own, while this
        one reads the prior and decodes latents. `synthesis` waits for it."""
        if self._ahead is None and "_synthesis" not in vars(self):
            self._ahead = threading.Thread(target=self._prepare, daemon=True)
            with contextlib.suppress(RuntimeError):  # no more threads: later, then
                self._ahead.start()
                return
            self._ahead = None

    def _prepare(self) -> None:
        with contextlib.suppress(AeiError, OSError, MemoryError):  # who needs it will meet it again
            if self._synthesis is not None:
                block_of(self._synthesis.synthesis)

    @property
    def has_synthesis(self) -> bool:
        """Whether there is an integer synthesis, which is not read for that."""
        return self.manifest.get("synthesis") is not None

    @property
    def synthesis(self) -> Synthesis | None:
        """The integer synthesis; None for a bundle without, whose pixels ONNX Runtime makes.

        Raises ModelError where it is damaged, or sums could leave 32 bits.
        """
        if self._ahead is not None:
            self._ahead.join()
        return self._synthesis

    @cached_property
    def _synthesis(self) -> Synthesis | None:
        return self._program("synthesis", read_synthesis)

    @cached_property
    def analysis(self) -> Analysis | None:
        """The integer analysis; None for a bundle without, whose latents ONNX Runtime makes. Raises
        ModelError as `synthesis` does."""
        from ..exact.analysis_program import read_analysis

        return self._program("analysis", read_analysis)

    def _program(self, name: str, read: Callable[[dict, dict, dict], T]) -> T | None:
        """What the manifest names by its hash, and NAME.json and NAME.safetensors hold."""
        facts = self.manifest.get(name)
        if facts is None:
            return None
        try:
            wanted = bytes.fromhex(facts["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{self.path}: the {name} cannot be read ({error})") from None
        stored, description, arrays = self._stored(name)
        if stored.sha256 != wanted:
            raise ModelError(
                f"{self.path}: the {name} does not match the manifest; reinstall the model"
            )
        try:
            return read(description, arrays, self.prior.program)
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None

    def _stored(self, name: str) -> tuple[Stored, Any, dict[str, np.ndarray]]:
        """What NAME.json and NAME.safetensors hold, not held against any hash yet. Raises
        ModelError."""
        stored = ahead.taken(self.path, name) or read_stored(self.path, name, _room)
        try:
            return stored, json.loads(stored.text), arrays_of(stored.data, stored.entries)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{self.path}: the {name} cannot be read ({error})") from None

    def bits_per_error(self, gain_index: int) -> float | None:
        """What a squared error of 1 (of pixel values in -0.5..0.5, in one channel of one pixel) is
        worth in bits at a gain index: lambda 255^2 / 3. None for a model that does not say its
        lambdas, or has no graph of the gradient."""
        if self._lambda is None or not (self.path / "g_s_gradient.onnx").exists():
            return None
        least, most = self._lambda
        return least * (most / least) ** (gain_index / 255) * 255**2 / 3

    def worth_of_channels(self, gain_index: int) -> np.ndarray | None:
        """What a squared error of one quantisation step is worth in each channel of the latents at
        a gain index, beside others: float32 (M,), see channel_worth.py. None for a bundle that does
        not say."""
        return None if self._channel_worth is None else row_of(self._channel_worth, gain_index)

    @cached_property
    def _channel_worth(self) -> np.ndarray | None:
        path = self.path / f"{CHANNEL_WORTH}.safetensors"
        if not path.exists():
            return None
        table = read_arrays(path).get(CHANNEL_WORTH)
        if table is None or table.dtype != np.int8 or table.ndim != 2:
            table = np.empty((0, 0), np.int8)
        if len(table) < 2 or table.shape[1] != self.prior.latents:
            raise ModelError(f"{path}: no worth of the model's {self.prior.latents} channels")
        return table

    @property
    def reads_only(self) -> bool:
        """Whether it is the form of a model that reads files and writes none."""
        return self.manifest.get(READS_ONLY) is True

    @property
    def tune(self) -> str:
        """What it is used for where nothing else is asked for: one of TUNES."""
        tune = self.manifest.get("tune")
        return tune if tune in TUNES else next(iter(TUNES))

    def gain_index_of_quality(self, quality: float) -> int:
        """As settings.gain_index_of_quality, by this model's scores. Raises UnsupportedError,
        ModelError."""
        scores = self.manifest.get("scores", [])
        ends = [[0, 1], *scores, [GAIN_LEVELS - 1, 100]] if isinstance(scores, list) else []
        try:
            rising = all(
                a < b for one, two in pairwise(ends) for a, b in zip(one, two, strict=True)
            )
        except (TypeError, ValueError):
            rising = False
        if not ends or not rising:
            raise ModelError(f"{self.path}: the scores in manifest.json do not rise")
        return gain_index_of_quality(quality, scores)

    @cached_property
    def rows(self) -> dict[str, np.ndarray]:
        """Float gains, one row per gain index: float32 (256, C) by name. Stored as rows, or as
        `anchors`, their logarithms at a few evenly spaced gain indexes."""
        path = self.path / "rows.safetensors"
        rows = {}
        for name, a in read_arrays(path).items():
            stem = name.removesuffix(".anchors")
            if not a.size or a.dtype.kind != "f" or not np.isfinite(a).all():
                raise ModelError(f"{path}: {name} holds no numbers")
            if stem != name and a.ndim == 2:
                a = _between(a)
            whole = name.startswith("preview.") or a.shape == (GAIN_LEVELS, a.shape[-1])
            if not whole:
                raise ModelError(f"{path}: {name} has no row for each gain index")
            rows[stem] = a
        latents = self.prior.latents
        for name in ("gain", "inverse_gain"):
            if name not in rows or rows[name].shape[1] != latents:
                raise ModelError(
                    f"{path}: {name} is missing, or not of the model's {latents} latents"
                )
        return rows


def _between(anchors: np.ndarray) -> np.ndarray:
    """Positive rows (256, C), log-linear between anchors (N, C)."""
    place = np.linspace(0, len(anchors) - 1, GAIN_LEVELS, dtype=np.float32)[:, None]
    weights = np.maximum(1 - np.abs(place - np.arange(len(anchors), dtype=np.float32)), 0)
    return np.exp(weights @ anchors)


def located(model: str | Path) -> Path:
    """The folder of a bundle, of which a name alone may stand for one that ships; a folder of that
    name where one looks from comes first."""
    path = Path(model)
    if len(path.parts) == 1 and not path.exists():
        shipped = MODELS / path.name
        if (shipped / MANIFEST).is_file():
            return shipped
    return path


def installed_bundles() -> list[Path]:
    """Folders of the bundles that ship with the package."""
    return sorted(p.parent for p in MODELS.glob("*/manifest.json"))


def default_bundle(tune: str | None = None) -> Bundle:
    """The bundle used for encoding when none is named: that of a tune, if it has its own."""
    return Bundle(folder_of_tune(tune))


def folder_of_tune(tune: str | None) -> Path:
    """The folder of `default_bundle`."""
    return MODELS / MODEL_OF_TUNE.get(tune or "", DEFAULT_MODEL)


def find_bundle(model: bytes) -> Bundle:
    """The installed bundle with this fingerprint. Raises UnknownModelError."""
    for path in installed_bundles():
        bundle = Bundle(path)
        if bundle.fingerprint == model:
            return bundle
    raise UnknownModelError(
        f"the file was written with model {model.hex()}, which this release of aei-codec has not: "
        "install the newest one (pip install -U aei-codec), or read it with that model's bundle",
        reason="model",
    )
