"""Training with the encoder's own rounding, and the tables that are counted from it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from dataclasses import replace

from aei.codec.exact.payload import encode_latents
from aei.codec.exact.quantise import optimise_rounding, quantise, to_symbols
from aei.codec.training.config import TrainConfig, check
from aei.codec.training.networks import latent_codec as networks
from aei.codec.training.symbols import scales
from aei.codec.training.symbols.tables import fit_tables, gaussian_tables, levels
from golden_files import codec_of
from tiny_network import TINY


def tiny(rounding: float | None = 14.0) -> networks.LatentCodec:
    torch.manual_seed(0)
    model = networks.LatentCodec(TINY, 0.03 * torch.randn(16, 768), torch.ones(16))
    model.rounding = rounding
    return model


@pytest.mark.parametrize("bits", [6.0, 14.0, 30.0])
def test_training_and_the_encoder_choose_the_same_symbols(bits):
    """torch on Gaussian masses against NumPy on the integer tables, with the offsets of the tiny
    model."""
    prior = codec_of("offset").bundle.prior
    frequencies, sizes = gaussian_tables()
    arrays = prior.arrays | {"tables.frequencies": frequencies, "tables.sizes": sizes}
    prior = replace(prior, arrays=arrays)
    model = tiny(bits)
    with torch.no_grad():
        model.offsets[0], model.offsets[1] = 13 / 64, -6 / 64
    rng = np.random.default_rng(1)
    index = rng.integers(2, 30, 20_000).astype(np.uint8)
    sigma = np.array([s for s, _ in levels()])[index]
    exact = rng.normal(0, 1.2 * sigma)
    ours = to_symbols(exact)
    nearest = ours.copy()
    optimise_rounding(prior, exact, ours, index, bits)
    theirs = scales.symbols_of(
        *(torch.from_numpy(a).float() for a in (exact, sigma)), bits, model.offsets.detach()
    ).numpy()
    assert np.mean(ours != nearest) > 0.004
    assert np.mean(ours != theirs) < 0.001  # ties, and tables that end at 6 sigma


def test_rounding_to_the_nearest_is_what_it_was():
    x = torch.randn(1000) * 3
    assert torch.equal(scales.symbols_of(x, torch.ones(1000), None, torch.zeros(2, 10)), x.round())


def test_scales_learn_from_symbols_and_values_from_noise():
    model = tiny()
    value = torch.tensor([0.3, 1.4], requires_grad=True)
    scale = torch.tensor([0.5, 0.5], requires_grad=True)
    symbols = scales.symbols_of(value, scale, model.rounding, model.offsets)
    assert symbols.tolist() == [0, 1]
    low, high = symbols.abs() - 0.5, symbols.abs() + 0.5
    bits = model.rate(value, low, high, scale, noisy=True)
    assert torch.equal(bits, model.bits(low, high, scale))
    by_value, by_scale = torch.autograd.grad(bits.sum(), (value, scale))
    assert (by_value != 0).all()
    (exact,) = torch.autograd.grad(model.bits(low, high, scale).sum(), scale)
    assert torch.equal(by_scale, exact)
    assert by_scale[0] > 0 > by_scale[1]  # a zero wants a narrower table, a one a wider


def test_offsets_learn():
    model = tiny()
    x = torch.rand(1, 3, 128, 128) - 0.5
    out = model(x, torch.tensor([150.0]))
    (out["x_hat"] - x).square().mean().backward()
    assert model.offsets.grad.abs().sum() > 0


def test_magnitudes_are_linear_between_the_anchors_of_the_offsets():
    model = tiny()
    with torch.no_grad():
        model.offsets[0, 2:4] = torch.tensor([0.2, 0.4])
        model.offsets[1, -1] = 0.1
    level = scales.SCALE_MIN * np.exp(scales.LOG_SCALE_STEP * np.array([8, 10, 12, 63.0]))
    scale = torch.tensor(level, dtype=torch.float32)
    with torch.no_grad():
        one, two, five, zero = (
            scales.magnitude(torch.full((4,), n), scale, model.offsets) for n in (1.0, 2, 5, 0)
        )
    np.testing.assert_allclose(one, [0.8, 0.7, 0.6, 1.0], atol=1e-4)
    np.testing.assert_allclose(two, [2, 2, 2, 1.9], atol=1e-4)
    assert (five == 5).all()
    assert (zero == 0).all()


def laplacian(prior, seed: int):
    rng = np.random.default_rng(seed)
    y = rng.laplace(0, 2.0, (24, 32, prior.program["latents"])).astype(np.float32)
    z = rng.laplace(0, 1.0, (6, 8, prior.program["hyper_latents"])).astype(np.float32)
    return 120, y, z


def test_fitted_tables_are_tables_and_code_other_images_in_fewer_bits():
    prior = codec_of("tiny").bundle.prior
    fitted = fit_tables(prior, [laplacian(prior, seed) for seed in range(6)])
    for table in fitted.tables:
        f = np.asarray(table.frequencies, np.int64)
        assert f.sum() == 1 << 24
        assert f.min() >= 1
    z_table = fitted.arrays["rows.z_table"]
    assert z_table.min() >= 64  # z_hat has tables of its own
    assert z_table.max() == len(fitted.tables) - 1
    row, y, z = laplacian(prior, 99)
    before, after = (encode_latents(p, row, y, z)[2].bits for p in (prior, fitted))
    assert after < 0.97 * before
    same = quantise(prior, row, y, to_symbols(z), None)
    assert same.bits(fitted) < same.bits(prior)


def test_tables_stay_gaussian_where_nothing_was_counted():
    prior = codec_of("tiny").bundle.prior
    fitted = fit_tables(prior, [])
    for before, after in zip(prior.tables, fitted.tables):
        a, b = (np.asarray(t.frequencies, float) / 2**24 for t in (before, after))
        assert np.abs(a - b).max() < 0.02


@pytest.mark.parametrize(("change", "what"), [
    ({"rounding": -1.0}, "not negative"),
    ({"arch": "cae", "lmbda": 0.01, "rounding": 14.0}, "only --arch aei"),
    ({"trellis": True}, "--rounding"),
])  # fmt: skip
def test_nonsense_is_refused(change, what):
    with pytest.raises(ValueError, match=what):
        check(TrainConfig(**change))
