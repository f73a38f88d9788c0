"""The integer synthesis: layers against Python integers, parts against the whole, bundles that are
refused."""

import copy
import json

import numpy as np
import plain_decoder
import pytest
from aei.codec import ModelError
from aei.codec.exact import synthesis
from aei.codec.exact.program import bounds, read_synthesis
from hypothesis import given, settings
from hypothesis import strategies as st

LATENTS, STRIDE = 5, 4
PRIOR = {"latents": LATENTS, "stride": STRIDE, "mean_bits": 6}


def small_program(seed: int = 0) -> tuple[dict, dict[str, np.ndarray]]:
    """A program with every kind of layer, whose numbers are random and large enough to saturate now
    and then."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}

    def conv(name: str, c: int, d: int, shift: int) -> dict:
        arrays[f"{name}.w"] = rng.integers(-3000, 3000, (d, c)).astype(np.int16)
        arrays[f"{name}.b"] = rng.integers(-99999, 99999, d).astype(np.int32)
        return {"op": "conv1x1", "weight": f"{name}.w", "bias": f"{name}.b", "shift": shift}

    def depthwise(name: str, c: int) -> dict:
        arrays[f"{name}.w"] = rng.integers(-6000, 6000, (c, 3, 3)).astype(np.int16)
        arrays[f"{name}.b"] = rng.integers(-99999, 99999, c).astype(np.int32)
        return {"op": "depthwise3x3", "weight": f"{name}.w", "bias": f"{name}.b", "shift": 13}

    def gain(op: str, name: str, c: int, shape: tuple[int, ...], low: int) -> dict:
        arrays[f"{name}.m"] = rng.integers(1 << 14, 32767, (256, c)).astype(np.int16)
        arrays[f"{name}.s"] = rng.integers(low, low + 4, shape).astype(np.uint8)
        return {"op": op, "multiplier": f"{name}.m", "shift": f"{name}.s"}

    def end(x: str) -> list[dict]:
        return [
            {"in": x, "out": "half"} | {"op": "unshuffle", "size": 2},
            {"in": "half", "out": "f1"} | conv("f1", 12, 6, 12),
            {"in": "f1", "out": "f2"} | gain("row", "f2", 6, (256,), 12),
            {"in": "f2", "out": "f3"} | depthwise("f3", 6),
            {"in": "f3", "out": "f4"} | conv("f4", 6, 12, 13),
            {"in": "f4", "out": "f5", "op": "shuffle", "size": 2},
            {"in": [x, "f5"], "out": "done", "op": "add"},
        ]

    start = {"in": "y", "out": "d"} | gain("dequantise", "y", LATENTS, (256, LATENTS), 14)
    linear = {"in": "d", "out": "k"} | conv("k", LATENTS, 3 * STRIDE**2, 13)
    spread = {"in": "k", "out": "p", "op": "shuffle", "size": STRIDE}
    blocks = [
        {"in": "d", "out": "a"} | conv("a", LATENTS, 8, 12),
        {"in": "a", "out": "b"} | depthwise("b", 8),
        {"in": "b", "out": "c"} | conv("c", 8, 16, 12),
        {"in": "c", "out": "e", "op": "leaky", "slope": 3277},
        {"in": "e", "out": "f"} | conv("f", 16, 8, 13),
        {"in": ["a", "f"], "out": "g", "op": "add"},
        {"in": "g", "out": "h", "op": "shuffle", "size": 2},
        {"in": "h", "out": "i"} | depthwise("i", 2),
        {"in": "i", "out": "j"} | conv("j", 2, 12, 12),
        {"in": "j", "out": "l", "op": "shuffle", "size": 2},
        {"in": ["p", "l"], "out": "x", "op": "add"},
    ]
    small = [start, {"in": "d", "out": "q"} | conv("q", LATENTS, 3, 13)]
    whole = [start, linear, spread, *blocks, *end("x")]
    description = PRIOR | {
        "synthesis": whole, "linear": [start, linear, spread], "previews": {"4": small},
    }  # fmt: skip
    return json.loads(json.dumps(description)), arrays


def latents(h: int, w: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((h, w, LATENTS)) * 4000).astype(np.int32)


def whole(program, y: np.ndarray, gain_index: int) -> np.ndarray:
    return np.concatenate(list(synthesis.run(program, [y], len(y), gain_index)))


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 255), st.integers(0, 99))
def test_a_second_interpreter_written_from_the_page_gives_the_same(h, w, gain_index, seed):
    description, arrays = small_program(seed)
    y = latents(h, w, seed)
    found = read_synthesis(description, arrays, PRIOR)

    class Plain(plain_decoder.Synthesis):
        def __init__(self):
            self.arrays = {name: a.tolist() for name, a in arrays.items()}
            self.gain_index = gain_index

    for layers, program in (
        (description["synthesis"], found.synthesis),
        (description["linear"], found.linear),
        (description["previews"]["4"], found.previews[4]),
    ):
        expected = Plain().run(layers, {"y": y.tolist()})
        assert whole(program, y, gain_index).tolist() == expected


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 14), st.integers(1, 14), st.integers(0, 255))
def test_any_bands_and_windows_give_what_the_whole_gives(data, h, w, gain_index):
    program = read_synthesis(*small_program(), PRIOR).synthesis
    y = latents(h, w, gain_index)
    expected = whole(program, y, gain_index)

    cuts = sorted(data.draw(st.sets(st.integers(1, h))) | {h})
    bands = [y[a:b] for a, b in zip([0, *cuts], cuts)]
    parts = list(synthesis.run(program, iter(bands), h, gain_index))
    assert np.array_equal(np.concatenate(parts), expected)

    spans = []
    for cells in (h, w):
        first = data.draw(st.integers(0, STRIDE * cells - 1))
        last = data.draw(st.integers(first + 1, STRIDE * cells))
        spans.append((first, last, *synthesis.needed(program, first, last, cells)))
    (top, bottom, a, b), (left, right, c, d) = spans
    part = whole(program, np.ascontiguousarray(y[a:b, c:d]), gain_index)
    part = part[top - STRIDE * a : bottom - STRIDE * a, left - STRIDE * c : right - STRIDE * c]
    assert np.array_equal(part, expected[top:bottom, left:right])


def test_needed_is_no_more_than_needed():
    """A cell further away changes a pixel, unless by chance."""
    program = read_synthesis(*small_program(), PRIOR).synthesis
    y = latents(12, 3, 1)
    first, last = synthesis.needed(program, 24, 28, 12)
    assert first > 0
    assert last < 12
    before = whole(program, y, 9)[24:28]
    for place, changes in ((first - 1, False), (first, True), (last - 1, True), (last, False)):
        other = y.copy()
        other[place] += 30000
        assert np.array_equal(whole(program, other, 9)[24:28], before) != changes


@given(st.integers(-32768, 32767), st.integers(1, 16384))
def test_leaky_is_the_larger_of_two(value, slope):
    from aei.codec.exact.program import Layer

    layer = Layer("leaky", ("a",), "b", number=slope)
    x = np.full((1, 1, 1), value, np.int16)
    assert synthesis.leaky(layer, x).item() == max(value, (value * slope + 16384) >> 15)


def test_values_saturate():
    description, arrays = small_program()
    arrays["k.w"][:], arrays["k.b"][:] = 13000, 0
    program = read_synthesis(description, arrays, PRIOR).linear
    y = np.full((2, 2, LATENTS), 1 << 30, np.int32)
    assert (whole(program, y, 0) == 32767).all()
    assert (whole(program, -y, 0) == -32768).all()


@pytest.mark.parametrize("grey", [False, True])
def test_levels_are_nearest(grey):
    x = np.random.default_rng(0).integers(-9000, 9000, (40, 30, 3)).astype(np.int16)
    level = (x.mean(2) if grey else x) / 64 + 127.5
    expected = np.clip(np.floor(level + 0.5), 0, 255)
    assert np.array_equal(synthesis.to_levels(x, grey), expected)


def test_bounds_are_reached_and_no_more():
    rng = np.random.default_rng(4)
    weight = rng.integers(-99, 99, (3, 7)).astype(np.int16)
    bias = rng.integers(-99, 99, 3).astype(np.int32)
    low, high = bounds(weight, bias, 4, -3, 5)
    most = [max(sum(w * (5 if w > 0 else -3) for w in r) + b + 8 for r, b in
                zip(weight.tolist(), bias.tolist()))]  # fmt: skip
    least = [min(sum(w * (-3 if w > 0 else 5) for w in r) + b for r, b in
                 zip(weight.tolist(), bias.tolist()))]  # fmt: skip
    assert [low, high] == [*least, *most]


def changed(path: list, value: object) -> dict:
    description = copy.deepcopy(small_program()[0])
    place = description
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return description


REFUSED = [
    (["latents"], 6),
    (["stride"], 16),
    (["mean_bits"], None),
    (["synthesis"], []),
    (["synthesis"], None),
    (["linear"], {}),
    (["linear"], [7]),
    (["previews"], {"3": []}),
    (["previews"], []),
    (["synthesis"], [{}] * 1001),
    (["synthesis", 0, "op"], "conv1x1"),
    (["synthesis", 0, "op"], "__class__"),
    (["synthesis", 0, "op"], ["row"]),
    (["synthesis", 0, "in"], "d"),
    (["synthesis", 1, "in"], "nowhere"),
    (["synthesis", 1, "in"], ["d", "d"]),
    (["synthesis", 1, "in"], {}),
    (["synthesis", 1, "in"], "y"),
    (["synthesis", 1, "out"], "d"),
    (["synthesis", 1, "out"], 3),
    (["synthesis", 1, "shift"], 0),
    (["synthesis", 1, "shift"], 31),
    (["synthesis", 1, "shift"], True),
    (["synthesis", 1, "shift"], 1.5),
    (["synthesis", 1, "weight"], "k.b"),
    (["synthesis", 1, "weight"], ["k.w"]),
    (["synthesis", 1, "bias"], ["k.b"]),
    (["synthesis", 1, "bias"], "nothing"),
    (["synthesis", 2, "size"], 17),
    (["synthesis", 2, "size"], 3),
    (["synthesis", 6, "slope"], 0),
    (["synthesis", 6, "slope"], 16385),
    (["synthesis", 0, "multiplier"], "y.s"),
    (["synthesis", -1, "in"], ["x", "p"]),
    (["synthesis", -1, "in"], ["x", "h"]),
    (["synthesis", -1, "in"], "x"),
    (["synthesis", 1], KeyError),
]


@pytest.mark.parametrize(("path", "value"), REFUSED)
def test_programs_that_do_not_hold_are_refused(path, value):
    with pytest.raises(ModelError):
        read_synthesis(changed(path, value), small_program()[1], PRIOR)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("k.w", lambda a: a.__setitem__((0, 0), -32768)),
        ("k.w", lambda a: a.__setitem__(0, 16000)),
        ("k.b", lambda a: a.__setitem__(0, 2**31 - 1)),
        ("k.b", lambda a: a.__setitem__(0, -(2**31))),
        ("b.w", lambda a: a.__setitem__(0, 9000)),
        ("y.s", lambda a: a.__setitem__((3, 1), 0)),
        ("y.s", lambda a: a.__setitem__((3, 1), 47)),
        ("y.m", lambda a: a.__setitem__((3, 1), -1)),
        ("f2.s", lambda a: a.__setitem__(3, 31)),
    ],
)
def test_numbers_that_do_not_hold_are_refused(name, change):
    description, arrays = small_program()
    change(arrays[name])
    with pytest.raises(ModelError):
        read_synthesis(description, arrays, PRIOR)


def test_arrays_of_another_type_or_shape_are_refused():
    description, arrays = small_program()
    for name, kind in (("k.w", np.int32), ("k.b", np.int64), ("y.s", np.int8), ("k.w", np.float32)):
        with pytest.raises(ModelError):
            read_synthesis(description, arrays | {name: arrays[name].astype(kind)}, PRIOR)
    for name in ("k.w", "b.w", "y.m", "f2.s"):
        with pytest.raises(ModelError):
            read_synthesis(description, arrays | {name: arrays[name][1:]}, PRIOR)
        with pytest.raises(ModelError):
            read_synthesis(description, {k: a for k, a in arrays.items() if k != name}, PRIOR)
