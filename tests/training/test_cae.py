"""The convolutional autoencoder: shapes, knobs, data, and real files from a trained one."""

import csv
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.benchmarks.datasets import load_dataset
from aei.cli import train as train_cli
from aei.codec import AeiError, Codec, UnsupportedError
from aei.codec.models.bundle import Bundle
from aei.codec.training import config, losses, optimisers, study
from aei.codec.training.data import cifar
from aei.codec.training.export import export
from aei.codec.training.networks import cae
from aei.codec.training.optimisers import named_groups
from aei.codec.training.tasks import make_task, network_from_dict
from aei.codec.training.train import train
from click.testing import CliRunner


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cifar")
    images = np.stack([synthetic_photo(32, 32, seed=i) for i in range(120)])
    np.save(path / "train_3000.npy", images[:80])
    np.save(path / "eval_1000.npy", images[80:])
    return path


def settings(**changes) -> config.TrainConfig:
    values = {"arch": "cae", "steps": 40, "batch": 16, "validate_every": 20, "threads": 1}
    return config.TrainConfig(**config.CAE_DEFAULTS | values | changes)


def run(folder, out, network=None, **changes):
    network = network or cae.CaeConfig(width=8, quantise=False)
    model = train(folder, out, network, settings(**changes), log=lambda _: None)
    with (out / "held_out.csv").open() as file:
        return model, [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def bundle(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    run(folder, out, cae.CaeConfig(width=8), steps=400, lr=3e-3, lmbda=0.05)
    export.export_checkpoint(out / "last.pt", folder, out / "cae.bundle", "cae")
    return out / "cae.bundle"


def test_shapes_are_the_texts():
    model = cae.ConvAutoencoder(cae.CaeConfig())
    x = torch.zeros(2, 3, 32, 32)
    sides = []
    for layer in model.g_a:
        x = layer(x)
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            sides.append((x.shape[1], x.shape[2]))
    assert sides == [(32, 30), (32, 15), (64, 13), (64, 6), (128, 4)]
    assert model.g_s(x).shape == (2, 3, 32, 32)


def test_trained_model_codes_real_files(bundle):
    codec = Codec(bundle)
    image = synthetic_photo(32, 32, seed=7)
    data = codec.encode(image)
    assert len(data) < 32 * 32 * 3 / 4
    back = np.asarray(codec.decode(data))
    assert back.shape == image.shape
    assert np.mean((back.astype(float) - image) ** 2) < np.var(image.astype(float))
    (latents,) = codec.latents(data)
    assert latents.y_hat.shape == (4, 4, 32)
    with pytest.raises(UnsupportedError, match="32x32"):
        codec.encode(synthetic_photo(32, 33))


def test_files_of_another_size_are_refused(bundle):
    from aei.formats import pack, parse

    codec = Codec(bundle)
    contents = parse(codec.encode(synthetic_photo(32, 32)))
    forged = replace(contents.header, width=64)
    with pytest.raises(UnsupportedError, match="32x32"):
        codec.decode(pack(forged, [(contents.tile(0), False)]))


def test_integer_prior_is_the_float_one(bundle):
    lost = Bundle(bundle).manifest["integer_prior"]["0"]
    assert abs(lost["lost_percent"]) < 0.5


def test_transfer_starts_from_the_bundle(bundle, folder, tmp_path):
    model = export.restore_model(Bundle(bundle))
    _, rows = run(folder, tmp_path / "a", model.config, steps=1, validate_every=1, lr=1e-9)
    from_scratch = rows[0]["mse"]
    out = tmp_path / "b"
    train(
        folder,
        out,
        model.config,
        settings(steps=1, validate_every=1, lr=1e-9),
        init=model,
        log=lambda _: None,
    )
    with (out / "held_out.csv").open() as file:
        transferred = float(next(csv.DictReader(file))["mse"])
    assert transferred < 0.6 * from_scratch


def test_without_quantisation_there_is_no_codec(folder, tmp_path):
    run(folder, tmp_path, steps=2)
    with pytest.raises(ValueError, match="without quantisation"):
        export.export_checkpoint(tmp_path / "last.pt", folder, tmp_path / "x", "x")


@pytest.mark.parametrize("loss", [*losses.DISTORTIONS, "0.5*mse+0.5*l1"])
def test_each_loss_is_zero_on_equal_images_and_falls_in_training(loss, folder, tmp_path):
    measure = losses.distortion(loss)
    x = torch.from_numpy(synthetic_photo(32, 32)).permute(2, 0, 1)[None] / 255.0 - 0.5
    assert measure(x, x).item() == pytest.approx(0, abs=2e-4)
    assert measure(x * 0.7, x).item() > measure(x * 0.9, x).item() > 0
    # what SSIMULACRA 2 sees of 32 pixels is little: it takes longer steps to show
    _, rows = run(folder, tmp_path, loss=loss, lr=1e-2 if loss == "ssimulacra2" else 3e-3)
    assert rows[-1]["loss"] < rows[0]["loss"]


@pytest.mark.parametrize(
    ("optimiser", "lr"), [("sgd", 1.0), ("adam", 3e-3), ("adamw", 3e-3), ("soap", 3e-3)]
)
def test_each_optimiser_learns(optimiser, lr, folder, tmp_path):
    _, rows = run(folder, tmp_path, optimiser=optimiser, lr=lr)
    assert rows[-1]["mse"] < rows[0]["mse"]


def weights(model) -> torch.Tensor:
    return torch.cat(
        [p.detach().flatten() for p in named_groups(model.requires_grad_())["matrices"]]
    )


def test_the_prior_is_not_regularised():
    model = cae.ConvAutoencoder(cae.CaeConfig(width=8))
    groups = named_groups(model)
    assert {p.shape for p in groups["matrices"]} == {
        m.weight.shape for m in model.modules() if isinstance(m, torch.nn.Conv2d)
    }
    prior = {id(p) for p in (model.log_gain, *model.prior.parameters())}
    assert {id(p) for p in groups["prior"]} == prior
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


@pytest.mark.parametrize("penalty", [{"l1": 1e-3}, {"l2": 0.5}])
def test_regularisation_shrinks_weights(penalty, folder, tmp_path):
    plain, _ = run(folder, tmp_path / "plain", lr=3e-3)
    held, _ = run(folder, tmp_path / "held", lr=3e-3, **penalty)
    assert weights(held).abs().mean() < 0.8 * weights(plain).abs().mean()
    if "l1" in penalty:  # L1 gathers weights at zero
        near = [float((weights(m).abs() < 1e-3).float().mean()) for m in (plain, held)]
        assert near[1] > 2 * near[0]


def test_early_stopping(folder, tmp_path):
    # a step size at which nothing is learnt after the first validation
    _, rows = run(
        folder,
        tmp_path,
        lr=1.0,
        optimiser="sgd",
        clip=1e-12,
        patience=2,
        steps=1000,
        validate_every=2,
    )
    assert len(rows) < 20
    assert (tmp_path / "best.pt").is_file()
    best = torch.load(tmp_path / "best.pt", weights_only=True)
    assert best["best"] == min(row["loss"] for row in rows)


def test_every_image_is_seen_once_an_epoch():
    images = (
        np.arange(10, dtype=np.uint8)[:, None, None, None].repeat(32, 1).repeat(32, 2).repeat(3, 3)
    )
    for epoch in range(2):
        seen = [
            cifar.batch_of(images, 4, 0, 3 * epoch + i, True)[0][:, 0, 0, 0].tolist()
            for i in range(3)
        ]
        assert [len(s) for s in seen] == [4, 4, 2]
        assert sorted(i for batch in seen for i in batch) == list(range(10))


def official(path, seed=0):
    rng = np.random.default_rng(seed)
    arrays = {}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        arrays[name] = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        content = {b"data": arrays[name], b"labels": [0] * 20, b"batch_label": b"x"}
        (path / name).write_bytes(pickle.dumps(content, protocol=2))
    return arrays


def test_official_archive(tmp_path, monkeypatch):
    home = tmp_path / "cifar10"
    inner = home / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    arrays = official(inner)
    with tarfile.open(home / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(inner, "cifar-10-batches-py")
    unpacked = cifar.load_cifar(home)
    for path in inner.iterdir():
        path.unlink()
    packed = cifar.load_cifar(home)
    for loaded in (unpacked, packed):
        assert loaded.train.shape == (100, 32, 32, 3)
        assert (
            loaded.held_out[3, 4, 5].tolist()
            == arrays["test_batch"][3].reshape(3, 32, 32)[:, 4, 5].tolist()
        )
        assert "test split" in loaded.source
    monkeypatch.setenv("AEI_DATA", str(tmp_path))
    np.testing.assert_array_equal(load_dataset("cifar10").array, packed.held_out)


def test_truncated_archive_is_named(tmp_path):
    inner = tmp_path / "cifar-10-batches-py"
    inner.mkdir()
    official(inner)
    packed = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        archive.add(inner, "cifar-10-batches-py")
    for path in inner.iterdir():
        path.unlink()
    whole = packed.read_bytes()
    for size in (100, len(whole) // 2, len(whole) - 40_000):
        packed.write_bytes(whole[:size])
        with pytest.raises(cifar.CifarMissingError, match=r"tar\.gz.*again"):
            cifar.load_cifar(tmp_path)
    packed.write_bytes(b"nothing of the kind")
    with pytest.raises(cifar.CifarMissingError, match="again"):
        cifar.load_cifar(tmp_path)


def test_archives_cannot_run_code(tmp_path):
    official(tmp_path)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(print))
    with pytest.raises(cifar.CifarMissingError, match="no place"):
        cifar.load_cifar(tmp_path)


def test_missing_data_says_what_to_do(tmp_path):
    with pytest.raises(cifar.CifarMissingError, match="cifar-10-python"):
        cifar.load_cifar(tmp_path)


def test_any_folder_of_images_will_do(tmp_path):
    for i in range(12):
        side = 32 if i < 6 else 200
        Image.fromarray(synthetic_photo(side, side + 3, seed=i)).save(tmp_path / f"{i}.png")
    Image.new("RGB", (20, 90)).save(tmp_path / "narrow.png")
    first, again, other = (cifar.load_images(tmp_path, seed) for seed in (0, 0, 1))
    assert first.train.shape[1:] == (32, 32, 3)
    assert len(first.train) + len(first.held_out) == 6 + 6 * cifar.TILES
    np.testing.assert_array_equal(first.held_out, again.held_out)
    assert first.held_out.shape != other.held_out.shape or (first.held_out != other.held_out).any()
    seen = {tile.tobytes() for tile in first.train}
    assert not any(tile.tobytes() in seen for tile in first.held_out)
    small = np.asarray(Image.open(tmp_path / "0.png"))[:32, :32]
    assert small.tobytes() in seen | {tile.tobytes() for tile in first.held_out}


def test_validation_split_by_seed(folder):
    every = {tile.tobytes() for tile in cifar.load_cifar(folder).train}
    held = []
    for seed in (0, 1):
        images = make_task(settings(hold_out=0.25, seed=seed), folder).images
        assert (len(images.train), len(images.held_out)) == (60, 20)
        held.append({tile.tobytes() for tile in images.held_out})
        assert held[-1] | {tile.tobytes() for tile in images.train} == every
    assert held[0] != held[1]


@pytest.mark.parametrize(
    ("arch", "values", "word"),
    [
        ("cae", {"width": 0}, "width"),
        ("cae", {"depth": -1}, "depth"),
        ("cae", {"heads": 8}, "heads"),
        ("cae", {"quantise": 1}, "quantise"),
        ("aei", {"width16": "wide"}, "width16"),
        ("aei", {"latents": 30}, "latents"),
        ("aei", {"quantise": False}, "quantise"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(arch, values, word):
    with pytest.raises(ValueError, match=word):
        network_from_dict(arch, values)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"lmbda": 0}, "lmbda"),
        ({"hold_out": 1.0}, "hold_out"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"loss": "mse+huber"}, "huber"),
        ({"loss": "-1*mse"}, "loss"),
        ({"lr": 0}, "lr"),
        ({"lr": 7}, "lr"),
        ({"batch": 0}, "batch"),
        ({"patience": -1}, "patience"),
        ({"optimiser": "lion"}, "lion"),
        ({"arch": "aei", "loss": "bce"}, "sigmoid"),
        ({"arch": "aei", "patch": 100}, "patch"),
        ({"quantise_prior": True}, "table"),
        ({"arch": "aei", "optimiser": "adam", "lr": 0.5}, "diverge"),
    ],
)
def test_nonsense_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        config.check(settings(**changes))


def test_toml_config_with_overrides(folder, tmp_path):
    toml = tmp_path / "c.toml"
    toml.write_text('[train]\narch = "cae"\nlr = 0.002\nloss = "l1"\n[network]\nwidth = 8\n')
    args = ["--data", str(folder), "--out", str(tmp_path / "run"), "--config", str(toml)]
    result = CliRunner().invoke(
        train_cli.command, [*args, "--epochs", "1", "--batch", "40", "--loss", "mse"]
    )
    assert result.exit_code == 0, (result.output, result.exception)
    used, shape = config.load_toml(tmp_path / "run" / "config.toml")
    assert (used["lr"], used["loss"], used["batch"], used["steps"]) == (0.002, "mse", 40, 2)
    assert shape == {"width": 8, "depth": 0, "quantise": True}
    for text, word in [
        ("[train]\nlearning_rate = 1", "learning_rate"),
        ("lr = 1", "tables"),
        ("[train]\nlr = 'high'", "float"),
        ("[train]\nbf16 = 1", "bool"),
    ]:
        toml.write_text(text)
        with pytest.raises(ValueError, match=word):
            config.load_toml(toml)


def test_weights_fit_their_own_network_only(bundle, folder, tmp_path):
    def train_with(*options):
        arguments = ["--data", str(folder), "--steps", "1", "--threads", "1", *map(str, options)]
        return CliRunner().invoke(train_cli.command, arguments)

    out = tmp_path / "run"
    start = ["--init-from", bundle, "--out", out]
    for wrong, word in [
        (["--width", 16], "width 8, not 16"),
        (["--depth", 1], "depth 0, not 1"),
        (["--no-quantise"], "quantise"),
        (["--arch", "aei"], "arch cae"),
    ]:
        result = train_with(*start, *wrong)
        assert isinstance(result.exception, AeiError), result.exception
        assert word in str(result.exception)
        assert not out.exists()
    toml = tmp_path / "c.toml"
    toml.write_text("[network]\nwidth = 16\n")
    assert "width" in str(train_with(*start, "--config", toml).exception)
    # what agrees is no mistake, and the bundle says which architecture it is
    result = train_with(*start, "--width", 8)
    assert result.exit_code == 0, (result.output, result.exception)
    result = train_with("--out", out, "--resume", "--width", 16)
    assert "width 8, not 16" in str(result.exception)
    assert train_with("--out", out, "--resume", "--steps", 2).exit_code == 0


@pytest.mark.parametrize(("optimiser", "quantise"), [("adam", True), ("soap", False)])
def test_checkpoints_from_before_the_prior_was_a_group(
    optimiser, quantise, folder, tmp_path, monkeypatch
):
    def old_groups(model):
        ps = list(model.parameters())
        return {"matrices": [p for p in ps if p.dim() > 1], "rows": [p for p in ps if p.dim() == 1]}

    network = cae.CaeConfig(width=8, quantise=quantise)
    with monkeypatch.context() as patch:
        patch.setattr(optimisers, "named_groups", old_groups)
        run(folder, tmp_path, network, steps=3, optimiser=optimiser)
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert len(kept["optimiser"]["param_groups"]) == 2
    model = cae.ConvAutoencoder(network)
    fresh = optimisers.make_optimiser(model, settings(optimiser=optimiser))
    optimisers.load_state(fresh, model, kept["optimiser"])
    state = fresh.state[model.g_a[0].weight]["exp_avg"]  # second of all matrices, after log_gain
    torch.testing.assert_close(state, kept["optimiser"]["state"][1]["exp_avg"])
    changes = {"steps": 6, "optimiser": optimiser}
    train(folder, tmp_path, network, settings(**changes), resume=True, log=lambda _: None)
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 6


def test_tensorboard_has_the_same_numbers(folder, tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    network = cae.CaeConfig(width=8, quantise=False)
    train(folder, tmp_path, network, settings(), tensorboard=True, log=lambda _: None)
    events = EventAccumulator(str(tmp_path)).Reload()
    with (tmp_path / "held_out.csv").open() as file:
        rows = list(csv.DictReader(file))
    logged = events.Scalars("held_out/mse")
    assert [e.step for e in logged] == [int(row["step"]) for row in rows] == [20, 40]
    assert [e.value for e in logged] == pytest.approx([float(row["mse"]) for row in rows])


def test_a_model_of_one_quality_is_one_point(bundle):
    from aei.benchmarks.codecs.aei import aei_codec

    codec = aei_codec(str(bundle))
    assert (codec.name, len(codec.qualities)) == ("aei (cae)", 1)
    assert aei_codec().name == "aei"


def test_study_runs_and_resumes(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SEEDS", (1,))
    monkeypatch.setattr(study, "LOSSES", ("mse", "l1"))
    monkeypatch.setattr(study, "RATES", {"sgd": (0.1,)})
    monkeypatch.setattr(study, "BATCHES", (40,))
    monkeypatch.setattr(study, "PENALTIES", (("l2", 1e-3),))
    first = study.study(folder, 80, tmp_path, 1, 0, 1, log=lambda _: None)
    assert [row["factor"] for row in first] == [
        "text",
        "chance",
        "loss",
        "optimiser",
        "batch",
        "regularisation",
    ]
    assert study.study(folder, 80, tmp_path, 1, 0, 1, log=lambda _: None) == first
    assert [row["seed"] for row in first] == [0, 1, 0, 0, 0, 0]
    assert first[0]["change_percent"] == 0
    assert first[1]["held_out_mse"] != first[0]["held_out_mse"]
    with pytest.raises(ValueError, match="another study"):
        study.study(folder, 80, tmp_path, 2, 0, 1, log=lambda _: None)
    lines = study.summary(first)
    assert [line.split()[0] for line in lines] == [row["factor"] for row in first[1:]]
    assert f"{first[2]['change_percent']:+.1f} %" in lines[1]
    from aei.benchmarks.plots import plot_run, plot_study

    plot_study(first, tmp_path / "study.png")
    plot_run(tmp_path / "00", tmp_path / "run.png")
    assert Image.open(tmp_path / "study.png").width > 400
    assert Image.open(tmp_path / "run.png").width > 400
