"""Training a restoring network in front of a frozen model, and its bundle: tiny, a few steps."""

import numpy as np
import pytest
from aei.codec.restore.restorers import ENHANCING, RESTORING, Restorer, statistics
from conftest import synthetic_photo
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.codec.models.bundle import Bundle
from aei.codec.pixels.images import Picture, to_network
from aei.codec.training.config import TrainConfig, check
from aei.codec.training.data.degrade import DEGRADATIONS, add_noise
from aei.codec.training.export import export, restorer_bundle
from aei.codec.training.networks import restorer
from aei.codec.training.restore_task import RestoreTask
from aei.codec.training.tasks import model_from_state, network_from_dict
from golden_files import GOLDEN

TINY = GOLDEN / "tiny.bundle"


def tiny_codec():
    return export.restore_model(Bundle(TINY))


def tiny_network(kind: str):
    return network_from_dict(
        "restore",
        {
            **vars(restorer.config_of(tiny_codec().config, kind)),
            "restorer_width": 8,
            "restorer_depth": 1,
        },
    )


def unsettled(model):
    """A network that does something, as after training."""
    with torch.no_grad():
        for layer in (model.net.scale, model.net.shift):
            layer.weight.normal_(0, 0.05, generator=torch.Generator().manual_seed(1))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(4):
        Image.fromarray(synthetic_photo(160, 200, seed=i)).save(path / f"{i}.png")
    return path


def test_kinds_and_degradations_are_the_same():
    assert set(DEGRADATIONS) == {*RESTORING, *ENHANCING}


@pytest.mark.parametrize("kind", ["denoise", "low-light"])
def test_training_starts_from_the_plain_codec(kind):
    codec = tiny_codec()
    model = restorer.RestoringCodec(tiny_network(kind), codec)
    x = torch.from_numpy(to_network(synthetic_photo(64, 64), 16))
    index = torch.tensor([120.0])
    with torch.no_grad():
        ours, plain = model(x, index, noisy=False), codec(x, index, noisy=False)
    assert torch.equal(ours["restored"], x)
    assert torch.equal(ours["x_hat"], plain["x_hat"])


@pytest.mark.parametrize("kind", ["denoise", "haze"])
def test_bundle_computes_what_was_trained(kind, tmp_path):
    model = unsettled(restorer.RestoringCodec(tiny_network(kind), tiny_codec()))
    state = {"config": {"restore": kind, "coder": "00"}, "step": 1, "pixels": 2, "hours": 3.0}
    manifest = restorer_bundle.export_restorer(model, tmp_path / "x.bundle", kind, state)
    loaded = Restorer(tmp_path / "x.bundle", threads=1)
    assert (loaded.kind, loaded.margin) == (kind, manifest["margin"])
    picture = Picture(synthetic_photo(80, 96, seed=4))
    x = to_network(np.asarray(picture.source), 16)
    seen = statistics(picture)
    with torch.no_grad():
        expected = model.net(torch.from_numpy(x), torch.from_numpy(seen))[0].permute(1, 2, 0)
    assert np.abs(expected.numpy() - x[0].transpose(1, 2, 0)).max() > 0.01
    np.testing.assert_allclose(loaded.run(x, seen), expected.numpy(), atol=2e-3)


def test_a_run_may_start_from_a_restoring_bundle_of_another_kind(tmp_path):
    model = unsettled(restorer.RestoringCodec(tiny_network("denoise"), tiny_codec()))
    state = {"config": {"restore": "denoise", "coder": "00"}, "step": 1, "pixels": 2, "hours": 3.0}
    restorer_bundle.export_restorer(model, tmp_path / "x.bundle", "denoise", state)
    for kind in ("deblur", "haze"):
        other = restorer.Restorer(tiny_network(kind))
        look = {k: v.clone() for k, v in other.state_dict().items() if k.startswith("look")}
        restorer_bundle.start_from(other, tmp_path / "x.bundle")
        for name, tensor in other.state_dict().items():
            expected = look[name] if name in look else model.net.state_dict()[name]
            wrong = (tensor - expected).square().mean().sqrt()  # of int8
            assert wrong <= 0.01 * expected.abs().max(), name
    with pytest.raises(ValueError, match="not a restoring bundle"):
        restorer_bundle.start_from(other, tmp_path)


def test_cosine_basis_is_orthonormal_and_separates_brightness():
    basis = restorer.cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(48), atol=1e-6, rtol=0)
    grey = torch.nn.functional.pixel_unshuffle(torch.full((1, 3, 4, 4), 0.3), 4).flatten()
    seen = basis @ grey
    assert seen[0] == pytest.approx(0.3 * 48**0.5)
    assert seen[1:].abs().max() < 1e-6


def test_statistics_in_training_and_at_run_time_agree():
    image = synthetic_photo(128, 128, seed=2)
    seen = statistics(Picture(image[:: restorer.SAMPLE, :: restorer.SAMPLE].copy()))
    trained = restorer.statistics_of(torch.from_numpy(to_network(image, 16)))
    np.testing.assert_allclose(seen, trained.numpy(), atol=1e-6)


