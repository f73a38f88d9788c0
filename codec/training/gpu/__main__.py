"""`python -m aei.codec.training.gpu`: train on one CUDA GPU for a given time."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.argument("photos", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--out", required=True, type=PATH, help="Folder for last.pt and steps.csv.")
@click.option(
    "--seconds",
    required=True,
    type=float,
    help="How long to train; the learning rate falls to nothing by then.",
)
@click.option(
    "--init-from",
    metavar="BUNDLE|CHECKPOINT",
    help="Start from these weights, `shipped` being the package's own; without it from nothing.",
)
@click.option(
    "--blocks16",
    type=int,
    help="Blocks at 1/16 in each transform; more than --init-from has make it deeper.",
)
@click.option("--blocks8", type=int, help="Blocks at 1/8.")
@click.option("--blocks2", type=int, help="Blocks at half the resolution, at the end of g_s.")
@click.option("--batch", type=int, default=96, help="Crops of 256x256 a step.")
@click.option("--lr", type=float, default=5e-3, help="Peak learning rate.")
@click.option(
    "--graphics", type=float, default=0.05, help="Share of the crops that is synthetic graphics."
)
@click.option("--seed", type=int, default=0, help="Seed of everything random.")
def command(
    photos, out, seconds, init_from, blocks16, blocks8, blocks2, batch, lr, graphics, seed
) -> None:
    """Train the codec on a folder of photographs, every 50th of them held out.

    \b
    Examples:
      python -m aei.codec.training.gpu photos/ --out run/ --seconds 3600
      python -m aei.codec.training.gpu photos/ --out run/ --seconds 370 --init-from shipped
      aei export run/last.pt --data photos/ -o my.bundle
    """
    import torch

    from ...models.bundle import Bundle, default_bundle
    from ..data.photographs import load_photographs
    from ..export.export import restore_model
    from ..networks.grow import deepened
    from ..networks.klt import klt_basis
    from ..networks.latent_codec import LatentCodec, NetworkConfig
    from ..tasks import NEW_NETWORKS
    from .loop import Settings, of_checkpoint, train

    if not torch.cuda.is_available():
        raise click.ClickException("no CUDA GPU here; `aei train` trains on processors")
    images = load_photographs(photos)
    asked = {"blocks16": blocks16, "blocks8": blocks8, "blocks2": blocks2}
    depths = {name: blocks for name, blocks in asked.items() if blocks is not None}
    settings = Settings(seconds=seconds, batch=batch, lr=lr, graphics=graphics, seed=seed)
    before: dict = {}
    try:
        if init_from is None:
            network = NetworkConfig(**NEW_NETWORKS["aei"] | depths)
            torch.manual_seed(seed)
            model = LatentCodec(network, *klt_basis(images.train, network.latents))
        elif init_from.endswith(".pt"):
            model, before = of_checkpoint(Path(init_from), depths)
        else:
            bundle = default_bundle() if init_from == "shipped" else Bundle(init_from)
            restored = restore_model(bundle)
            assert isinstance(restored, LatentCodec)
            model = deepened(restored, depths)
        train(images, out, model, settings, before=before, log=click.echo)
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None


if __name__ == "__main__":
    command(prog_name="python -m aei.codec.training.gpu")
