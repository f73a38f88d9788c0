"""Make the tiny restoring bundles of the tests (needs the [train] extra): python
tests/restorers/make.py

Trained for a few seconds on synthetic pictures: they do a little of what they are for, enough to
test with.
"""

import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "helpers")]

from aei.codec.models.bundle import Bundle
from aei.codec.training.data.degrade import add_noise, darken
from aei.codec.training.export import export, restorer_bundle
from aei.codec.training.networks import restorer
from aei.codec.training.tasks import network_from_dict
from conftest import synthetic_photo
from golden_files import GOLDEN

STEPS, BATCH, SIDE, WIDTH = 400, 4, 64, 12


def tensor(images):
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float() / 255 - 0.5


def make(kind: str, spoil) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    bundle = Bundle(GOLDEN / "tiny.bundle")
    codec = export.restore_model(bundle)
    config = vars(restorer.config_of(codec.config, kind))
    network = network_from_dict("restore", {**config, "restorer_width": WIDTH, "restorer_depth": 1})
    model = restorer.RestoringCodec(network, codec)
    optimiser = torch.optim.Adam(model.net.parameters(), 4e-3)
    for step in range(STEPS):
        clean = [synthetic_photo(SIDE, SIDE, seed=1000 + step * BATCH + i) for i in range(BATCH)]
        spoilt = [spoil(image, rng) for image in clean]
        for group in optimiser.param_groups:
            group["lr"] = 6e-3 * min(1, (step + 1) / 10, 2 * (1 - step / STEPS))
        loss = (model.restore(tensor(spoilt)) - tensor(clean)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.net.parameters(), 1.0)
        optimiser.step()
        if step % 50 == 0:
            print(kind, step, f"{-10 * np.log10(loss.item()):.2f} dB")
    facts = {"config": {"restore": kind, "coder": bundle.fingerprint.hex()}, "step": STEPS,
             "pixels": STEPS * BATCH * SIDE**2, "hours": 0.0}  # fmt: skip
    restorer_bundle.export_restorer(model, HERE / f"{kind}.bundle", f"tiny {kind}", facts)


if __name__ == "__main__":
    make("denoise", lambda image, rng: add_noise(image, 30, rng))
    make("low-light", lambda image, rng: darken(image, rng.uniform(0.2, 0.5), 1.2, 2, rng))
