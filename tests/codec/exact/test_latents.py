"""Latents to payload and back, at sane and absurd values."""

import numpy as np
import pytest
from aei.codec.exact.payload import decode_latents, encode_latents
from aei.codec.exact.steps import grid_of
from aei.codec.exact.symbols import exp_golomb, reconstruct
from aei.formats import DamagedFileError
from golden_files import codec_of


def make_latents(prior, width, height, scale, seed=0):
    rng = np.random.default_rng(seed)
    h, w, hz, wz = grid_of(prior.program, width, height)
    y = rng.normal(0, scale, (h, w, prior.program["latents"])).astype(np.float32)
    z = rng.normal(0, scale, (hz, wz, prior.program["hyper_latents"])).astype(np.float32)
    return y, z


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 1), (33, 50), (130, 70)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 3000.0, 1e6])
def test_round_trip(codec, size, scale):
    prior = codec.bundle.prior
    row = 100
    payload, code_all, sent = encode_latents(prior, row, *make_latents(prior, *size, scale))
    got = decode_latents(prior, row, payload, *size, code_all)
    np.testing.assert_array_equal(got.z_hat, sent.z_hat)
    np.testing.assert_array_equal(got.y_hat, sent.y_hat)
    assert code_all == (scale > 0)  # noise where the prior is sure of zero cannot be skipped


def test_payload_is_close_to_the_code_length(codec):
    prior = codec.bundle.prior
    payload, _, sent = encode_latents(prior, 100, *make_latents(prior, 200, 200, 2.0))
    assert sent.bits <= 8 * len(payload) < 1.003 * sent.bits + 16


def test_plain_coder_makes_the_same_payload(codec, monkeypatch):
    prior = codec.bundle.prior
    latents = make_latents(prior, 50, 60, 40.0)
    monkeypatch.setenv("AEI_CORE", "numpy")
    fast = encode_latents(prior, 30, *latents)
    monkeypatch.setenv("AEI_CODER", "plain")
    plain = encode_latents(prior, 30, *latents)
    assert fast[0] == plain[0]
    assert fast[2].bits == plain[2].bits
    again = decode_latents(prior, 30, plain[0], 50, 60, plain[1])
    np.testing.assert_array_equal(again.y_hat, fast[2].y_hat)


def test_rounding_is_optimised_towards_fewer_bits():
    prior = codec_of("tiny").bundle.prior
    y, z = make_latents(prior, 128, 128, 1.0)
    optimised = encode_latents(prior, 100, y, z)[2]
    plain = encode_latents(prior, 100, y, z, optimise=False)[2]
    assert optimised.bits < plain.bits
    # where rounding to nearest is off by at most 1/2, the optimised choice is off by at most 1
    assert np.abs(plain.y_hat / 64 - y).max() <= 0.5 + 1e-3
    assert 0.5 < np.abs(optimised.y_hat / 64 - y).max() <= 1 + 1e-3


def test_small_symbols_stand_for_their_offset_values():
    prior = codec_of("offset").bundle.prior
    values = np.array([0, 1, -1, 2, -2, 3, -300], np.int32)
    index = np.full(7, 20, np.uint8)
    one, two = prior.arrays["offsets"][20].tolist()
    assert (one, two) == (13, -6)
    expected = [0, 64 - 13, -64 + 13, 128 + 6, -128 - 6, 192, -300 * 64]
    np.testing.assert_array_equal(reconstruct(prior, values, index), expected)
    plain = codec_of("tiny").bundle.prior
    np.testing.assert_array_equal(reconstruct(plain, values, index), values * 64)


@pytest.mark.parametrize("scale", [0.0, 0.7, 30.0])
def test_round_trip_with_offsets(scale):
    prior = codec_of("offset").bundle.prior
    payload, code_all, sent = encode_latents(prior, 128, *make_latents(prior, 70, 50, scale))
    got = decode_latents(prior, 128, payload, 70, 50, code_all)
    np.testing.assert_array_equal(got.y_hat, sent.y_hat)


def test_a_bundle_says_what_an_error_is_worth_to_its_encoder():
    assert codec_of("tiny").bundle.prior.rounding_bits == 24
    assert codec_of("offset").bundle.prior.rounding_bits == 14


def test_not_finite_latents_are_coded_as_something(codec):
    prior = codec.bundle.prior
    y, z = make_latents(prior, 32, 32, 1.0)
    y[0, 0, :3] = z[0, 0, :3] = np.nan, np.inf, -np.inf
    payload, code_all, sent = encode_latents(prior, 10, y, z)
    got = decode_latents(prior, 10, payload, 32, 32, code_all)
    np.testing.assert_array_equal(got.y_hat, sent.y_hat)


def test_damage_behind_a_right_checksum_is_found(codec):
    """The payload alone: wrong gain index, flipped bits, missing and left-over bytes."""
    prior = codec.bundle.prior
    payload, code_all, _ = encode_latents(prior, 100, *make_latents(prior, 60, 60, 1.5))
    bad = [payload + b"\0", payload + b"\x01", payload + bytes(100), payload[:-1], b""]
    rng = np.random.default_rng(0)
    for _ in range(60):
        flipped = bytearray(payload)
        flipped[rng.integers(len(payload))] ^= 1 << rng.integers(8)
        bad.append(bytes(flipped))
    accepted = 0
    for data in bad:
        try:
            decode_latents(prior, 100, data, 60, 60, code_all)
            accepted += 1
        except DamagedFileError:
            pass
    assert accepted <= 3  # the check has 8 bits: one random payload in 256 gets past it


def test_exp_golomb():
    assert exp_golomb(0) == [1]
    assert exp_golomb(1) == [0, 1, 0]
    assert exp_golomb(6) == [0, 0, 1, 1, 1]
