"""The search for a path through the trellis, for training: what codec/exact/trellis.py does with
NumPy, as Triton kernels.

Every lane is one program, whose states are one vector. No length depends on how many residuals take
part, and nothing is read back, so that a training step can be captured as a CUDA graph.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...exact.trellis import Trellis

BLOCK = 256  # residuals that one program prices


@triton.jit
def _price(
    magnitude, size, scale, table, worth, bits, centre, reach, offsets, first, half_step,
    quantiser: tl.constexpr, OFFSET_SIZES: tl.constexpr, SCALES: tl.constexpr, live,
):  # fmt: skip
    """Bits and weighted squared error of a magnitude, as Trellis._best has it; half_step and
    offsets in steps."""
    point = (2 * magnitude - quantiser * (magnitude > 0)).to(tl.float32) * half_step
    near = live & (magnitude > 0) & (magnitude <= OFFSET_SIZES)
    cell = (quantiser * SCALES + scale - first) * OFFSET_SIZES + magnitude - 1
    point -= tl.load(offsets + cell, near, 0.0)
    error = size - point
    middle = tl.load(centre + table, live, 0)
    most = tl.load(reach + table, live, 0)
    length = tl.load(bits + middle + tl.minimum(magnitude, most), live, 0.0)
    return error * error * worth + length


@triton.jit
def _costs(
    exact, index, order, taking_part, values, cost, bits, centre, reach, offsets,
    worth, half_step, first, shifted_tables, count,
    OFFSET_SIZES: tl.constexpr, SCALES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The best magnitude of each parity under each quantiser, and its cost; residuals in the order
    of the lanes."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = place < tl.load(taking_part)
    source = tl.load(order + place, live, 0)
    size = tl.abs(tl.load(exact + source, live, 0.0))
    scale = tl.load(index + source, live, 0).to(tl.int32)
    for quantiser in tl.static_range(2):
        at = size / (2 * half_step) + 0.5 * quantiser
        table = scale + quantiser * shifted_tables
        for parity in tl.static_range(2):
            half = tl.floor((at - parity) * 0.5 + 0.5).to(tl.int32)
            nearest = 2 * tl.maximum(half, 0) + parity
            closer = tl.maximum(nearest - 2, parity)
            least = _price(
                nearest, size, scale, table, worth, bits, centre, reach, offsets, first, half_step,
                quantiser, OFFSET_SIZES, SCALES, live,
            )  # fmt: skip
            other = _price(
                closer, size, scale, table, worth, bits, centre, reach, offsets, first, half_step,
                quantiser, OFFSET_SIZES, SCALES, live,
            )  # fmt: skip
            row = (2 * quantiser + parity) * count
            tl.store(values + row + place, tl.where(other < least, closer, nearest), live)
            tl.store(cost + row + place, tl.minimum(least, other), live)


@triton.jit
def _path(
    cost, taking_part, state, row, second, taken, count,
    LENGTH: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Viterbi's algorithm in one lane. state, row: int32 (2, STATES), whence each state is reached,
    and at whose cost."""
    lane = tl.program_id(0)
    part = tl.load(taking_part)
    lanes = (part + LENGTH - 1) // LENGTH
    if lane < lanes:
        here = tl.arange(0, STATES)
        from0, from1 = tl.load(state + here), tl.load(state + STATES + here)
        row0, row1 = tl.load(row + here) * count, tl.load(row + STATES + here) * count
        total = tl.where(here == 0, 0.0, float("inf"))
        marks = second + lane.to(tl.int64) * (LENGTH * STATES)
        for i in range(LENGTH):
            place = i * lanes + lane
            live = (place < part) & (here >= 0)
            a = tl.gather(total, from0, 0) + tl.load(cost + row0 + place, live, 0.0)
            b = tl.gather(total, from1, 0) + tl.load(cost + row1 + place, live, 0.0)
            tl.store(marks + i * STATES + here, (b < a).to(tl.int8))
            total = tl.minimum(a, b)
        tl.debug_barrier()  # the marks of every state are read below
        at = tl.argmin(total, 0)
        for j in range(LENGTH):
            i = LENGTH - 1 - j
            place = i * lanes + lane
            which = tl.load(marks + i * STATES + at).to(tl.int32)
            tl.store(taken + place, tl.load(row + which * STATES + at), place < part)
            at = tl.load(state + which * STATES + at)


