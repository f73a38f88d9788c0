"""How z_hat is coded: what a place knows comes before it, a decoder finds what was coded, floats
and integers agree."""

import numpy as np
import pytest
from aei.codec.exact.hyper_latents import (
    ABOVE_AND_LEFT,
    MOST,
    bits_of_z,
    coded,
    decode,
    steps,
    symbols_of,
)
from aei.codec.exact.payload import decode_latents, encode_latents
from golden_files import codec_of
from hypothesis import given, settings
from hypothesis import strategies as st

PRIOR = codec_of("context").bundle.prior
Z = PRIOR.program["hyper_latents"]
SHAPES = [(1, 1), (1, 7), (6, 1), (2, 2), (5, 8)]


def drawn(h: int, w: int, seed: int = 0, spread: float = 3.0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).laplace(0, spread, (h, w, Z))).astype(np.int32)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_place_knows_was_there_before(shape):
    seen = set()
    for rows, columns in steps(PRIOR, *shape):
        here = set(zip(rows.tolist(), columns.tolist()))
        for y, x in here:
            near = {(y + i, x + j) for i, j in ABOVE_AND_LEFT}
            inside = {(i, j) for i, j in near if 0 <= i < shape[0] and 0 <= j < shape[1]}
            assert inside <= seen
        assert not here & seen
        seen |= here
    assert len(seen) == shape[0] * shape[1]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["context", "tiny", "factorized"]), st.integers(1, 6), st.integers(1, 6),
    st.integers(0, 255), st.floats(0, 50), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_a_decoder_finds_what_was_coded(kind, h, w, row, spread, seed):
    prior = codec_of(kind).bundle.prior
    shape = h, w, prior.program["hyper_latents"]
    z_hat = np.random.default_rng(seed).laplace(0, spread, shape).astype(np.int32)
    parts = iter(coded(prior, row, z_hat))

    def read(tables):
        values, expected = next(parts)
        np.testing.assert_array_equal(tables, expected)
        return values

    np.testing.assert_array_equal(decode(prior, row, shape, read), z_hat)
    assert next(parts, None) is None


def test_expectations_follow_the_neighbours():
    z_hat = drawn(4, 5)
    symbols, tables = symbols_of(PRIOR, 100, z_hat)
    z_hat[1, 2] += 9
    after, moved = symbols_of(PRIOR, 100, z_hat)
    changed = ((symbols != after) | (tables != moved)).any(2)
    knowing = {(1 - i, 2 - j) for i, j in ABOVE_AND_LEFT} | {(1, 2)}
    assert set(zip(*(a.tolist() for a in np.nonzero(changed)))) == knowing


@pytest.mark.parametrize("size", [1, MOST, 40_000])
def test_the_largest_values_are_coded(size):
    rng = np.random.default_rng(1)
    z = (size * rng.choice([-1.0, 1.0], (3, 3, Z))).astype(np.float32)
    y = rng.normal(0, 1, (12, 12, PRIOR.program["latents"])).astype(np.float32)
    payload, code_all, sent = encode_latents(PRIOR, 255, y, z)
    assert np.abs(sent.z_hat).max() == min(size, MOST)
    got = decode_latents(PRIOR, 255, payload, 192, 192, code_all)
    np.testing.assert_array_equal(got.z_hat, sent.z_hat)


def test_integers_expect_what_the_network_does():
    """Bits of z_hat under Gaussian tables, by the float network and by the exported program."""
    torch = pytest.importorskip("torch", reason="the network is a torch module")
    from aei.codec.exact.prior import Prior
    from aei.codec.training.export import integer_prior as quantise
    from aei.codec.training.networks import latent_codec as networks
    from tiny_network import TINY

    torch.manual_seed(3)
    model = networks.LatentCodec(TINY, 0.05 * torch.randn(16, 768), torch.ones(16))
    with torch.no_grad():
        model.hyper_context.head.weight.normal_(0, 0.2)
        model.hyper_context.head.bias.normal_(0, 0.2)
        model.z_scale.anchors += 1
    images = [np.random.default_rng(i).integers(0, 256, (128, 192, 3), np.uint8) for i in range(3)]
    exported = quantise.quantise_prior(model, images)
    prior = Prior(exported.program, exported.arrays, b"")
    z_hat = np.random.default_rng(0).normal(0, 2, (5, 7, TINY.hyper_latents)).round()
    ours = bits_of_z(prior, 100, z_hat.astype(np.int32)).sum()
    z = torch.from_numpy(z_hat.transpose(2, 0, 1)[None]).float()
    with torch.no_grad():
        theirs = float(model.hyper_bits(z, z, torch.tensor([100.0]), noisy=False))
    assert ours == pytest.approx(theirs, rel=0.01)
