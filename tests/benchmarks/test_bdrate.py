"""BD-rate against independent implementations, its interval, and the published curves."""

import json

import numpy as np
import pytest
from aei.benchmarks import datasets, published
from aei.benchmarks.measures import bdrate
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="needs the [bench] extra")


def random_curve(seed: int, points: int = 7) -> bdrate.Curve:
    """A plausible curve: rates and qualities that rise, by uneven steps."""
    rng = np.random.default_rng(seed)
    rates = np.exp(np.log(rng.uniform(0.05, 0.2)) + np.cumsum(rng.uniform(0.2, 0.7, points)))
    qualities = rng.uniform(24, 28) + np.cumsum(rng.uniform(0.8, 2.5, points))
    return rates.tolist(), qualities.tolist()


def by_quadrature(anchor: bdrate.Curve, test: bdrate.Curve) -> float:
    """PCHIP (Fritsch and Carlson's slopes, written out) and a fine trapezoid: nothing of scipy."""

    def curve(rates, qualities):
        x, y = np.array(qualities), np.log(rates)
        h, d = np.diff(x), np.diff(y) / np.diff(x)
        slope = np.zeros(len(x))
        for k in range(1, len(x) - 1):
            if d[k - 1] * d[k] > 0:
                w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
                slope[k] = (w1 + w2) / (w1 / d[k - 1] + w2 / d[k])
        for end, near, far in ((0, 0, 1), (-1, -1, -2)):
            s = ((2 * h[near] + h[far]) * d[near] - h[near] * d[far]) / (h[near] + h[far])
            if s * d[near] <= 0:
                s = 0
            elif d[near] * d[far] < 0 and abs(s) > 3 * abs(d[near]):
                s = 3 * d[near]
            slope[end] = s

        def value(at):
            k = np.clip(np.searchsorted(x, at) - 1, 0, len(h) - 1)
            t = (at - x[k]) / h[k]
            return (
                y[k] * (1 + 2 * t) * (1 - t) ** 2 + slope[k] * h[k] * t * (1 - t) ** 2
                + y[k + 1] * t**2 * (3 - 2 * t) + slope[k + 1] * h[k] * t**2 * (t - 1)
            )  # fmt: skip

        return value

    low, high = max(anchor[1][0], test[1][0]), min(anchor[1][-1], test[1][-1])
    at = np.linspace(low, high, 20_001)
    difference = curve(*test)(at) - curve(*anchor)(at)
    mean = ((difference[1:] + difference[:-1]) / 2).mean()
    return 100 * np.expm1(mean)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(3, 12))
def test_agrees_with_independent_implementations(seed_a, seed_b, points):
    anchor, test = random_curve(seed_a, points), random_curve(seed_b, points + 1)
    value, (low, high) = bdrate.bd_rate(anchor, test)
    if low >= high:
        assert np.isnan(value)
        return
    assert value == pytest.approx(by_quadrature(anchor, test), abs=0.05, rel=1e-5)
    package = pytest.importorskip("bjontegaard", reason="needs the bjontegaard package")
    want = package.bd_rate(
        *anchor, *test, method="pchip", require_matching_points=False, min_overlap=0
    )
    assert value == pytest.approx(want, abs=0.05)


def test_agrees_on_the_published_curves():
    package = pytest.importorskip("bjontegaard", reason="needs the bjontegaard package")
    curves = _published_files()
    jpeg = curves[published.PUBLISHED_JPEG]
    compared = 0
    for curve in (c for c in curves.values() if "psnr" in c):
        anchor, test = (bdrate.rising(c["bpp"], c["psnr"]) for c in (jpeg, curve))
        value, _ = bdrate.bd_rate(anchor, test)
        want = package.bd_rate(
            *anchor, *test, method="pchip", require_matching_points=False, min_overlap=0
        )
        assert value == pytest.approx(want, abs=0.05)
        assert value == pytest.approx(by_quadrature(anchor, test), abs=0.05)
        compared += 1
    assert compared > 40


def test_published_bd_rates_against_todays_jpeg():
    """The figures of data/SOURCES.md."""
    _published_files()
    shown, reason = published.published()
    assert not reason
    assert shown["mbt2018-mean_mse"]["bd_rate"] == pytest.approx(-57.1, abs=0.1)
    assert shown["webp"]["bd_rate"] == pytest.approx(-34.9, abs=0.1)
    assert shown["av1"]["bd_rate"] == pytest.approx(-61.9, abs=0.2)


def _published_files() -> dict:
    root = datasets.data_root()
    if root is None or not (root / "anchors").is_dir():
        pytest.skip("needs the published curves: anchors/ in $AEI_DATA")
    curves: dict = {}
    for name in published.FILES:
        curves |= json.loads((root / "anchors" / name).read_text())
    return curves


def test_a_scaled_curve():
    rates, qualities = [0.1, 0.3, 0.8, 1.5], [28.0, 32.0, 36.0, 39.0]
    value, window = bdrate.bd_rate((rates, qualities), ([r * 0.7 for r in rates], qualities))
    assert value == pytest.approx(-30)
    assert window == (28.0, 39.0)
    assert np.isnan(bdrate.bd_rate((rates, qualities), (rates, [50.0, 51, 52, 53]))[0])
    assert np.isnan(bdrate.bd_rate((rates, qualities), ([1.0], [30.0]))[0])


def test_rate_at():
    assert bdrate.rate_at([1, 2, 4], [30, 33, 36], 33) == pytest.approx(2)
    assert np.isnan(bdrate.rate_at([1, 2, 4], [30, 33, 36], 40))


def test_bootstrap_interval():
    rng = np.random.default_rng(0)
    rates, qualities = np.array(random_curve(1)[0]), np.array(random_curve(1)[1])
    hard = rng.uniform(0.5, 2, (24, 1))
    anchor = rates * hard, qualities - 5 * np.log(hard)
    exact = anchor[0] * 0.8, anchor[1]  # every image 20 % smaller
    assert bdrate.bootstrap(anchor, exact) == (pytest.approx(-20), pytest.approx(-20))
    uneven = anchor[0] * rng.uniform(0.6, 1, (24, 1)), anchor[1]
    low, high = bdrate.bootstrap(anchor, uneven)
    assert low < bdrate.bd_rate(*((r.mean(0), q.mean(0)) for r, q in (anchor, uneven)))[0] < high
    few = bdrate.bootstrap(*((r[:6], q[:6]) for r, q in (anchor, uneven)))
    assert few[1] - few[0] > high - low  # fewer images, less sure
    assert np.isnan(bdrate.bootstrap(*((r[:1], q[:1]) for r, q in (anchor, uneven)))).all()