class GpuTrellis:
    """A trellis and code lengths (Prior.costs) on a device, `one` being a step in their fixed
    point."""

    def __init__(self, trellis: Trellis, costs: tuple, one: float, device: torch.device):
        state, row = trellis.branches()
        self.first, self.length, self.states = trellis.first, trellis.length, len(trellis.next)
        self.half_step = trellis.half_step / one
        self.shifted_tables = trellis.tables - trellis.first

        def put(array: np.ndarray, kind: torch.dtype) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

        self.state, self.row = put(state, torch.int32), put(row, torch.int32)
        bits, centre, reach = costs
        self.bits = put(bits, torch.float32)
        self.centre, self.reach = put(centre, torch.int32), put(reach, torch.int32)
        self.one = one
        self.offsets = put(trellis.offsets / one, torch.float32)
        # as Steering.seen: sums, in fixed point, of how much nearer to the mean than a point
        # without offset small values lie, and counts
        self.seen = torch.zeros((2, *self.offsets.shape), dtype=torch.float64, device=device)

    def choose(self, exact: Tensor, index: Tensor, error_bits: float) -> tuple[Tensor, Tensor]:
        """Magnitudes, int32 (n,), of the cheapest path, and the quantiser that makes them, int32
        (n,), 1 being the shifted one; both 0 where a residual takes no part.

        exact: float32 (n,) in steps; index: uint8 (n,), scale indexes; error_bits: as in
        Trellis.choose.
        """
        count, device = len(exact), exact.device
        key = torch.where(index >= self.first, index, 255)
        part = (index >= self.first).sum(dtype=torch.int32)
        order = torch.argsort(key, stable=True).int()
        values = torch.empty((4, count), dtype=torch.int32, device=device)
        cost = torch.empty((4, count), dtype=torch.float32, device=device)
        _costs[(triton.cdiv(count, BLOCK),)](
            exact,
            index,
            order,
            part,
            values,
            cost,
            self.bits,
            self.centre,
            self.reach,
            self.offsets,
            error_bits,
            self.half_step,
            self.first,
            self.shifted_tables,
            count,
            OFFSET_SIZES=self.offsets.shape[2],
            SCALES=self.offsets.shape[1],
            BLOCK=BLOCK,
        )
        lanes = triton.cdiv(count, self.length)
        second = torch.empty((lanes, self.length, self.states), dtype=torch.int8, device=device)
        taken = torch.zeros(count, dtype=torch.int32, device=device)
        _path[(lanes,)](
            cost, part, self.state, self.row, second, taken, count,
            LENGTH=self.length, STATES=self.states, num_warps=2,
        )  # fmt: skip
        live = torch.arange(count, device=device) < part
        chosen = values.gather(0, taken.long()[None])[0]
        out = torch.empty((2, count), dtype=torch.int32, device=device)
        both = torch.stack([chosen, taken >> 1]) * live
        out[:, order.long()] = both.int()
        return out[0], out[1]

    def _cell(self, size: Tensor, index: Tensor, shifted: Tensor) -> Tensor:
        """Places in the flat offsets, int64 (n,), of sizes that have one; of others anywhere."""
        scales, sizes = self.offsets.shape[1:]
        cell = (shifted * scales + (index.int() - self.first).clamp(min=0)) * sizes
        return (cell + (size - 1).clamp(0, sizes - 1)).long()

    def points(self, size: Tensor, index: Tensor, shifted: Tensor) -> Tensor:
        """Magnitudes that sizes stand for, float32 (n,), in steps; of residuals that take part."""
        point = (2 * size - shifted * (size > 0)) * self.half_step
        below = self.offsets.flatten()[self._cell(size, index, shifted)]
        return point - torch.where((size > 0) & (size <= self.offsets.shape[2]), below, 0.0)

    def watch(self, exact: Tensor, index: Tensor, size: Tensor, shifted: Tensor) -> None:
        """Add to `seen` what the trellis has chosen. All (n,), as `choose` takes and gives them."""
        near = (index >= self.first) & (size > 0) & (size <= self.offsets.shape[2])
        cell = self._cell(size, index, shifted)
        below = (2 * size - shifted) * self.half_step - exact.abs()
        flat = self.seen.view(2, -1)
        flat[0].scatter_add_(0, cell, torch.where(near, below * self.one, 0.0).double())
        flat[1].scatter_add_(0, cell, near.double())

    def move_points(self, offsets: np.ndarray) -> None:
        """Take other offsets, in fixed point; in place, for CUDA graphs read them where they
        are."""
        self.offsets.copy_(torch.from_numpy(offsets / self.one))
