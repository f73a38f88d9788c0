"""Rounding, bounds and densities against CompressAI's, where its wheel can be had."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from aei.codec.training.networks.bounds import FactorizedDensity, LowerBound, rounded

VALUES = torch.linspace(-3, 3, 61)


def gradient_of(function, x, weights):
    x = x.clone().requires_grad_()
    (function(x) * weights).sum().backward()
    return x.grad


def test_rounding_has_the_gradient_of_its_argument():
    assert torch.equal(rounded(VALUES), VALUES.round())
    weights = torch.randn(61, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gradient_of(rounded, VALUES, weights), weights)


def test_a_bound_lets_through_what_raises():
    bound = LowerBound(0.5)
    weights = torch.tensor([1.0, -1.0, 1.0, -1.0])
    x = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert bound(x).tolist() == [0.5, 0.5, 1.0, 1.0]
    assert gradient_of(bound, x, weights).tolist() == [0.0, -1.0, 1.0, -1.0]
    assert list(bound.state_dict()) == ["bound"]


def test_a_density_sums_to_one_and_has_its_width():
    torch.manual_seed(0)
    density = FactorizedDensity(5, 3.0)
    x = torch.arange(-200.0, 201)[None, None].expand(5, 1, -1)
    mass = density(x)
    assert (mass >= 0).all()
    assert torch.allclose(mass.sum(-1), torch.ones(5, 1), atol=1e-4)
    within = mass[:, :, 185:216].sum(-1)
    assert ((within > 0.5) & (within < 1)).all()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_all_are_what_compressai_has():
    ops = pytest.importorskip("compressai.ops", reason="needs compressai")
    from compressai.entropy_models import EntropyBottleneck

    weights = torch.randn(61, generator=torch.Generator().manual_seed(1))
    for ours, reference in (
        (rounded, ops.quantize_ste),
        (LowerBound(0.1), ops.LowerBound(0.1)),
    ):
        assert torch.equal(ours(VALUES), reference(VALUES))
        theirs, own = (gradient_of(f, VALUES, weights) for f in (reference, ours))
        assert torch.equal(own, theirs)
    reference = EntropyBottleneck(4, init_scale=3.0)
    density = FactorizedDensity(4, 3.0)
    for a, b in zip(density.matrices, reference.matrices):
        assert torch.allclose(a, b)
    for factor in reference.factors:
        torch.nn.init.normal_(factor, 0, 0.3)
    density.load_state_dict(reference.state_dict())  # what checkpoints of before hold
    x = 20 * VALUES[None, None].expand(4, 1, -1)
    expected = reference._likelihood(x)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert torch.allclose(density(x), expected, atol=1e-6)
