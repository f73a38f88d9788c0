"""Latents by the native core: what quantise.py and payload.py do, in one call each."""

from __future__ import annotations

import ctypes
import functools
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ....formats import DamagedFileError
from . import ISAS, chosen, library
from .block import HEADER, pack_program
from .team import team

if TYPE_CHECKING:
    from ..prior import Prior

OK, UNDECODABLE, IMPOSSIBLE, TOO_LONG, NO_MEMORY, BAD_PROGRAM, BAD_CALL, NO_ROOM, STOPPED = range(9)
STOP = 5  # place in the numbers of a geometry
NEAREST, ONE_WORTH, MANY_WORTHS = range(3)
MOST_LATENTS, MOST_SIDE = 1 << 30, 1 << 15  # of a call
# A call of more cells, or bytes, is watched by another thread: those below take some 60 ms.
WATCHED_CELLS, WATCHED_BYTES, WATCH_SECONDS = 1 << 12, 1 << 20, 0.05


def core_of(prior: Prior, grid: tuple[int, ...]) -> Core | None:
    """The core for latents on a grid of so many rows and columns; None where NumPy is to work: it
    was chosen, nothing was built, or the bundle or the grid is beyond what the core holds. Raises
    UnsupportedError, see `chosen`."""
    isa = chosen()
    if isa is None or max(grid) > MOST_SIDE:
        return None
    if grid[0] * grid[1] * prior.program["latents"] > MOST_LATENTS:
        return None
    block = prior.native_block
    return None if block is None else Core(block, ISAS.index(isa), prior.program)


def _watched(call: Callable[[], int], geometry: Any, check: Callable[[], None]) -> int:
    """A call, in a thread of its own while `check` is called here; it ends where that raises."""
    from concurrent.futures import ThreadPoolExecutor, TimeoutError

    with ThreadPoolExecutor(1) as pool:
        promise = pool.submit(call)
        try:
            while True:
                try:
                    return promise.result(WATCH_SECONDS)
                except TimeoutError:
                    check()
        except BaseException:
            geometry[STOP] = 1
            raise


def _pointer(a: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if a is None else a.ctypes.data)


