"""Training, resuming, exporting and restoring a tiny model."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.codec import Codec
from aei.codec.models.bundle import Bundle
from aei.codec.training import ranks
from aei.codec.training.config import TrainConfig
from aei.codec.training.data import photographs as data
from aei.codec.training.export import export
from aei.codec.training.networks import grow
from aei.codec.training.networks import latent_codec as networks
from aei.codec.training.tasks import model_from_state
from aei.codec.training.train import train
from tiny_network import TINY


def config(steps: int, **changes) -> TrainConfig:
    settings = {
        "steps": steps, "batch": 2, "patch": 128, "lr": 2e-3, "warmup": 1, "decay": 0.0,
        "validate_every": 1000, "checkpoint_every": 2, "threads": 1,
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def silent(_message: str) -> None:
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.fromarray(synthetic_photo(160, 200, seed=i)).save(path / f"{i}.png")
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    train(folder, out, TINY, config(6), log=silent)
    return out


@pytest.fixture(scope="module")
def bundle(trained, folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.bundle"
    export.export_checkpoint(trained / "last.pt", folder, path, "tiny")
    return path


def test_what_readers_need_is_made_along(trained, folder, tmp_path, run_aei):
    whole, readers = tmp_path / "mine.bundle", tmp_path / "readers"
    arguments = ("export", trained / "last.pt", "--data", folder, "-o", whole)
    result = run_aei(*arguments, "--decoder", readers, "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert facts["name"] == "mine"
    assert [Path(path).name for path in facts["readers"]] == [
        "mine", f"{facts['fingerprint']}.aeiw",
    ]  # fmt: skip
    data = Codec(whole).encode(synthetic_photo(40, 56), gain_index=90)
    assert Codec(readers / "mine").pixels_sha256(data) == Codec(whole).pixels_sha256(data)


def test_loss_falls(trained, folder, tmp_path):
    model = train(folder, tmp_path, TINY, config(40, ema=0.5), log=silent)
    state = torch.load(trained / "last.pt", weights_only=True)
    early = model_from_state(TINY, state["ema"])
    x = torch.from_numpy(synthetic_photo(128, 128, seed=9)).permute(2, 0, 1)[None] / 255.0 - 0.5
    index = torch.tensor([120.0])

    def loss(m):
        with torch.no_grad():
            out = m(x, index, noisy=False)
        lam = networks.lambda_of_index(120.0)
        rate = (out["y_bits"] + out["z_bits"]) / 128**2
        return float(lam * 255**2 * (out["x_hat"] - x).square().mean() + rate)

    assert loss(model) < loss(early)


def test_resumed_run_equals_an_uninterrupted_one(trained, folder, tmp_path):
    train(folder, tmp_path, TINY, config(4), log=silent)
    train(folder, tmp_path, TINY, config(6), resume=True, log=silent)
    once, twice = (torch.load(p / "last.pt", weights_only=True) for p in (trained, tmp_path))
    assert twice["step"] == 6
    assert twice["pixels"] == once["pixels"]
    for key in ("model", "ema"):
        for name, value in once[key].items():
            torch.testing.assert_close(twice[key][name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("optimiser", ["soap", "muon"])
def test_a_run_along_the_trellis_resumes_alike(folder, tmp_path, optimiser):
    changes = {"optimiser": optimiser, "rounding": 14.0, "trellis": True}
    for name, stops in (("once", [4]), ("twice", [2, 4])):
        for i, steps in enumerate(stops):
            out = tmp_path / name
            train(folder, out, TINY, config(steps, **changes), resume=i > 0, log=silent)
    once, twice = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("once", "twice")
    )
    assert once["steering"]["seen"].abs().sum() > 0
    for key in ("model", "ema", "steering"):
        for name, value in once[key].items():
            torch.testing.assert_close(twice[key][name], value, rtol=0, atol=0, msg=name)


def test_another_optimiser_goes_on_from_the_weights(trained, folder, tmp_path):
    shutil.copy(trained / "last.pt", tmp_path)
    messages = []
    train(folder, tmp_path, TINY, config(8, optimiser="muon"), resume=True, log=messages.append)
    assert any("muon starts without what soap" in m for m in messages)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 8


def test_the_log_has_every_number(trained):
    with (trained / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"step", "pixels", "loss", "bpp", "psnr", "pixels_per_s"} <= set(rows[0])
    with (trained / "held_out.csv").open() as file:
        assert "bd_rate" in next(csv.DictReader(file))


def test_exported_bundle_encodes_and_decodes(bundle):
    codec = Codec(bundle)
    image = synthetic_photo(90, 110, seed=3)
    for quality in (1, 50, 100):
        back = np.asarray(codec.decode(codec.encode(image, quality)))
        assert back.shape == image.shape
    assert 10 * np.log10(255**2 / np.mean((back.astype(float) - image) ** 2)) > 22


def test_integer_prior_loses_little(bundle):
    lost = Bundle(bundle).manifest["integer_prior"]
    # below zero where the surest symbols, which are skipped, would cost more than rounding does
    assert all(-3 < row["lost_percent"] < 2 for row in lost.values()), lost


@pytest.mark.parametrize("which", ["tiny", "shipped"])
def test_bundle_becomes_a_torch_model_with_the_same_latents(bundle, which):
    codec = Codec(bundle) if which == "tiny" else Codec()
    model = export.restore_model(codec.bundle).eval()
    image = synthetic_photo(128, 192, seed=5)
    from aei.codec.exact import analysis
    from aei.codec.exact.payload import encode_latents
    from aei.codec.pixels.images import to_network

    x = to_network(image, 16)
    exact = codec.bundle.analysis
    for row in (20, 130, 240):
        if exact is None:
            y = codec.transforms.analysis(x, row)
            z = codec.transforms.hyper_analysis(y, row)
        else:
            steps = analysis.latents(exact, image, row)
            y = analysis.in_steps(steps)
            z = analysis.hyper_symbols(exact, steps, row).astype(np.float32)
        index = torch.tensor([float(row)])
        with torch.no_grad():
            ty = model.g_a(torch.from_numpy(x), index) * model.gain(index)
            tz = model.h_a(ty) * model.z_gain(index)
        ty, tz = (t[0].permute(1, 2, 0).numpy() for t in (ty, tz))
        if exact is not None:  # the weights are the same, the activations are rounded
            np.testing.assert_allclose(ty, y, atol=0.03 + 1e-3 * np.abs(y).max())
            assert np.abs(tz - z).max() < 0.6
            continue
        np.testing.assert_allclose(ty, y, atol=2e-3 * max(1, np.abs(y).max() / 100))
        _, _, ours = encode_latents(codec.bundle.prior, row, y, z)
        _, _, theirs = encode_latents(codec.bundle.prior, row, ty, tz)
        same = np.mean(ours.y_hat == theirs.y_hat)
        assert same > 0.999, same  # the rest are rounding ties and what follows from them


def test_restored_prior_predicts_the_same_rate(bundle):
    codec = Codec(bundle)
    images = [synthetic_photo(128, 128, seed=i) for i in range(2)]
    model = export.restore_model(codec.bundle).eval()
    # the float model has Gaussians, not the tables that were counted
    again = export.quantise_prior(model, images)
    fresh = again.arrays
    tables = {k: fresh[k] for k in ("tables.frequencies", "tables.sizes", "rows.z_table")}
    prior = codec.bundle.prior
    program = {k: v for k, v in prior.program.items() if k != "trellis"}  # nor does it know this
    first = again.program["hyper_context"]["tables"]
    program["hyper_context"] = program["hyper_context"] | {"tables": first}
    prior = replace(prior, program=program, arrays=prior.arrays | tables)
    lost = export.compare_code_lengths(model, prior, images)
    # Below zero is no fault: not coding the surest symbols may save more than rounding costs.
    assert all(-5 < row["lost_percent"] < 2 for row in lost.values()), lost


def test_training_goes_on_from_a_bundle(bundle, trained, folder, tmp_path):
    model = export.restore_model(Bundle(bundle))
    start = torch.load(trained / "last.pt", weights_only=True)
    original = model_from_state(TINY, start["ema"])
    x = torch.from_numpy(synthetic_photo(128, 128, seed=9)).permute(2, 0, 1)[None] / 255.0 - 0.5
    with torch.no_grad():
        a, b = (m(x, torch.tensor([100.0]), noisy=False) for m in (original, model))
    rates = [float(o["y_bits"] + o["z_bits"]) for o in (a, b)]
    assert rates[1] == pytest.approx(rates[0], rel=0.01)
    errors = [float((o["x_hat"] - x).square().mean()) for o in (a, b)]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    train(folder, tmp_path, model.config, config(2), init=model, log=silent)
    assert (tmp_path / "last.pt").is_file()


def test_accumulators_that_could_overflow_are_refused():
    from aei.codec.training.export.integer_prior import prove

    prove("fine", 2.0**51)
    with pytest.raises(ValueError, match="over 2\\^52"):
        prove("too large", 2.0**52)


def test_held_out_images_are_never_trained_on(tmp_path):
    for i in range(51):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / f"{i:03d}.png")
    photos = data.load_photographs(tmp_path)
    held = {image[0, 0, 0] for image in photos.held_out}
    assert held == {0, 50}
    assert held.isdisjoint(image[0, 0, 0] for image in photos.train)


def test_bf16_where_the_device_has_it(folder, tmp_path, monkeypatch):
    from aei.codec.training import devices
    from aei.codec.training.config import load_toml

    cpu = torch.device("cpu")
    for capabilities, fast in [({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
                               ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True),
                               ({"neon": True, "bf16": True}, False)]:  # fmt: skip
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert devices.fast_bf16(cpu) is fast
    lines = []
    train(folder, tmp_path / "found", TINY, config(1), log=lines.append)
    assert load_toml(tmp_path / "found" / "config.toml")[0]["bf16"] is False
    train(folder, tmp_path / "asked", TINY, config(1, bf16=True), log=lines.append)
    assert load_toml(tmp_path / "asked" / "config.toml")[0]["bf16"] is True
    assert next(line for line in lines if "--no-bf16" in line).startswith("bf16: this cpu")
    assert sum("--no-bf16" in line for line in lines) == 1


def test_bf16_leaves_gains_and_the_linear_path_exact():
    """Their eight bits would be noise of a per cent and more of the rate."""
    import torch

    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(768, TINY.latents))[0].T.contiguous()
    model = networks.LatentCodec(TINY, basis, torch.full((TINY.latents,), 0.3))
    index = torch.tensor([3.0, 130.0, 251.0])
    pixels, latents = torch.randn(1, 768, 2, 3), torch.randn(1, TINY.latents, 2, 3)

    def exact():
        return (
            model.gain(index),
            model.scale_bias(index),
            model.g_a.klt(pixels),
            model.g_s.klt(latents),
        )

    with torch.no_grad():
        wanted = exact()
        with torch.autocast("cpu", torch.bfloat16):
            assert model.g_a.stem(torch.zeros(1, 192, 2, 2)).dtype == torch.bfloat16
            for a, b in zip(exact(), wanted):
                torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_quantisation_aware_training_goes_on_from_the_same_rate(bundle, folder, tmp_path):
    from aei.codec.training.export.integer_prior import fake_quantise

    model, aware = (export.restore_model(Codec().bundle).eval() for _ in range(2))
    fake_quantise(aware)
    x = torch.from_numpy(synthetic_photo(128, 192, seed=5)).permute(2, 0, 1)[None] / 255.0 - 0.5
    for index in (20.0, 130.0, 240.0):
        with torch.no_grad():
            a, b = (m(x, torch.tensor([index]), noisy=False) for m in (model, aware))
        bits = [float(o["y_bits"] + o["z_bits"]) for o in (a, b)]
        assert bits[0] != bits[1]
        # at the lowest rate of so small a picture a few values that round the other way are a per
        # cent or two
        assert bits[1] == pytest.approx(bits[0], rel=3e-2 if index < 50 else 1e-2)
    aware(x, torch.tensor([130.0]))["y_bits"].sum().backward()
    gradients = [p.grad.abs().sum() for p in aware.context.parameters()]
    assert all(torch.isfinite(g) and g > 0 for g in gradients)
    start = export.restore_model(Bundle(bundle))
    train(folder, tmp_path, start.config, config(2, quantise_prior=True), init=start, log=silent)
    export.export_checkpoint(tmp_path / "last.pt", folder, tmp_path / "again.bundle", "again")


def test_width_and_depth_of_the_codec(folder, tmp_path):
    from aei.cli import train as train_cli
    from click.testing import CliRunner

    options = [
        "--steps",
        "1",
        "--batch",
        "1",
        "--patch",
        "128",
        "--width",
        "64",
        "--depth",
        "2",
        "--threads",
        "1",
    ]
    result = CliRunner().invoke(
        train_cli.command, ["--data", str(folder), "--out", str(tmp_path), *options]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    shape = torch.load(tmp_path / "last.pt", weights_only=True)["network"]
    assert [shape[k] for k in ("width16", "width8", "blocks16", "blocks8")] == [64, 24, 2, 1]


def test_a_network_grows_and_computes_the_same(bundle, folder, tmp_path, run_aei):
    """More blocks start as nothing, learn, and leave a bundle that works."""
    small = export.restore_model(Bundle(bundle))
    shape = replace(small.config, blocks8=2, blocks16=3, prior_blocks=2)
    model = grow.grown(small, shape)
    assert model.config == shape
    x, index = torch.rand(1, 3, 64, 96) - 0.5, torch.tensor([130.0])
    with torch.no_grad():
        for name, tensor in small(x, index, noisy=False).items():
            assert torch.equal(tensor, model(x, index, noisy=False)[name]), name
    for other in (small.config, replace(shape, blocks16=1), replace(shape, width8=64)):
        assert not grow.can_grow(shape, other)
    out = tmp_path / "run"
    result = run_aei("train", "--init-from", bundle, "--data", folder, "--out", out, "--depth", 3,
                     "--steps", 2, "--batch", 2, "--patch", 128, "--threads", 1)  # fmt: skip
    assert result.code == 0, result.err
    state = torch.load(out / "last.pt", weights_only=True)
    assert state["network"]["blocks16"] == 3
    assert state["model"]["g_s.blocks16.2.down.weight"].abs().sum() > 0
    result = run_aei(
        "train", "--init-from", bundle, "--data", folder, "--out", tmp_path / "no", "--width", 64
    )
    assert result.code == 1
    assert "not 64" in result.err


def test_a_network_gets_a_context_of_z_hat_and_computes_the_same(folder, tmp_path):
    without = networks.LatentCodec(
        replace(TINY, hyper_context=0), 0.03 * torch.randn(16, 768), torch.ones(16)
    )
    assert without.hyper_context is None
    model = grow.grown(without, TINY)
    x, index = torch.rand(1, 3, 160, 224) - 0.5, torch.tensor([200.0])
    with torch.no_grad():
        for name, tensor in without(x, index, noisy=False).items():
            assert torch.equal(tensor, model(x, index, noisy=False)[name]), name
    assert not grow.can_grow(TINY, replace(TINY, hyper_context=16))
    train(folder, tmp_path, TINY, config(2), init=model, log=silent)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["model"]["hyper_context.head.weight"].abs().sum() > 0


def test_photographs_held_out_by_seed(folder):
    from aei.codec.training.tasks import make_task

    held = []
    for seed in range(4):
        photos = make_task(config(1, hold_out=0.5, seed=seed), folder).photos
        assert (len(photos.train), len(photos.held_out)) == (2, 2)
        kept = {id(image) for image in photos.train}
        assert {id(image) for image in photos.lossless} == kept
        held.append(tuple(image.tobytes() for image in photos.held_out))
    assert len(set(held)) > 1


def test_processes_share_a_run(folder, tmp_path, monkeypatch):
    """Two of them, started by torchrun: one log, one checkpoint, all pixels counted, weights
    alike."""
    (tmp_path / "tiny.toml").write_text(
        "[network]\n" + "\n".join(f"{k} = {v}" for k, v in asdict(TINY).items() if v != ()), "utf-8"
    )
    script = tmp_path / "run.py"
    script.write_text(
        "import os, sys, torch\n"
        "from pathlib import Path\n"
        "from aei.codec.training.config import TrainConfig, load_toml\n"
        "from aei.codec.training.networks.latent_codec import NetworkConfig\n"
        "from aei.codec.training.train import train\n"
        "here = Path(sys.argv[1])\n"
        "network = NetworkConfig(**load_toml(here / 'tiny.toml')[1])\n"
        "config = TrainConfig(steps=3, batch=4, patch=128, lr=2e-3, warmup=1, threads=1, "
        "graphics=0.0)\n"
        "model = train(Path(sys.argv[2]), here / 'run', network, config)\n"
        "weights = torch.cat([p.flatten() for p in model.parameters()])\n"
        "torch.save(weights, here / f'weights{os.environ[\"RANK\"]}.pt')\n",
        "utf-8",
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "--standalone", str(script), str(tmp_path), str(folder)],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    with (tmp_path / "run" / "steps.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [3]
    assert int(rows[0]["pixels"]) == 3 * 4 * 128 * 128
    first, second = (torch.load(tmp_path / f"weights{rank}.pt") for rank in (0, 1))
    assert torch.equal(first, second)
    monkeypatch.setattr(ranks, "join", lambda device: (0, 2))
    with pytest.raises(ValueError, match="a multiple of the 2 processes"):
        train(folder, tmp_path / "odd", TINY, config(1, batch=3), log=silent)
