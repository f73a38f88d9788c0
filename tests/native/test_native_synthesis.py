"""The integer synthesis by the native core beside NumPy's: programs made at random, in any
bands."""

import json

import numpy as np
import pytest
from aei.codec.exact import native
from hypothesis import given, settings
from hypothesis import strategies as st

program_module = pytest.importorskip("aei.codec.exact.program", reason="no integer synthesis here")
reference = pytest.importorskip("aei.codec.exact.synthesis")
from aei.codec.exact.native import block as block_module
from aei.codec.exact.native import synthesis
from aei.codec.exact.native.team import codec_threads

SETS = native.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the native core was not built")


class Maker:
    """A program of random numbers whose sums fit int32."""

    def __init__(self, seed: int, latents: int):
        self.rng = np.random.default_rng(seed)
        self.layers: list[dict] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.channels = {"y": latents}

    def add(self, op: str, source, c: int, **more) -> str:
        name = f"r{len(self.layers)}"
        self.layers.append({"op": op, "in": source, "out": name, **more})
        self.channels[name] = c
        return name

    def array(self, a: np.ndarray, dtype) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.ascontiguousarray(a.astype(dtype))
        return name

    def bias(self, c: int) -> str:
        return self.array(self.rng.integers(-(2**22), 2**22, c), np.int32)

    def conv(self, x: str, d: int) -> str:
        c = self.channels[x]
        most = min(32767, 2**16 // c - 1) if self.rng.integers(3) else 40
        weight = self.rng.integers(-most, most + 1, (d, c))
        names = {"weight": self.array(weight, np.int16), "bias": self.bias(d)}
        return self.add("conv1x1", x, d, shift=int(self.rng.integers(6, 17)), **names)

    def depthwise(self, x: str) -> str:
        c = self.channels[x]
        weight = self.rng.integers(-7200, 7200, (c, 3, 3))
        names = {"weight": self.array(weight, np.int16), "bias": self.bias(c)}
        return self.add("depthwise3x3", x, c, shift=int(self.rng.integers(11, 17)), **names)

    def gain(self, op: str, x: str, shape: tuple[int, ...], most: int, least: int) -> str:
        c = self.channels[x]
        multiplier = self.array(self.rng.integers(least, 32768, (256, c)), np.int16)
        shift = self.array(self.rng.integers(most - 20, most + 1, shape), np.uint8)
        return self.add(op, x, c, multiplier=multiplier, shift=shift)

    def block(self, x: str) -> str:
        c = self.channels[x]
        a = self.conv(self.depthwise(x), 2 * c)
        a = self.add("leaky", a, 2 * c, slope=int(self.rng.integers(1, 16385)))
        return self.add("add", [x, self.conv(a, c)], c)

    def shuffled(self, x: str, size: int, plain: bool) -> str:
        """A shuffle, with something before it that keeps channels where they are, or not."""
        c = self.channels[x]
        if plain:
            x = self.add("leaky", x, c, slope=3000)
        return self.add("shuffle", x, c // size**2, size=size)

    def pixels(self, x: str, rate: int) -> str:
        return self.shuffled(self.conv(x, 3 * rate**2), rate, bool(self.rng.integers(2)))


def make_program(seed: int):
    """y -> blocks -> shuffle by 2 -> blocks -> pixels by 2 + linear path by 4, and an end at half
    the resolution."""
    rng = np.random.default_rng(seed)
    m, c = int(rng.integers(1, 70)), int(rng.integers(1, 40))
    make = Maker(seed, m)
    y = make.gain("dequantise", "y", (256, m), int(rng.choice([22, 46])), 0)
    f = make.gain("row", make.conv(y, c), (256,), 30, -32767)
    for _ in range(rng.integers(0, 3)):
        f = make.block(f)
    f = make.gain("row", make.shuffled(make.conv(f, 4 * c), 2, False), (256,), 22, -32767)
    f = make.block(f)
    x = make.add("add", [make.pixels(y, 4), make.pixels(f, 2)], 3)
    f = make.add("unshuffle", x, 12, size=2)
    if rng.integers(2):
        f = make.add("leaky", f, 12, slope=9000)
    f = make.block(make.conv(f, c))
    if rng.integers(2):
        f = make.depthwise(f)
        f = make.add("leaky", f, c, slope=3277)
    f = make.gain("row", make.conv(f, 12), (256,), 22, -32767)
    make.add("add", [x, make.shuffled(f, 2, False)], 3)
    description = {
        "latents": m, "stride": 4, "mean_bits": 6, "synthesis": make.layers, "linear": make.layers,
    }  # fmt: skip
    json.dumps(description)  # is what a file may hold
    return program_module.read_synthesis(description, make.arrays, description).synthesis, m


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 30), st.integers(0, 255),
    st.sampled_from([3, 200, 40_000, 2**24]), st.integers(1, 40),
)  # fmt: skip
def test_random_programs(seed, h, w, gain_index, spread, step):
    program, m = make_program(seed)
    y = np.random.default_rng(seed).integers(-spread, spread, (h, w, m)).astype(np.int32)
    by_numpy = getattr(reference, "run_numpy", reference.run)
    want = np.concatenate(list(by_numpy(program, [y], h, gain_index)))
    block = synthesis.pack(program)
    assert block is not None
    for isa in SETS:
        bands = [y[i : i + step] for i in range(0, h, step)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AEI_CORE", "native")
            patch.setenv("AEI_CORE_ISA", isa)
            for threads in (1, 3):
                with codec_threads(threads):
                    got = list(synthesis.run(block, program.rate, bands, h, gain_index))
                np.testing.assert_array_equal(np.concatenate(got), want)


@pytest.mark.parametrize("helpers", [0, 1])
def test_threads_that_cannot_be_had_are_not_waited_for(helpers, monkeypatch):
    import _thread

    program, m = make_program(11)
    y = np.random.default_rng(11).integers(-200, 200, (30, 50, m)).astype(np.int32)
    by_numpy = getattr(reference, "run_numpy", reference.run)
    want = np.concatenate(list(by_numpy(program, [y], 30, 9)))
    start, started = _thread.start_new_thread, []

    def refuse_after(*call):
        if len(started) == helpers:
            raise RuntimeError("can't start new thread")
        started.append(start(*call))

    monkeypatch.setattr(_thread, "start_new_thread", refuse_after)
    with codec_threads(5):
        got = list(synthesis.run(synthesis.pack(program), program.rate, [y], 30, 9))
    np.testing.assert_array_equal(np.concatenate(got), want)
    assert len(started) == helpers


def test_a_picture_left_half_way_is_closed():
    program, m = make_program(5)
    block = synthesis.pack(program)
    y = np.zeros((400, 80, m), np.int32)
    for threads in (1, 2):
        with codec_threads(threads):
            made = synthesis.run(block, program.rate, [y[:200], y[200:]], 400, 0)
            next(made)
            made.close()


def test_blocks_that_do_not_hold_are_refused():
    import ctypes

    program, _ = make_program(2)
    block = synthesis.pack(program)
    for field in range(8 * len(synthesis.HEADER) // 8):
        for value in (-1, 1 << 40):
            memory = block_module.aligned(block.size)
            memory[:] = block
            memory[: 8 * len(synthesis.HEADER)].view(np.int64)[field] = value
            status = native.library().aei_check_synthesis(
                ctypes.c_void_p(memory.ctypes.data), ctypes.c_int64(memory.size)
            )
            assert status != synthesis.OK, synthesis.HEADER[field]
