"""Checkpoints of strangers."""

import os
import pickle

import pytest

torch = pytest.importorskip("torch")
from aei.codec.models.bundle import default_bundle
from aei.codec.training.checkpoints import load_checkpoint, save_checkpoint


class Evil:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("command", ["export", "export --keep-prior", "train --resume", "gpu"])
def test_a_crafted_checkpoint_runs_nothing(run_aei, tmp_path, command):
    proof, run = tmp_path / "proof", tmp_path / "run"
    run.mkdir()
    path = run / "last.pt"
    torch.save({"arch": "aei", "network": Evil(proof)}, path)
    if command == "gpu":
        loop = pytest.importorskip("aei.codec.training.gpu.loop")
        with pytest.raises(ValueError, match="run a stranger's code"):
            loop.of_checkpoint(path, {})
    else:
        arguments = {
            "export": ["export", path, "-o", tmp_path / "out"],
            "export --keep-prior": ["export", path, "--keep-prior", default_bundle().path, "-o",
                                    tmp_path / "out"],
            "train --resume": ["train", "--data", tmp_path, "--out", run, "--resume"],
        }[command]  # fmt: skip
        done = run_aei(*arguments)
        assert done.code == 1
        assert "stranger's code" in done.err
        assert done.err.count("\n") == 1
    assert not proof.exists()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no archive", b"text", pickle.dumps([1, 2]), pickle.dumps({})]
)
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no checkpoint"):
        load_checkpoint(path)


def test_there_and_back(tmp_path):
    state = {"network": {"latents": 12}, "model": {"w": torch.ones(3)}, "optimiser": None}
    save_checkpoint(state, tmp_path / "last.pt")
    back = load_checkpoint(tmp_path / "last.pt", mmap=True)
    assert torch.equal(back.pop("model")["w"], state.pop("model")["w"])
    assert back == state
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
