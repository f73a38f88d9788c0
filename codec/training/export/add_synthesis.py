"""Give a bundle that has none an integer synthesis, or make it anew:
`python -m aei.codec.training.add_synthesis`.

The prior stays, and with it the fingerprint: files that were written with the bundle go on
decoding, to the pixels of the integers from then on.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from PIL import Image

from ...models.bundle import Bundle
from ..data.photographs import list_images
from ..networks.latent_codec import LatentCodec
from ..validate import crop_to
from .graphs import synthesis_graph
from .slim import refuse_cae, write_like
from .synthesis import write_synthesis

IMAGES, SIDE = 13, 384


def add_synthesis(
    bundle: Bundle, out: Path, images: list[np.ndarray], int8: bool, share: bool = False
) -> dict:
    """Write a copy of a bundle with an integer synthesis; return its manifest.

    images: uint8 (H, W, 3), sides multiples of 16, to calibrate on. int8: store g_s, which only
    encoders that refine latents still run, with weights of 8 bits; share: with those of the
    synthesis, in no room of its own. Raises UnsupportedError for the cae.
    """
    import tempfile

    import onnx

    from .export import restore_model
    from .weights import store

    refuse_cae(bundle)
    model = restore_model(bundle)
    assert isinstance(model, LatentCodec)
    with tempfile.TemporaryDirectory() as temporary:
        graph = (
            synthesis_graph({k: v.numpy() for k, v in model.state_dict().items()})
            if share
            else None
        )
        facts = write_synthesis(Path(temporary), model, images, bundle.rows, graph)
        graphs = {}
        if int8:
            graphs["g_s"] = store(onnx.load(bundle.path / "g_s.onnx"), "int8")
        return write_like(
            bundle, out, graphs, bundle.name, None, more=Path(temporary), synthesis=facts
        )


@click.command("add_synthesis")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True,
              help="Photographs to calibrate on.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--share", is_flag=True, help="Let g_s, for refinement alone, read the integers.")
@click.option("--int8", is_flag=True, help="Store g_s, for refinement alone, in 8 bits.")
@click.option("--threads", type=int, default=1, show_default=True)
def main(bundle: Path, data: Path, output: Path, int8: bool, share: bool, threads: int) -> None:
    """Write a copy of BUNDLE with an integer synthesis."""
    import torch

    torch.set_num_threads(threads)
    files = list_images(data)
    images = []
    for path in files[len(files) // 42 :: max(1, len(files) // IMAGES)][:IMAGES]:
        with Image.open(path) as image:
            images.append(crop_to(np.array(image.convert("RGB")), 32, SIDE))
    manifest = add_synthesis(Bundle(bundle), output, images, int8, share)
    for index, found in manifest["synthesis"]["psnr"].items():
        click.echo(f"gain index {index}: {found['float_db']} dB, integers lose {found['lost_db']}")


if __name__ == "__main__":
    main()
