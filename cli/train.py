"""`aei train`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("train")
@click.option("--data", required=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Folder of photographs; every 50th is held out.")  # fmt: skip
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the checkpoint and the log.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
@click.option("--init-from", metavar="BUNDLE", type=click.Path(exists=True, path_type=Path),
              help="Start from the weights of a bundle.")  # fmt: skip
@click.option(
    "--steps",
    default=10_000,
    show_default=True,
    help="Steps in all; a longer run extends a shorter one.",
)
@click.option("--batch", default=16, show_default=True, help="Crops per step.")
@click.option("--patch", default=256, show_default=True, help="Side of a crop; a multiple of 128.")
@click.option(
    "--optimiser", default="soap", show_default=True, type=click.Choice(["soap", "adamw"])
)
@click.option("--lr", default=4e-3, show_default=True, help="Peak learning rate.")
@click.option(
    "--decay", default=0.3, show_default=True, help="Share of the steps in which the rate falls."
)
@click.option("--warmup", default=200, show_default=True, help="Steps in which the rate rises.")
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option(
    "--validate-every", default=1000, show_default=True, help="Steps between held-out BD-rates."
)
def command(data: Path, out: Path, resume: bool, init_from: Path | None, **options) -> None:
    """Train the codec on a folder of photographs. Stops cleanly on Ctrl-C; --resume goes on exactly.

    \b
    Examples:
      aei train --data photos/ --out run/
      aei train --data photos/ --out run/ --resume --steps 20000
      aei train --data photos/ --out run/ --init-from my.bundle --lr 1e-3
    """
    from ..formats import AeiError, UnsupportedError

    if resume and init_from:
        raise click.UsageError(
            "--resume goes on from --out, --init-from starts anew: give one of them"
        )
    if options["patch"] % 128:
        raise click.UsageError("--patch must be a multiple of 128")
    if resume and not (out / "last.pt").is_file():
        raise AeiError(f"{out}/last.pt: no checkpoint to resume from")
    if not resume and (out / "last.pt").exists():
        raise AeiError(f"{out}/last.pt exists: use --resume to go on, or another --out")
    from ..codec.training.networks import NetworkConfig
    from ..codec.training.train import TrainConfig, train

    init = None
    if init_from is not None:
        from ..codec.bundle import Bundle
        from ..codec.training.export import restore_model

        init = restore_model(Bundle(init_from))
    try:
        train(
            data, out, NetworkConfig() if init is None else init.config, TrainConfig(**options),
            resume=resume, init=init, log=click.echo,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise UnsupportedError(str(error)) from None
