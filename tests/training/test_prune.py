"""Structured pruning: which channels go, what the rest become, and that files keep their
meaning."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image
from test_model import check_exchange

torch = pytest.importorskip("torch", reason="needs the [train] extra")
pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")

from aei.codec.models.bundle import Bundle, read_arrays
from aei.codec.training.export import prune as pruning
from aei.codec.training.export.export import restore_model
from aei.codec.training.export.facts import bundle_facts
from aei.codec.training.tasks import check_same_network, network_from_dict

TINY = Path(__file__).parents[1] / "golden" / "tiny.bundle"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos")
    for i in range(4):
        Image.fromarray(synthetic_photo(264, 270, seed=i)).save(path / f"{i}.png")
    return path


def moments(features: np.ndarray, outputs: int) -> pruning.Moments:
    """Of features (N, H)."""
    return pruning.Moments(
        features.mean(0), np.cov(features, rowvar=False, bias=True), np.ones(outputs)
    )


def test_the_first_to_go_costs_least_after_least_squares(monkeypatch):
    monkeypatch.setattr(pruning, "RIDGE", 1e-9)
    rng = np.random.default_rng(1)
    features = rng.normal(size=(500, 7)) @ rng.normal(size=(7, 7))
    down = rng.normal(size=(5, 7))
    order, costs = pruning.removal_order(down, moments(features, 5))
    centred = features - features.mean(0)
    target = centred @ down.T

    def error(kept):
        fitted = np.linalg.lstsq(centred[:, kept], target, rcond=None)[0]
        return np.square(centred[:, kept] @ fitted - target).sum() / len(features)

    alone = [error([j for j in range(7) if j != i]) for i in range(7)]
    assert order[0] == np.argmin(alone)
    assert costs[0] == pytest.approx(min(alone), rel=1e-4)
    assert costs[:3].sum() == pytest.approx(error(sorted(order[3:])), rel=1e-4)
    assert sorted(order) == list(range(7))


def test_channels_that_say_nothing_new_go_free(monkeypatch):
    monkeypatch.setattr(pruning, "RIDGE", 1e-9)
    rng = np.random.default_rng(2)
    model = restore_model(Bundle(TINY))
    block = model.g_s.blocks16[0]
    hidden = block.up.out_channels
    with torch.no_grad():  # every second channel is a copy of its neighbour
        for p in (block.up.weight, block.up.bias):
            p[1::2] = p[::2]
    x = torch.from_numpy(rng.normal(size=(1, block.dw.in_channels, 40, 40))).float()
    seen = []
    block.down.register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    before = block(x)
    rows = seen[0][0].flatten(1).T.detach().double().numpy()
    known = moments(rows, block.down.out_channels)
    order, costs = pruning.removal_order(
        block.down.weight[:, :, 0, 0].detach().double().numpy(), known
    )
    assert costs[: hidden // 2].sum() < 1e-2 * costs[hidden // 2]
    kept = np.sort(order[hidden // 2 :])
    state = {k: v.clone() for k, v in model.state_dict().items()}
    pruning._shrink(state, "g_s.blocks16.0", known, kept)
    from aei.codec.training.networks.latent_codec import Block

    small = Block(block.dw.in_channels, len(kept))
    prefix = "g_s.blocks16.0."
    small.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    )
    change = (small(x) - before).square().mean() / (before - x).square().mean()
    assert change < 1e-4


def test_pruned_bundles(run_aei, folder, tmp_path):
    out = tmp_path / "half.bundle"
    data = ("--data", folder, "--threads", 1)
    result = run_aei("model", "prune", TINY, "--keep", 0.5, "-o", out, *data, "--json")
    assert result.code == 0, result.err
    assert json.loads(result.out)["name"] == "tiny-50"
    check_exchange(TINY, out, 6)  # a tiny network can spare nothing
    old, new = (bundle_facts(Bundle(b)) for b in (TINY, out))
    assert new["network"]["hidden_a"] == new["network"]["hidden_s"]
    for graph in ("g_a", "g_s"):
        widths = new["network"][f"hidden_{graph[-1]}"]
        assert all(n % pruning.GROUP == 0 and 8 <= n <= 24 for n in widths)
        assert new["parts"][graph]["macs_per_pixel"] < old["parts"][graph]["macs_per_pixel"]
        assert new["parts"][graph]["bytes"] < old["parts"][graph]["bytes"]
    for name in ("prior.json", "prior.safetensors", "rows.safetensors", "h_a.onnx"):
        assert (out / name).read_bytes() == (TINY / name).read_bytes()
    again = tmp_path / "int8.bundle"
    assert run_aei("model", "quantize", out, "--to", "int8", "-o", again).code == 0
    check_exchange(out, again, 0.5)
    assert [list(step) for step in Bundle(again).manifest["slimmed"]] == [
        ["from", "kept"],
        ["from", "weights"],
    ]
    restored = restore_model(Bundle(again))
    assert restored.g_s.blocks16[0].up.out_channels == new["network"]["hidden_s"][1]


def test_training_afterwards_leaves_the_prior_alone(run_aei, folder, tmp_path):
    out, run = tmp_path / "tuned.bundle", tmp_path / "run"
    options = ("--keep", 0.7, "--data", folder, "--steps", 2, "--batch", 1, "--threads", 1)
    result = run_aei("model", "prune", TINY, *options, "--run", run, "-o", out)
    assert result.code == 0, result.err
    step = Bundle(out).manifest["slimmed"][-1]
    assert step["tuned_steps"] == 2
    assert step["tuned_pixels"] == 2 * 256**2
    before, after = (read_arrays(b / "prior.safetensors") for b in (TINY, out))
    assert all((before[name] == after[name]).all() for name in before)
    old, new = (restore_model(Bundle(b)).state_dict() for b in (TINY, out))
    changed = {n for n, v in old.items() if v.shape != new[n].shape or not torch.equal(v, new[n])}
    assert {"g_a.klt.weight", "g_s.klt.weight"} < changed  # pruning alone leaves these
    assert {name.split(".")[0] for name in changed} == {"g_a", "g_s"}
    assert not any(name.endswith(".anchors") for name in changed)
    # what `aei train --resume` would leave becomes a bundle by `aei export --keep-prior`
    again = tmp_path / "again.bundle"
    assert run_aei("export", run / "last.pt", "--keep-prior", TINY, "-o", again).code == 0
    assert (again / "g_s.onnx").read_bytes() == (out / "g_s.onnx").read_bytes()
    assert Bundle(again).fingerprint == Bundle(TINY).fingerprint
    options = ("--out", run, "--data", folder, "--resume", "--steps", 3)
    result = run_aei("train", *options)
    assert result.code == 0, result.err
    assert run_aei("export", run / "last.pt", "--keep-prior", TINY, "-o", again, "-f").code == 0
    assert Bundle(again).manifest["slimmed"][-1]["tuned_steps"] == 3
    other = tmp_path / "other.bundle"
    state = torch.load(run / "last.pt", weights_only=True)
    state["ema"]["h_a.stem.bias"] += 1
    torch.save(state, run / "last.pt")
    result = run_aei("export", run / "last.pt", "--keep-prior", TINY, "-o", other)
    assert result.code == 1
    assert "h_a.stem.bias differs" in result.err
    assert not other.exists()


def test_hidden_widths_of_a_network():
    assert network_from_dict("aei", {"hidden_a": [*range(1, 11)]}).hidden_a == (*range(1, 11),)
    assert network_from_dict("aei", {}).hidden_widths(()) == ((192, 192), (512,) * 8)
    for wrong in ([1], [1] * 9 + [0], "six", [1] * 9 + [2.5]):
        with pytest.raises(ValueError, match="hidden_s"):
            network_from_dict("aei", {"hidden_s": wrong})
    has = {"hidden_a": [8] * 10}
    check_same_network("x", "aei", has, "aei", has)
    with pytest.raises(ValueError, match="hidden_a"):
        check_same_network("x", "aei", has, "aei", {"hidden_a": [16] * 10})
