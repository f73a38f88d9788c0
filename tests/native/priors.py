"""Integer priors made of random numbers, tiny and whole: every kind of layer, with a trellis and a
context or without."""

from __future__ import annotations

import numpy as np
from aei.codec.exact.prior import Prior

SCALES = 12
Conv = tuple[str, int, int]


def frequencies(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Tables of 2^24 each, from nearly certain to nearly flat: int32 frequencies, one after the
    other, and sizes."""
    sizes = rng.integers(2, 12, count).astype(np.int32) * 2
    sizes[0] = 2
    out = []
    for size in sizes.tolist():
        weight = rng.random(size) ** rng.integers(1, 30)
        f = 1 + np.floor(weight / weight.sum() * ((1 << 24) - size)).astype(np.int64)
        f[rng.integers(size)] += (1 << 24) - f.sum()
        out.append(f)
    return np.concatenate(out).astype(np.int32), sizes


class Maker:
    """Collects the arrays that layers name."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.arrays: dict[str, np.ndarray] = {}

    def weight(self, name: str, shape: tuple[int, ...], loud: bool) -> dict:
        """Weights and biases; loud ones take sums past the range of int32."""
        most = 32768 if loud else 500
        self.arrays[f"{name}.weight"] = self.rng.integers(-most, most, shape).astype(np.int16)
        self.arrays[f"{name}.bias"] = self.rng.integers(-(2**26), 2**26, shape[0])
        return {"weight": f"{name}.weight", "bias": f"{name}.bias"}

    def conv(self, name: str, x: str, out: str, cin: int, cout: int) -> dict:
        loud = bool(self.rng.integers(2))
        shift = int(self.rng.integers(12, 18)) if loud else int(self.rng.integers(6, 12))
        names = self.weight(name, (cout, cin), loud)
        return {"op": "conv1x1", "in": x, "out": out, "shift": shift, **names}

    def depthwise(self, name: str, x: str, out: str, c: int) -> dict:
        loud = bool(self.rng.integers(2))
        names = self.weight(name, (c, 3, 3), loud)
        return {"op": "depthwise3x3", "in": x, "out": out, "shift": 15 if loud else 9, **names}

    def rows(self, name: str, c: int, least: int, most: int) -> str:
        self.arrays[f"rows.{name}"] = self.rng.integers(least, most, (256, c)).astype(np.int32)
        return f"rows.{name}"


def make_prior(seed: int, trellis: bool, context: bool, loud: float = 1.0) -> Prior:
    """A prior of random size and numbers."""
    make = Maker(seed)
    rng = make.rng
    m, z, c = 4 * int(rng.integers(1, 12)), int(rng.integers(1, 7)), int(rng.integers(1, 40))
    hyper_row = {
        "op": "row", "in": "z", "out": "a", "shift": 10,
        "multiplier": make.rows("z_multiplier", z, -(2**20), 2**20),
    }  # fmt: skip
    if rng.integers(2):
        hyper_row["bias"] = make.rows("z_bias", z, -(2**18), 2**18)
    hyper = [
        hyper_row,
        make.conv("stem", "a", "a", z, 4 * c),
        {"op": "shuffle", "in": "a", "out": "a"},
        make.depthwise("dw", "a", "b", c),
        {"op": "leaky", "in": "b", "out": "a"},
        make.conv("up", "a", "a", c, 4 * c),
        {"op": "shuffle", "in": "a", "out": "b"},
    ]
    steps = []
    for k in range(4):
        features = [{"op": "leaky", "in": "h", "out": "f"}]
        if k:
            features = [
                make.conv(f"{k}.view", "view", "f", m, c),
                {"op": "add", "in": ["h", "f"], "out": "f"},
                {"op": "leaky", "in": "f", "out": "f"},
            ]
        features += [
            make.conv(f"{k}.pw1", "f", "a", c, c),
            {"op": "leaky", "in": "a", "out": "a"},
            make.depthwise(f"{k}.dw", "a", "a", c),
            make.conv(f"{k}.pw2", "a", "a", c, c),
            {"op": "add", "in": ["f", "a"], "out": "f"},
        ]
        head = make.weight(f"{k}.head", (2 * m, c), bool(rng.integers(2)))
        steps.append({"features": features, "mean_shift": 14, "scale_shift": 20, **head})
    program = {
        "latents": m, "hyper_latents": z, "mean_bits": 6, "skip_below": int(rng.integers(0, 3)),
        "scales": SCALES, "stride": 16, "hyper_stride": 4, "mean_shift": 14, "view_shift": 14,
        "order": [[0, 2, 3, 1], [1, 3, 2, 0], [2, 0, 1, 3], [3, 1, 0, 2]],
        "hyper": hyper, "steps": steps,
        "mean_multiplier": make.rows("mean_multiplier", m, 0, 2**9),
        "view_multiplier": make.rows("view_multiplier", m, 0, 2**22),
        "scale_bias": make.rows("scale_bias", m, -(2**24), 2**24),
    }  # fmt: skip
    count = SCALES
    if rng.integers(2):
        program["offsets"] = "offsets"
        make.arrays["offsets"] = rng.integers(-20, 20, (SCALES, 2)).astype(np.int16)
    if trellis:
        first = int(rng.integers(max(1, program["skip_below"]), SCALES))
        program["trellis"] = make_trellis(make, first, count)
        count += SCALES - first
    if context:
        program["hyper_context"] = make_context(make, z, c, count)
        count += 8 * 5
    make.arrays["tables.frequencies"], make.arrays["tables.sizes"] = frequencies(rng, count)
    make.arrays["rows.z_table"] = rng.integers(0, count, (256, z)).astype(np.uint8)
    return Prior(program, make.arrays, b"\0\0\0\0", float(rng.uniform(2, 20)))


def make_trellis(make: Maker, first: int, tables: int) -> dict:
    """A state machine that reaches each state by two branches."""
    states = int(make.rng.choice([2, 4, 8, 24]))
    targets = make.rng.permutation(np.repeat(np.arange(states), 2)).reshape(states, 2)
    make.arrays["trellis.offsets"] = make.rng.integers(-9, 9, (2, SCALES - first, 2)).astype("i2")
    return {
        "first": first, "length": int(make.rng.integers(1, 40)), "next": targets.tolist(),
        "shifted": make.rng.integers(0, 2, states).tolist(), "half_step": 47, "tables": tables,
        "offsets": "trellis.offsets",
    }  # fmt: skip


def make_context(make: Maker, z: int, c: int, tables: int) -> dict:
    row = {
        "op": "row", "in": "z", "out": "a", "shift": 9,
        "multiplier": make.rows("context_multiplier", z, -(2**18), 2**18),
    }  # fmt: skip
    features = [make.conv("cv", "view", "f", 4 * z, c), {"op": "leaky", "in": "f", "out": "f"}]
    return {
        "input": [row], "features": features, "levels": 5, "phase_bits": 3, "tables": tables,
        "mean_shift": 22, "scale_shift": 22, "scale_bias": make.rows("zs", z, -(2**24), 2**24),
        **make.weight("context.head", (2 * z, c), True),
    }  # fmt: skip
