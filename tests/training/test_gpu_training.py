"""Training on a GPU, without one: Triton's interpreter runs the kernels, and steps are taken that a
GPU would replay."""

import csv

import numpy as np
import pytest
from conftest import synthetic_photo

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")
pytest.importorskip("triton", reason="Triton comes with torch on Linux only")

from aei.codec.training import train as plain_train
from aei.codec.training.config import TrainConfig
from aei.codec.training.data.photographs import Photographs
from aei.codec.training.gpu import convolutions, images, loop, residuals
from aei.codec.training.gpu.muon import FlatMuon
from aei.codec.training.gpu.network import for_gpu
from aei.codec.training.gpu.trellis import GpuTrellis
from aei.codec.training.networks.latent_codec import LatentCodec
from aei.codec.training.optimisers import make_optimiser
from aei.codec.training.symbols import tables
from aei.codec.training.symbols.scales import magnitude, symbols_of
from aei.codec.training.symbols.steering import KEPT, ONE, Steering
from aei.codec.training.symbols.tables import FIRST, levels, offsets_of_means
from aei.codec.training.tasks import model_from_state
from tiny_network import TINY

CPU = torch.device("cpu")


def tiny_codec(seed: int = 0) -> LatentCodec:
    torch.manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(768, TINY.latents))[0].T.contiguous()
    return LatentCodec(TINY, basis, torch.full((TINY.latents,), 0.3))


def steering_with_offsets() -> Steering:
    steering = Steering(14.0)
    rng = np.random.default_rng(5)
    seen = np.stack([rng.uniform(-8, 8, steering.seen.shape[1:]), np.ones(steering.seen.shape[1:])])
    seen *= 1e5
    steering.load_state_dict({"seen": torch.from_numpy(seen)})
    return steering


def trellis_of(steering: Steering) -> GpuTrellis:
    return GpuTrellis(steering.trellis, steering.costs, ONE, CPU)


def test_the_path_and_its_points_are_those_of_the_encoder():
    steering = steering_with_offsets()
    rng = np.random.default_rng(0)
    index = rng.integers(0, 40, 1500).astype(np.uint8)
    exact = (rng.standard_normal(1500) * 0.11 * np.exp(0.12 * index)).astype(np.float32)
    part = index >= FIRST
    wanted, shifted = steering.trellis.choose(
        steering.costs, exact[part].astype(np.float64), index[part], 12.0, ONE
    )
    ours = trellis_of(steering)
    size, of = ours.choose(torch.from_numpy(exact), torch.from_numpy(index), 12.0)
    np.testing.assert_array_equal(size.numpy()[part], np.abs(wanted))
    np.testing.assert_array_equal(of.numpy()[part], shifted)
    assert not size.numpy()[~part].any()
    points = ours.points(size, torch.from_numpy(index), of).numpy() * np.sign(exact)
    theirs = steering.trellis.points(wanted, index[part].astype(np.int64), shifted) / ONE
    np.testing.assert_allclose(points[part], theirs, rtol=1e-6)


def test_offsets_are_followed_as_without_a_gpu():
    steering = steering_with_offsets()
    ours = trellis_of(steering)
    rng = np.random.default_rng(1)
    index = rng.integers(FIRST, 30, 800).astype(np.uint8)
    scale = np.array([sigma for sigma, _ in levels()], np.float32)[index]
    exact = torch.from_numpy(rng.standard_normal(800).astype(np.float32) * scale)
    part = exact, torch.from_numpy(index)
    ours.watch(*part, *ours.choose(*part, steering.error_bits))
    before = steering.seen.copy()
    steering.steer(exact, torch.from_numpy(scale), *(exact,) * 3, learn=True)
    np.testing.assert_allclose(ours.seen.numpy(), steering.seen - KEPT * before, atol=0.01)
    moved = offsets_of_means(steering.trellis, *ours.seen.numpy())
    ours.move_points(moved)
    np.testing.assert_allclose(ours.offsets.numpy() * ONE, moved, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 96, 5, 7), (3, 16, 1, 1), (1, 128, 16, 9)])
@pytest.mark.parametrize("kind", ["depthwise", "pointwise"])
def test_convolutions_and_their_gradients(shape, kind):
    torch.manual_seed(0)
    c = shape[1]
    if kind == "depthwise":
        conv, ours = torch.nn.Conv2d(c, c, 3, padding=1, groups=c), convolutions.Depthwise
    else:
        conv, ours = torch.nn.Conv2d(c, 24, 1), convolutions.Pointwise
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    results = []
    for cls in (torch.nn.Conv2d, ours):
        conv.__class__ = cls
        conv.zero_grad()
        x.grad = None
        y = conv(x)
        y.float().backward(torch.cos(torch.arange(y.numel())).view(y.shape))
        results.append([y.detach().float(), x.grad, conv.weight.grad, conv.bias.grad])
    for wanted, got in zip(*results):
        assert (wanted - got).norm() < 0.03 * wanted.norm()  # bfloat16


