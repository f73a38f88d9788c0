"""Latent refinement: it lowers the cost it claims to lower, and its gradients are right."""

import numpy as np
import pytest
from aei.benchmarks.metrics import ms_ssim
from aei.codec import Codec, UnsupportedError
from aei.codec.exact.payload import write
from aei.codec.exact.quantise import Step, quantise
from aei.codec.models.bundle import default_bundle
from aei.codec.pixels.quality import psnr
from aei.codec.search import distortion
from aei.codec.search.ms_ssim import scales_of, slope
from aei.codec.search.refine import STEPS, _table_slopes, context_gradient
from conftest import analysed


def picture(height=96, width=160, seed=3):
    """Smooth shapes with edges and a little noise: uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    base = np.stack([np.sin(2 * x + k) + np.cos(3 * y - k) + (x + y > 3) for k in range(3)], -1)
    return np.clip(110 + 40 * base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)


def cost(codec, image, row, effort):
    """Bits and lambda 255^2 squared error of a real file."""
    data = codec.encode(image, gain_index=row, effort=effort, tune="psnr")
    back = np.asarray(codec.decode(data), np.float64)
    error = np.square((back - image) / 255).sum()
    return 8 * len(data) + codec.bundle.bits_per_error(row) * error


@pytest.mark.parametrize("row", [40, 128, 200])
def test_effort_lowers_the_cost_of_real_files(codec, row):
    image = picture()
    plain, few, many = (cost(codec, image, row, effort) for effort in (1, 2, 6))
    # one step, on a model for the look, may come out alike
    assert few < 1.005 * plain
    assert many < min(few, plain)


def test_every_effort_decodes_to_the_same_size(codec):
    image = picture(33, 47)
    for effort in (0, 1, 2, 4):
        back = np.asarray(codec.decode(codec.encode(image, effort=effort)))
        assert back.shape == image.shape
        assert psnr(image, back) > 25
    with pytest.raises(UnsupportedError, match="effort 10"):
        codec.encode(image, effort=10)
    assert len(STEPS) == 10


def test_tiles_are_refined_with_their_surroundings(codec):
    image = picture(200, 300)
    plain, refined = (codec.encode(image, effort=e, tile_side=128, tune="psnr") for e in (1, 3))
    errors = [
        np.square(np.asarray(codec.decode(d), float) - image).mean() for d in (plain, refined)
    ]
    bits = codec.bundle.bits_per_error(128) / 255**2
    assert (
        8 * len(refined) + bits * errors[1] * image.size
        < 8 * len(plain) + bits * errors[0] * image.size
    )


@pytest.mark.parametrize(("row", "texture"), [(60, 25), (100, 12)])
def test_tuned_for_ms_ssim_files_keep_more_structure_in_fewer_bits(row, texture):
    pytest.importorskip("scipy", reason="the benchmark's MS-SSIM needs the [bench] extra")
    image = picture(192, 256).astype(np.int16)  # grass on the left, sky on the right
    image[:, :128] += np.random.default_rng(1).normal(0, texture, (192, 128, 1)).astype(np.int16)
    image = np.clip(image, 0, 255).astype(np.uint8)
    codec = Codec(default_bundle().path)  # one model for both
    plain = codec.encode(image, gain_index=row, effort=3, tune="psnr")
    sizes, kept = [], []
    for other in range(row - 24, row + 40, 16):
        tuned = codec.encode(image, gain_index=other, effort=3, tune="ms-ssim")
        sizes.append(len(tuned))
        kept.append(ms_ssim(image, np.asarray(codec.decode(tuned))))
    size = np.interp(ms_ssim(image, np.asarray(codec.decode(plain))), kept, sizes)
    assert size < len(plain)


def test_what_cannot_be_tuned_is_refused(codec, monkeypatch):
    image = picture(64, 64)
    with pytest.raises(UnsupportedError, match="effort of 2 or more"):
        codec.encode(image, effort=1, tune="ms-ssim")
    with pytest.raises(UnsupportedError, match="choose ssimulacra2, psnr or ms-ssim"):
        codec.encode(image, tune="vmaf")
    for side in (1, 4, 5, 17):  # too small for structure, or just not
        data = codec.encode(image[:side, :20], tune="ms-ssim")
        assert codec.decode(data).size == (20, side)
    monkeypatch.setattr(codec.bundle, "_lambda", None)
    with pytest.raises(UnsupportedError, match="leave that out"):
        codec.encode(image, tune="ms-ssim")


def test_blocks_add_up_to_the_whole(codec, monkeypatch):
    image = picture(400, 150)
    for tune in ("psnr", "ms-ssim", "ssimulacra2"):
        whole = codec.encode(image, effort=3, tune=tune)
        monkeypatch.setattr(distortion, "WHOLE_CELLS", 1)
        monkeypatch.setattr(distortion, "BLOCK_CELLS", 7)
        assert abs(len(codec.encode(image, effort=3, tune=tune)) - len(whole)) <= 2  # rounding
        monkeypatch.undo()


def test_ms_ssim_is_about_that_of_the_benchmark_and_its_gradient_is_its_slope():
    pytest.importorskip("scipy", reason="the benchmark's MS-SSIM needs the [bench] extra")
    rng = np.random.default_rng(5)
    image = picture(187, 201)
    noisy = np.clip(image + rng.normal(0, 12, image.shape), 0, 255).astype(np.uint8)
    x, y = (np.ascontiguousarray(a.transpose(2, 0, 1), np.float32) / 255 for a in (image, noisy))
    lost, _ = slope(scales_of(x, np.ones(x.shape[1:], np.float32)), y)
    assert 1 - lost == pytest.approx(ms_ssim(image, noisy), abs=0.02)
    weight = rng.uniform(0, 1, x.shape[1:]).astype(np.float32)
    for height in (187, 90, 11, 5):  # five scales, four, two, one
        scales = scales_of(x[:, :height].copy(), weight[:height])
        part = y[:, :height].copy()
        _, gradient = slope(scales, part)
        direction = gradient / np.abs(gradient).max()
        ends = [slope(scales, part + s * 0.003 * direction)[0] for s in (1, -1)]
        assert (ends[0] - ends[1]) / 0.006 == pytest.approx((gradient * direction).sum(), rel=0.02)


def test_a_model_without_a_gradient_is_not_refined(codec, monkeypatch):
    image = picture(64, 64)
    monkeypatch.setattr(codec.bundle, "_lambda", None)
    assert codec.encode(image, effort=5) == codec.encode(image, effort=1)


def test_error_gradient_is_the_slope_of_the_error(codec):
    rng = np.random.default_rng(0)
    y = rng.normal(0, 0.3, (3, 4, codec.bundle.prior.program["latents"])).astype(np.float32)
    target = rng.uniform(-0.4, 0.4, (1, 3, 48, 64)).astype(np.float32)
    weight = rng.uniform(0, 1, (1, 1, 48, 64)).astype(np.float32)
    _, gradient = codec.transforms.error_gradient(y, 150, target, weight)
    direction = gradient / np.abs(gradient).max()  # a steep one, so that rounding does not count
    ends = [  # near, for leaky ReLUs have a kink
        codec.transforms.error_gradient(y + s * 0.002 * direction, 150, target, weight)[0]
        for s in (1, -1)
    ]
    assert (ends[0] - ends[1]) / 0.004 == pytest.approx((gradient * direction).sum(), rel=0.02)


def test_context_gradient_is_the_slope_of_the_later_steps(codec):
    """Against the network's own gradient, in float."""
    torch = pytest.importorskip("torch", reason="needs torch")
    from aei.codec.training.export.export import restore_model
    from aei.codec.training.networks.latent_codec import split_cells

    prior, row = codec.bundle.prior, 120
    y, z_hat = analysed(codec, picture(96, 160), row)
    quantised = quantise(prior, row, y, z_hat, 17.0)
    ours = context_gradient(prior, row, quantised)
    model = restore_model(codec.bundle).eval()
    index = torch.tensor([float(row)])
    one = 1 << prior.program["mean_bits"]
    fixed = torch.from_numpy(quantised.y_hat.astype(np.float32) / one).permute(2, 0, 1)[None]
    seen = fixed.clone().requires_grad_(True)
    z = torch.from_numpy(z_hat.astype(np.float32)).permute(2, 0, 1)[None]
    h = model.h_s(z * model.z_in_gain(index) + model.z_in_bias(index))
    h = h[:, :, : y.shape[0], : y.shape[1]]
    cells, context = (split_cells(a).unflatten(2, (4, -1)) for a in (fixed, seen))
    view, decoded, bits = None, [], 0.0
    for k, groups in enumerate(model.group_of):
        mean, scale = model.step_parameters(k, h, view, index)
        part = torch.stack([cells[:, i, g] for i, g in enumerate(groups)], 1)
        # the code word of a value stands for half a step on both sides, along the trellis for more
        steered = quantised.steps[k].index >= prior.trellis.first
        half = np.where(steered, prior.trellis.half_step / one, 0.5).astype(np.float32)
        half = half.reshape(4, *part.shape[-2:], -1).transpose(0, 3, 1, 2)[None]
        size = (part - mean).abs()
        bits = (
            bits
            + model.bits(size - torch.from_numpy(half), size + torch.from_numpy(half), scale).sum()
        )
        decoded.append(torch.stack([context[:, i, g] for i, g in enumerate(groups)], 1))
        view = model.join_steps(decoded) * model.view_gain(index)
    theirs = torch.autograd.grad(bits, seen)[0][0].permute(1, 2, 0).numpy()
    # ours is that of counted tables, theirs of Gaussians
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.8
    assert np.abs(ours).sum() == pytest.approx(np.abs(theirs).sum(), rel=0.25)


def test_table_slopes_have_the_right_signs(codec):
    prior = codec.bundle.prior
    values = np.array([3, -3, 0, 6], np.int32)
    index = np.array([30, 30, 30, 22], np.uint8)
    of_mean, of_scale = _table_slopes(prior, Step(values, index, index, ()))
    assert of_mean[0] < 0 < of_mean[1]  # a mean nearer the value makes it cheaper
    assert of_mean[2] == pytest.approx(0, abs=1e-3)
    assert of_scale[3] < 0 < of_scale[2]  # a large value wants a wide table, zero a narrow one


def test_bits_are_those_that_are_written(codec):
    prior, row = codec.bundle.prior, 90
    y, z_hat = analysed(codec, picture(64, 96), row)
    quantised = quantise(prior, row, y, z_hat, 24.0)
    with_z = write(prior, row, quantised)[1]
    assert 0 <= with_z - 8 - quantised.bits(prior) < 0.25 * with_z + 200