class Core:
    """A packed prior and an instruction set."""

    def __init__(self, block: np.ndarray, isa: int, program: dict):
        self.block, self.isa, self.program = block, isa, program

    def _call(
        self, name: str, gain_index: int, grid: tuple[int, ...], *arguments: Any,
        check: Callable[[], None] | None = None,
    ) -> int:  # fmt: skip
        """A call of a function whose first arguments are block, instruction set, team and geometry.
        check: called now and then; what it raises ends the call."""
        loaded = library()
        assert loaded is not None  # a Core is made of it
        stride = self.program["hyper_stride"]
        h, w = grid
        geometry = (ctypes.c_int64 * 6)(gain_index, h, w, -(-h // stride), -(-w // stride), 0)
        with team() as helpers:
            call = functools.partial(
                getattr(loaded, name), _pointer(self.block), ctypes.c_int(self.isa), helpers,
                geometry, *arguments,
            )  # fmt: skip
            status: int = call() if check is None else _watched(call, geometry, check)
        if status == NO_MEMORY:
            raise MemoryError
        if status in (BAD_PROGRAM, BAD_CALL):
            raise ValueError(f"{name}: arguments that do not fit the model")
        return status

    def decode(
        self, gain_index: int, payload: bytes, grid: tuple[int, int], z_shape: tuple[int, int, int],
        code_all: bool, check: Callable[[], None] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        """z_hat, int32 of z_shape, and y_hat, int32 (h, w, M), of a payload. check: called now and
        then; what it raises ends decoding. Raises DamagedFileError."""
        z_hat = np.empty(z_shape, np.int32)
        y_hat = np.empty((*grid, self.program["latents"]), np.int32)
        data = np.frombuffer(payload, np.uint8)
        said = ctypes.c_int32(-1)
        long = grid[0] * grid[1] > WATCHED_CELLS or len(data) > WATCHED_BYTES
        status = self._call(
            "aei_decode", gain_index, grid, _pointer(data), ctypes.c_int64(len(data)),
            ctypes.c_int(code_all), _pointer(z_hat), _pointer(y_hat), ctypes.byref(said),
            check=check if long else None,
        )  # fmt: skip
        if status == UNDECODABLE:
            raise DamagedFileError("the image data does not decode")
        if status == IMPOSSIBLE:
            raise DamagedFileError("the image data holds an impossible value")
        if said.value != check_byte(y_hat):
            raise DamagedFileError(
                "the decoded data fails its check: the file is damaged, or this machine computes "
                "wrongly"
            )
        if status == TOO_LONG:
            raise DamagedFileError("the image data is longer than its content")
        return z_hat, y_hat

    def quantise(
        self,
        gain_index: int,
        y: np.ndarray,
        z_hat: np.ndarray,
        error_bits: float | np.ndarray | None,
        channels: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, bool]:
        """What quantise.quantise chooses: values, int32, scale indexes, uint8, and tables, int16,
        of each step, (4, n), y_hat, int32 (h, w, M), and whether all symbols are coded. y: float32;
        error_bits: as there, float32 if it is an array; channels: only beside an array."""
        y, z_hat = np.ascontiguousarray(y), np.ascontiguousarray(z_hat, np.int32)
        h, w, m = y.shape
        mode, worth, worths = NEAREST, 0.0, None
        if isinstance(error_bits, np.ndarray):
            mode, worths = MANY_WORTHS, np.ascontiguousarray(error_bits)
        elif error_bits is not None:
            mode, worth = ONE_WORTH, float(error_bits)
        shape = (4, h * w * (m // 4))
        values, index = np.empty(shape, np.int32), np.empty(shape, np.uint8)
        tables, y_hat = np.empty(shape, np.int16), np.empty((h, w, m), np.int32)
        code_all = ctypes.c_int(0)
        self._call(
            "aei_quantise", gain_index, (h, w), _pointer(y), _pointer(z_hat),
            ctypes.c_int(mode), ctypes.c_double(worth), _pointer(worths), _pointer(channels),
            _pointer(values), _pointer(index), _pointer(tables), _pointer(y_hat),
            ctypes.byref(code_all),
        )  # fmt: skip
        return values, index, tables, y_hat, bool(code_all.value)

    def write(
        self, gain_index: int, z_hat: np.ndarray, y_hat: np.ndarray, steps: list, code_all: bool
    ) -> tuple[bytes, float]:
        """The payload of quantised latents, and its ideal length in bits. steps: quantise.Step of
        each."""
        z_hat = np.ascontiguousarray(z_hat, np.int32)
        kinds = {"values": np.int32, "index": np.uint8, "tables": np.int16}
        arrays = [
            [np.ascontiguousarray(getattr(step, name), kind) for step in steps]
            for name, kind in kinds.items()
        ]
        pointers = [(ctypes.c_void_p * 4)(*(a.ctypes.data for a in of)) for of in arrays]
        size, bits = ctypes.c_int64(0), ctypes.c_double(0)
        room = 4096 + y_hat.size + z_hat.size
        while True:
            out = np.empty(room, np.uint8)
            status = self._call(
                "aei_write", gain_index, y_hat.shape[:2], _pointer(z_hat),
                ctypes.c_int(code_all), *pointers, ctypes.c_int(check_byte(y_hat)), _pointer(out),
                ctypes.c_int64(room), ctypes.byref(size), ctypes.byref(bits),
            )  # fmt: skip
            if status == OK:
                return out[: size.value].tobytes(), bits.value
            room *= 4  # absurd latents: a symbol takes at most 8 bytes


def run(
    program: list[dict],
    arrays: dict[str, np.ndarray],
    gain_index: int,
    isa: str,
    **inputs: np.ndarray,
) -> np.ndarray:
    """interpreter.run by the native core, for tests: int16 (h, w, C). arrays: as a bundle stores
    them; inputs: `z` or `view` alone, (h, w, C) of integers."""
    ((name, x),) = inputs.items()
    x = np.ascontiguousarray(x, np.int32 if name == "z" else np.int16)
    block = pack_program(program, arrays, {name: x.shape[2]})
    first = HEADER.index("hyper.first")
    layers = (ctypes.c_int64 * 2)(*block[8 * first : 8 * first + 16].view(np.int64).tolist())
    out, shape = np.empty(x.size * 64 + (1 << 16), np.int16), (ctypes.c_int64 * 3)()
    loaded = library()
    assert loaded is not None
    status = loaded.aei_run(
        _pointer(block), ctypes.c_int64(block.size), ctypes.c_int(ISAS.index(isa)),
        ctypes.c_int64(gain_index), layers, _pointer(x if name == "z" else None),
        _pointer(x if name == "view" else None), *(ctypes.c_int64(n) for n in x.shape),
        _pointer(out), ctypes.c_int64(out.size), shape,
    )  # fmt: skip
    if status:
        raise ValueError(f"aei_run: status {status}")
    h, w, c = shape
    return out[: h * w * c].reshape(h, w, c)


def check_byte(y_hat: np.ndarray) -> int:
    """What a payload says of its y_hat at its end; see payload.py."""
    return zlib.crc32(np.ascontiguousarray(y_hat, "<i4").data) & 0xFF
