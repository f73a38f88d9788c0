"""CIFAR-10 (Krizhevsky 2009) from arrays or from the official archive. Needs no torch: benchmarks
too read it."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....formats import AeiError

HELP = (
    "put train_3000.npy and eval_1000.npy (uint8, N x 32 x 32 x 3) there, or the official "
    "'CIFAR-10 python version', cifar-10-python.tar.gz or its unpacked cifar-10-batches-py"
)


class CifarMissingError(AeiError):
    """No CIFAR-10 where it was looked for."""


@dataclass
class Cifar:
    """train, held_out: uint8 (N, 32, 32, 3). source: what was found, to be stated with results."""

    train: np.ndarray
    held_out: np.ndarray
    source: str


# The archive's batches are pickles: allow what plain arrays and dicts need, nothing else.
PICKLE_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) not in PICKLE_NAMES:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a CIFAR-10 batch")
        if name == "_reconstruct":  # its module was renamed in NumPy 2
            new = np.lib.NumpyVersion(np.__version__) >= "2.0.0"
            module = "numpy._core.multiarray" if new else "numpy.core.multiarray"
        return super().find_class(module, name)


def _batch(data: bytes, name: str) -> np.ndarray:
    try:
        pixels = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()[b"data"]
        return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    except Exception as error:
        raise CifarMissingError(f"{name}: not a CIFAR-10 batch ({error})") from None


def _splits(read: Callable[[str], bytes]) -> Cifar:
    """Training and test split of the official archive; read: the bytes of a member by its name."""
    train = [_batch(read(name), name) for name in (f"data_batch_{i}" for i in range(1, 6))]
    test = _batch(read("test_batch"), "test_batch")
    return Cifar(np.concatenate(train), test, "CIFAR-10, official training and test split")


def load_cifar(folder: Path) -> Cifar:
    """CIFAR-10 from a folder: two .npy files, or the official archive, packed or not.

    With the official archive the test split is held out; with the arrays, `eval_1000.npy` (a part
    of the training split). Raises CifarMissingError that says what to put where.
    """
    arrays = [folder / "train_3000.npy", folder / "eval_1000.npy"]
    if all(path.is_file() for path in arrays):
        train, held_out = (_array(path) for path in arrays)
        return Cifar(train, held_out, "CIFAR-10, two parts of the training split")
    unpacked = folder if (folder / "test_batch").is_file() else folder / "cifar-10-batches-py"
    if (unpacked / "test_batch").is_file():
        return _splits(lambda name: (unpacked / name).read_bytes())
    packed = folder / "cifar-10-python.tar.gz"
    if not packed.is_file():
        raise CifarMissingError(f"{folder}: no CIFAR-10 found; {HELP}")
    try:
        with tarfile.open(packed) as archive:

            def read(name: str) -> bytes:
                member = archive.extractfile(f"cifar-10-batches-py/{name}")
                if member is None:
                    raise KeyError(f"{name} is no file")
                return member.read()

            return _splits(read)
    except (KeyError, EOFError, OSError, zlib.error, tarfile.TarError) as error:
        raise CifarMissingError(
            f"{packed}: not the whole archive ({error}); download it again"
        ) from None


def _array(path: Path) -> np.ndarray:
    try:
        images = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CifarMissingError(f"{path}: cannot be read ({error})") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (32, 32, 3):
        raise CifarMissingError(
            f"{path}: {images.dtype} of shape {images.shape}, not uint8 N x 32 x 32 x 3"
        )
    return images
