"""`aei study`."""

from __future__ import annotations

from pathlib import Path

import click

from . import output
from .train import data_folder


@click.command("study")
@click.option(
    "--data",
    default="cifar10",
    show_default=True,
    help="CIFAR-10: a folder, or cifar10 for $AEI_DATA/cifar10.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the runs, the table and the plot.",
)
@click.option(
    "--epochs", default=5, show_default=True, help="Passes over the training images per run."
)
@click.option(
    "--width",
    default=32,
    show_default=True,
    help="Channels of the first layer; 32 are the text's, 16 are faster.",
)
@click.option("--seed", default=0, show_default=True)
@click.option("--threads", default=2, show_default=True)
def command(data: str, out: Path, epochs: int, width: int, seed: int, threads: int) -> None:
    """Measure which training choices matter for the convolutional autoencoder, and by how much.

    Changes loss, optimiser and learning rate, batch size and regularisation one at a time (and the
    seed, to show what is chance), and writes study.csv and study.png. A stopped study goes on where
    it was.

    \b
    Example:
      aei study --out study/
    """
    from ..benchmarks.plots import plot_study
    from ..codec.training.data.cifar import load_images
    from ..codec.training.study import study, summary
    from ..formats import AeiError

    folder = data_folder(data)
    count = len(load_images(folder, seed).train)
    try:
        rows = study(folder, count, out, epochs, seed, threads, width, log=output.say)
    except ValueError as error:
        raise AeiError(str(error)) from None
    plot_study(rows, out / "study.png")
    output.say("held-out MSE against the text's setting, by what was changed:")
    for line in summary(rows):
        output.say(line)
    output.emit(table=str(out / "study.csv"), plot=str(out / "study.png"))
    output.say(f"wrote {out / 'study.csv'} and {out / 'study.png'}")