def test_run_from_the_command_line_to_a_bundle(folder, tmp_path, run_aei):
    """Train, resume, export; only the restoring network moves."""
    out = tmp_path / "run"
    options = ["--batch", 2, "--patch", 128, "--threads", 1, "--width", 8, "--depth", 1,
               "--warmup", 1, "--no-bf16"]  # fmt: skip
    result = run_aei("train", "--restore", "denoise", "--init-from", TINY, "--data", folder,
                     "--out", out, "--steps", 2, *options)  # fmt: skip
    assert result.code == 0, result.err
    result = run_aei("train", "--resume", "--data", folder, "--out", out, "--steps", 4)
    assert result.code == 0, result.err
    assert "held-out loss" in result.out
    state = torch.load(out / "last.pt", weights_only=True)
    assert state["config"]["coder"] == Bundle(TINY).fingerprint.hex()
    for name, value in tiny_codec().state_dict().items():
        torch.testing.assert_close(state["model"][f"codec.{name}"], value, rtol=0, atol=0)
    assert state["model"]["net.scale.weight"].abs().sum() > 0
    result = run_aei("export", out / "last.pt", "-o", tmp_path / "denoise.bundle")
    assert result.code == 0, result.err
    assert "restores by denoise" in result.out
    assert Restorer(tmp_path / "denoise.bundle").kind == "denoise"
    arguments = [
        "train",
        "--restore",
        "deblur",
        "--init-from",
        TINY,
        "--data",
        folder,
        "--out",
        tmp_path / "two",
        "--steps",
        1,
        *options[:6],
        "--warmup",
        1,
        "--no-bf16",
        "--restorer-from",
        tmp_path / "denoise.bundle",
    ]
    result = run_aei(*arguments)
    assert result.code == 1
    assert "another --width" in result.err
    result = run_aei(*arguments, "--width", 8, "--depth", 1)
    assert result.code == 0, result.err


def test_it_learns_to_take_noise_away(folder):
    torch.manual_seed(0)
    config = TrainConfig(arch="restore", restore="denoise", batch=2, patch=128, graphics=0.0)
    from aei.codec.training.data.photographs import load_photographs

    task = RestoreTask(config, load_photographs(folder))
    model = restorer.RestoringCodec(tiny_network("denoise"), tiny_codec())
    optimiser = torch.optim.Adam(model.net.parameters(), 3e-3)
    before, _ = task.validate(model)
    for step in range(30):
        spoilt, _, clean = (t.float() for t in task.batch(step))
        loss = (model.restore(spoilt / 255 - 0.5) - clean / 255 + 0.5).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    after, text = task.validate(model)
    assert after["psnr"] > before["psnr"] + 0.3, text
    assert after["loss"] < before["loss"]


def test_batches_are_pairs_and_repeat(folder):
    from aei.codec.training.data.photographs import load_photographs

    config = TrainConfig(arch="restore", restore="denoise", batch=3, patch=128)
    tasks = [RestoreTask(config, load_photographs(folder)) for _ in range(2)]
    (a, index, clean), (b, _, _) = (task.batch(5) for task in tasks)
    assert torch.equal(a, b)
    assert a.shape == clean.shape == (3, 3, 128, 128)
    assert index.shape == (3,)
    assert not torch.equal(a, clean)


def test_settings_that_cannot_be_meant(tmp_path, run_aei, folder):
    for changes, word in [
        ({"arch": "restore"}, "choose denoise"),
        ({"arch": "restore", "restore": "dust"}, "dust"),
        ({"restore": "denoise"}, "only --arch restore"),
        ({"arch": "restore", "restore": "haze", "quantise_prior": True}, "frozen"),
        ({"image_steps": 2.0}, "share"),
        ({"arch": "restore", "restore": "haze", "lmbda": 0.01}, "every quality"),
    ]:
        with pytest.raises(ValueError, match=word):
            check(TrainConfig(**changes))
    result = run_aei("train", "--restore", "denoise", "--data", folder, "--out", tmp_path / "r")
    assert result.code == 2
    assert "--init-from" in result.err
    result = run_aei(
        "train", "--restore", "dust", "--init-from", TINY, "--data", folder, "--out", tmp_path / "r"
    )
    assert result.code == 1
    assert "denoise" in result.err
    assert "Traceback" not in result.err


def test_a_checkpoint_holds_all_that_a_run_needs():
    model = unsettled(restorer.RestoringCodec(tiny_network("colour"), tiny_codec()))
    again = model_from_state(model.config, model.state_dict())
    x = torch.from_numpy(
        to_network(add_noise(synthetic_photo(64, 64), 9, np.random.default_rng(0)), 16)
    )
    with torch.no_grad():
        a, b = (m(x, torch.tensor([100.0]), noisy=False) for m in (model, again))
    assert torch.equal(a["x_hat"], b["x_hat"])
    assert not any(p.requires_grad for p in again.codec.parameters())
