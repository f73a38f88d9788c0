"""CIFAR-10 (Krizhevsky 2009): loading it from arrays or from the official archive, and batches of it."""

from __future__ import annotations

import io
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...formats import AeiError
from .cae import SIDE
from .data import list_images

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


def _from_archive(read, names: list[str]) -> np.ndarray:
    return np.concatenate([_batch(read(name), name) for name in names])


def load_cifar(folder: Path) -> Cifar:
    """CIFAR-10 from a folder: two .npy files, or the official archive, packed or not.

    With the official archive the test split is held out; with the arrays, `eval_1000.npy` (a part of
    the training split). Raises CifarMissingError that says what to put where.
    """
    train_names = [f"data_batch_{i}" for i in range(1, 6)]
    if (folder / "train_3000.npy").is_file() and (folder / "eval_1000.npy").is_file():
        train, held_out = (
            np.load(folder / name, allow_pickle=False)
            for name in ("train_3000.npy", "eval_1000.npy")
        )
        return Cifar(train, held_out, "CIFAR-10, 3000 and 1000 images of the training split")
    for unpacked in (folder, folder / "cifar-10-batches-py"):
        if (unpacked / "test_batch").is_file():

            def read_file(name: str, unpacked: Path = unpacked) -> bytes:
                return (unpacked / name).read_bytes()

            return Cifar(
                _from_archive(read_file, train_names),
                _from_archive(read_file, ["test_batch"]),
                "CIFAR-10, official training and test split",
            )
    packed = folder / "cifar-10-python.tar.gz"
    if packed.is_file():
        try:
            archive = tarfile.open(packed)
        except (EOFError, OSError, tarfile.TarError) as error:
            raise CifarMissingError(
                f"{packed}: not a whole archive ({error}); download it again"
            ) from None
        with archive:

            def read_member(name: str) -> bytes:
                try:
                    member = archive.extractfile(f"cifar-10-batches-py/{name}")
                    assert member is not None
                    return member.read()
                except (KeyError, EOFError, OSError, zlib.error, tarfile.TarError) as error:
                    raise CifarMissingError(
                        f"{packed}: {name} cannot be read ({error}); download the archive again"
                    ) from None

            return Cifar(
                _from_archive(read_member, train_names),
                _from_archive(read_member, ["test_batch"]),
                "CIFAR-10, official training and test split",
            )
    raise CifarMissingError(f"{folder}: no CIFAR-10 found; {HELP}")


TILES = 16  # of an image larger than 32x32, so that a few large ones do not crowd out the rest
HOLD_OUT = 0.1


def load_images(folder: Path, seed: int) -> Cifar:
    """CIFAR-10 if the folder holds it, else 32x32 tiles of any images in it: all of an image, or 16
    drawn by the seed, which also draws the tenth of the images that is held out.

    Raises CifarMissingError where there is neither.
    """
    try:
        return load_cifar(folder)
    except CifarMissingError as missing:
        try:
            files = list_images(folder)
        except FileNotFoundError:
            raise missing from None
    rng = np.random.default_rng(seed)
    tiles = []
    for path in files:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("RGB"))
        rows, columns = image.shape[0] // SIDE, image.shape[1] // SIDE
        cut = image[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, 3)
        cut = cut.swapaxes(1, 2).reshape(-1, SIDE, SIDE, 3)
        if len(cut):
            tiles.append(cut[np.sort(rng.permutation(len(cut))[:TILES])])
    if len(tiles) < 2:
        raise CifarMissingError(f"{folder}: fewer than two images of 32x32 or more; {HELP}")
    order = rng.permutation(len(tiles))
    held = max(1, round(HOLD_OUT * len(tiles)))
    return Cifar(
        np.concatenate([tiles[i] for i in order[held:]]),
        np.concatenate([tiles[i] for i in order[:held]]),
        f"32x32 tiles of {len(tiles)} images",
    )


def batch_of(
    images: np.ndarray, batch: int, seed: int, step: int, augment: bool
) -> tuple[Tensor, Tensor]:
    """The batch of one step, a pure function of (seed, step): every image once an epoch, in an order
    drawn anew; the last batch of an epoch may be smaller. With `augment`, mirrored at random.

    Returns uint8 (b, 3, 32, 32) and zeros (b,), the gain indexes of a model of one rate.
    """
    per_epoch = -(-len(images) // batch)
    epoch, i = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(len(images))
    chosen = images[order[i * batch : (i + 1) * batch]]
    if augment:
        mirror = np.random.default_rng([seed, epoch, i]).random(len(chosen)) < 0.5
        chosen = np.where(mirror[:, None, None, None], chosen[:, :, ::-1], chosen)
    x = np.ascontiguousarray(chosen.transpose(0, 3, 1, 2))
    return torch.from_numpy(x), torch.zeros(len(x))