def test_rounding_chooses_the_same_symbols():
    torch.manual_seed(1)
    scale = (torch.rand(3, 4000) * 7 - 2.5).exp()
    residual = torch.randn(3, 4000) * scale
    offsets = torch.rand(2, 10) * 0.2
    symbols = symbols_of(residual, scale, 14.0, offsets)
    size = symbols.abs()
    points, low, high = residuals.rounded(residual, scale, 14.0, offsets)
    assert (low == size - 0.5).float().mean() > 0.999  # ties in the last bit of erfc may differ
    same = low == size - 0.5
    assert torch.equal(high[same], size[same] + 0.5)
    wanted = symbols.sign() * magnitude(size, scale, offsets)
    torch.testing.assert_close(points[same], wanted[same], rtol=1e-5, atol=1e-6)


def test_the_rate_and_its_gradients(monkeypatch):
    torch.manual_seed(2)
    model = tiny_codec()
    model.rounding = 14.0
    scale = (torch.rand(3, 2000) * 8 - 3).exp().requires_grad_()
    value = (torch.randn(3, 2000) * scale.detach() * 1.3).requires_grad_()
    size = value.detach().round().abs()
    noise = torch.rand(3, 2000)
    monkeypatch.setattr(torch, "rand_like", lambda t: noise)
    monkeypatch.setattr(torch, "rand", lambda *shape, **kwargs: noise)
    weight = torch.tensor([0.3, 0.5, 0.9])
    results = []
    for rate in (lambda *a: model.rate(*a, noisy=True).sum(1), residuals.rate):
        value.grad = scale.grad = None
        bits = rate(value, size - 0.5, size + 0.5, scale)
        (bits * weight).sum().backward()
        results.append([bits.detach(), value.grad, scale.grad])
    for wanted, got in zip(*results):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-3)


def test_the_network_computes_what_the_plain_one_does():
    steering = steering_with_offsets()
    model = tiny_codec()
    model.rounding, model.steering = 14.0, steering
    x = torch.from_numpy(synthetic_photo(64, 64)).permute(2, 0, 1)[None] / 255.0 - 0.5
    index = torch.tensor([120.0])

    def run(model):
        with torch.autocast("cpu", torch.bfloat16):
            return model(x, index, noisy=True)

    with torch.no_grad():
        wanted = run(model)
        got = run(for_gpu(model, trellis_of(steering), 14.0, steering.error_bits))
    assert abs(got["y_bits"] / wanted["y_bits"] - 1) < 0.02
    assert torch.equal(got["z_bits"], wanted["z_bits"])
    mse = [(out["x_hat"] - x).square().mean() for out in (wanted, got)]
    assert abs(mse[1] / mse[0] - 1) < 0.02


def test_the_end_of_g_s_computes_in_float32():
    """Eight bits of a pixel would be a level."""
    model, index = tiny_codec(), torch.tensor([200.0])
    x = torch.rand(1, 3, 32, 48) - 0.5
    torch.nn.init.normal_(model.g_s.finish.share.anchors, 0, 0.1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        wanted = model.g_s.finish(x, index) - x
        convolutions.stand_in(model)
        got = model.g_s.finish(x, index) - x
    assert got.dtype == torch.float32
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_steps_are_those_of_the_library():
    ours, theirs = tiny_codec(), tiny_codec()
    optimiser = make_optimiser(theirs, TrainConfig(optimiser="muon", lr=3e-3))
    flat = FlatMuon(ours, clip=1e9)
    flat.lr.fill_(3e-3)
    for step in range(3):
        for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
            torch.manual_seed(step)
            b.grad = torch.randn_like(b) * 0.01
            a.grad = b.grad.clone()
            if name == "offsets":
                b.grad = None
        optimiser.step()
        norm, finite = flat.step()
        assert norm > 0
        assert finite == 1
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)  # of 5e-3


def test_a_gradient_that_is_not_finite_changes_nothing():
    model = tiny_codec()
    flat = FlatMuon(model, clip=1.0)
    flat.lr.fill_(3e-3)
    before = flat.data.clone()
    for p in flat.parameters:
        p.grad = torch.full_like(p, float("nan"))
    assert flat.step()[1] == 0
    assert torch.equal(flat.data, before)


