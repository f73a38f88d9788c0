"""Trellis-coded quantisation: the encoder finds the cheapest path, a decoder finds the same points,
and it is worth it."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from aei.codec.exact import trellis
from aei.codec.exact.payload import decode_latents, encode_latents
from aei.codec.exact.quantise import choose_symbols
from aei.codec.exact.symbols import reconstruct
from aei.codec.training.symbols.trellis_code import (
    CHECK_PARITY,
    CHECK_SHIFTED,
    MEMORY,
    state_machine,
)
from golden_files import codec_of
from hypothesis import given, settings
from hypothesis import strategies as st

PRIOR = codec_of("trellis").bundle.prior
TRELLIS = PRIOR.trellis
ONE = 64.0


def drawn(count: int, seed: int, spread: float = 3.0):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, 30, count).astype(np.uint8)
    return rng.normal(0, spread, count), index


def with_code(*code, **changes):
    """The trellis with another code for a state machine; without one, with its own of four
    states."""
    if code:
        following, shifted = state_machine(*code)
        changes |= {"next": np.array(following), "shifted": np.array(shifted)}
    return replace(TRELLIS, **changes)


def test_four_states_of_the_code_are_those_of_vvc():
    following, shifted = state_machine(2, 0o5, 0o2)
    assert (following, shifted) == ([[0, 2], [2, 0], [1, 3], [3, 1]], [0, 0, 1, 1])


def test_the_code_that_ships_keeps_its_checks():
    """h0(D) s + h1(D) p = 0 for quantisers s and parities p along a random walk from state 0; two
    branches reach each state."""
    following, shifted = state_machine(MEMORY, CHECK_SHIFTED, CHECK_PARITY)
    assert np.bincount(np.ravel(following)).tolist() == [2] * 2**MEMORY
    parities = np.random.default_rng(0).integers(0, 2, 500)
    state, quantisers = 0, []
    for p in parities:
        quantisers.append(shifted[state])
        state = following[state][p]
    taps = [[c >> MEMORY - i & 1 for i in range(MEMORY + 1)] for c in (CHECK_SHIFTED, CHECK_PARITY)]
    sums = np.convolve(quantisers, taps[0]) + np.convolve(parities, taps[1])
    inside = sums[MEMORY : len(parities)]
    assert len(inside) > 400
    assert not (inside % 2).any()


@pytest.mark.parametrize("code", [(), (MEMORY, CHECK_SHIFTED, CHECK_PARITY)])
def test_the_path_is_the_cheapest_of_all(code):
    """Against every sequence of values from -4 to 4."""
    short = with_code(*code, length=5)
    exact, _ = drawn(5, 1, 1.5)
    index = np.array([12, 14, 16, 18, 20], np.uint8)
    bits, centre, _ = PRIOR.costs

    def price(values):
        state, total = 0, 0.0
        for v, e, k in zip(values, exact, index.tolist()):
            shifted = np.array([short.shifted[state]])
            point = short.points(np.array([v]), np.array([k]), shifted)[0] / ONE
            total += 8 * (e - point) ** 2 + bits[centre[short.tables_of(k, shifted)[0]] + v]
            state = short.next[state, v & 1]
        return total

    values, _ = short.choose(PRIOR.costs, exact, index, 8.0, ONE)
    least = min(map(price, itertools.product(range(-4, 5), repeat=5)))
    assert price(values.tolist()) == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 1000])
@pytest.mark.parametrize("error_bits", [None, 14.0])
def test_what_is_chosen_is_what_a_decoder_walks_through(count, error_bits):
    exact, index = drawn(count, count)
    values, tables = choose_symbols(PRIOR, exact, index, error_bits)
    again, same = TRELLIS.walk(index, lambda places, _, __: values[places])
    part = index >= TRELLIS.first
    np.testing.assert_array_equal(again[part], values[part])
    np.testing.assert_array_equal(same, tables)
    points = reconstruct(PRIOR, values, index, tables)
    found, of = TRELLIS.values_at(points, index)
    np.testing.assert_array_equal(found[part], values[part])
    np.testing.assert_array_equal(of, tables)
    assert np.abs(points[part] / ONE - exact[part]).max(initial=0) < 6 * TRELLIS.half_step / ONE


def test_lanes_that_are_searched_apart_take_the_same_paths(monkeypatch):
    exact, index = drawn(4000, 11)
    index += 10
    one = with_code(5, 0o45, 0o10)
    whole = one.choose(PRIOR.costs, exact, index, 8.0, ONE)
    monkeypatch.setattr(trellis, "STATES_AT_ONCE", 100)
    parts = one.choose(PRIOR.costs, exact, index, 8.0, ONE)
    np.testing.assert_array_equal(whole, parts)


def test_slices_hold_every_place_once_in_the_order_of_scales():
    _, index = drawn(1000, 3)
    slices = TRELLIS.slices(index)
    assert len(slices) <= TRELLIS.length
    assert len({len(s) for s in slices[:-1]}) == 1
    places = np.concatenate(slices)
    assert (np.diff(index[places].astype(int)) >= 0).all()
    np.testing.assert_array_equal(np.sort(places), np.flatnonzero(index >= TRELLIS.first))


def test_it_saves_a_sixth_of_a_bit_of_each_residual():
    """Of a Gaussian, at equal error, against rounding with a step that costs as much."""
    pytest.importorskip("torch", reason="training makes the tables")
    from aei.codec.training.symbols.tables import add_trellis, levels

    prior = add_trellis(codec_of("tiny").bundle.prior)
    sigma = levels()[24][0]
    exact = np.random.default_rng(5).normal(0, sigma, 40_000)
    index = np.full(len(exact), 24, np.uint8)
    values, tables = choose_symbols(prior, exact, index, 12.0)
    bits, centre, _ = prior.costs
    coded = bits[centre[tables] + values].mean()
    error = np.square(reconstruct(prior, values, index, tables) / ONE - exact).mean()
    # entropy-coded rounding at this error: h(Gaussian) - log2(step), with step^2 / 12 = error
    rounding = 0.5 * np.log2(2 * np.pi * np.e * sigma**2) - 0.5 * np.log2(12 * error)
    assert coded < rounding - 1 / 6


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -40_000.0])
def test_absurd_input_is_coded_somehow(value):
    y = np.full((4, 6, PRIOR.program["latents"]), value, np.float32)
    z = np.zeros((1, 2, PRIOR.program["hyper_latents"]), np.float32)
    payload, code_all, sent = encode_latents(PRIOR, 200, y, z)
    got = decode_latents(PRIOR, 200, payload, 96, 64, code_all)
    np.testing.assert_array_equal(got.y_hat, sent.y_hat)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.floats(0, 40), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_round_trip(h, w, row, spread, optimise, seed):
    rng = np.random.default_rng(seed)
    y = rng.laplace(0, spread, (h, w, PRIOR.program["latents"])).astype(np.float32)
    z_shape = -(-h // 4), -(-w // 4), PRIOR.program["hyper_latents"]
    z = rng.laplace(0, 2, z_shape).astype(np.float32)
    payload, code_all, sent = encode_latents(PRIOR, row, y, z, optimise)
    got = decode_latents(PRIOR, row, payload, 16 * w, 16 * h, code_all)
    np.testing.assert_array_equal(got.y_hat, sent.y_hat)
    np.testing.assert_array_equal(got.z_hat, sent.z_hat)