@pytest.fixture(scope="module")
def store() -> images.Store:
    photos = [synthetic_photo(150, 203, 1), synthetic_photo(180, 140, 2), synthetic_photo(90, 400)]
    return images.Store(Photographs(photos, photos[:1], photos[:1]), 128, pages=2, seed=0)


def test_crops_lie_in_the_images(store):
    assert (store.photos, store.pages) == (2, 2)  # the third is too small
    rng = np.random.default_rng(0)
    parameters, index = store.draw(rng, 64, 0.3)
    assert (np.sort(index) // (255 / 64)).tolist() == list(range(64))
    x = images.crops(torch.from_numpy(store.flat), torch.from_numpy(parameters), 128)
    assert x.shape == (64, 3, 128, 128)
    assert x.is_contiguous(memory_format=torch.channels_last)
    pixels = ((x + 0.5) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    views = [
        store.flat[store.start[i, k] :][: 3 * store.height[i, k] * store.width[i, k]].reshape(
            store.height[i, k], store.width[i, k], 3
        )
        for i, k in np.argwhere(store.width)
    ]
    for crop, (first, line, column, *channels, inverted, grey) in zip(pixels, parameters):
        if grey or inverted or channels != [0, 1, 2]:
            continue
        if abs(line) == 3:
            crop, line, column = crop.swapaxes(0, 1), column, line
        if line < 0:
            crop, first = crop[::-1], first + 127 * line
        if column < 0:
            crop, first = crop[:, ::-1], first + 127 * column
        found = False
        for view, start in zip(views, store.start[store.width > 0]):
            y, x = divmod((first - start) // 3, view.shape[1])
            if start <= first < start + view.size and abs(line) == 3 * view.shape[1]:
                found = np.array_equal(crop, view[y : y + 128, x : x + 128])
        assert found


def test_tiles_keep_their_place_and_quality():
    x = torch.randn(3, 3, 128, 128)
    small, index = images.tiles(x, torch.tensor([1.0, 2.0, 3.0]), 32)
    assert torch.equal(small[5], x[0, :, 32:64, 32:64])
    assert torch.equal(small[17], x[1, :, :32, 32:64])
    assert index[[0, 15, 16, 47]].tolist() == [1, 1, 2, 3]


def test_images_that_are_all_too_small_are_refused():
    small = [synthetic_photo(100, 300)]
    with pytest.raises(ValueError, match="128 pixels on each side"):
        images.Store(Photographs(small, [], small), 128, pages=0, seed=0)


def test_a_run_leaves_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "WATCH_EVERY", 2)
    monkeypatch.setattr(loop, "TILED", 0.5)
    # the interpreter is slow by the program and by the turn of a loop
    monkeypatch.setattr(convolutions, "ROWS", 1024)
    monkeypatch.setattr(convolutions, "GRADIENT_ROWS", 128)
    monkeypatch.setattr(residuals, "BLOCK", 4096)
    monkeypatch.setattr(tables, "LENGTH", 8)
    photos = [synthetic_photo(150, 203, seed) for seed in range(2)]
    data = Photographs(photos, photos[:1], photos)
    settings = loop.Settings(seconds=1e4, batch=2, patch=128, pages=1, steps=3, warmup=1e-9)
    lines: list[str] = []
    loop.train(data, tmp_path, tiny_codec(), settings, device="cpu", log=lines.append)
    rows = list(csv.DictReader((tmp_path / "steps.csv").open()))
    assert rows[-1]["step"] == "3"
    assert float(rows[-1]["loss"]) > 0
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert (state["step"], state["pixels"]) == (3, 3 * 2 * 128 * 128)
    assert state["steering"]["seen"].abs().sum() > 0
    began = tiny_codec().state_dict()
    for weights in ("model", "ema"):
        model = model_from_state(TINY, state[weights])
        moved = (model.g_a.head.weight - began["g_a.head.weight"]).abs().max()
        assert 0 < moved < 0.1
    again, before = loop.of_checkpoint(tmp_path / "last.pt", {"blocks16": 2})
    assert again.config.blocks16 == 2
    assert before["step"] == 3
    settings = loop.Settings(seconds=1e4, batch=2, patch=128, pages=0, steps=1)
    loop.train(data, tmp_path, again, settings, device="cpu", before=before, log=lines.append)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 4
    # `aei train --resume` goes on from it too
    folder = tmp_path / "photos"
    folder.mkdir()
    from PIL import Image

    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(folder / f"{i}.png")
    config = TrainConfig(
        optimiser="muon", lr=1e-3, steps=5, batch=2, patch=128, graphics=0, threads=1, bf16=False
    )
    plain_train.train(folder, tmp_path, again.config, config, resume=True, log=lines.append)
    assert any("starts anew" in line for line in lines)
