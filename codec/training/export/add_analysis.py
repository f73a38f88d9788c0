"""Give a bundle that has none an integer analysis, or make it anew:
`python -m aei.codec.training.export.add_analysis`.

Prior and synthesis stay: files mean what they meant. The float graphs of g_a and h_a go, whose
weights the integers hold.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np
from PIL import Image
from safetensors.numpy import save

from ...models.bundle import Bundle, read_arrays
from ..data.photographs import list_images
from ..networks.latent_codec import LatentCodec
from ..validate import crop_to
from .analysis import write_analysis
from .slim import refuse_cae, write_like

IMAGES, SIDE = 13, 384


def add_analysis(
    bundle: Bundle, out: Path, images: list[np.ndarray], keep_float: bool = False
) -> dict:
    """Write a copy of a bundle with an integer analysis; return its manifest.

    images: uint8 (H, W, 3), sides multiples of 32, to calibrate on. keep_float: the graphs of g_a
    and h_a, too. Raises UnsupportedError for the cae.
    """
    from .export import restore_model

    refuse_cae(bundle)
    model = restore_model(bundle)
    assert isinstance(model, LatentCodec)
    model.rounding = bundle.manifest.get("rounding_bits")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rest = read_arrays(bundle.path / "training.safetensors")
        rest["g_a.scale"] = model.g_a.scale.numpy()
        (folder / "training.safetensors").write_bytes(
            save({name: np.ascontiguousarray(a) for name, a in rest.items()})
        )
        facts = write_analysis(folder, model, images, bundle.prior, bundle.synthesis)
        without = () if keep_float else ("g_a.onnx", "h_a.onnx")
        return write_like(
            bundle, out, {}, bundle.name, None, more=folder, without=without, analysis=facts
        )


@click.command("add_analysis")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True,
              help="Photographs to calibrate on.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--keep-float", is_flag=True, help="Keep the float graphs of g_a and h_a.")
def main(bundle: Path, data: Path, output: Path, keep_float: bool) -> None:
    """Write a copy of BUNDLE with an integer analysis."""
    files = list_images(data)
    images = []
    for path in files[len(files) // 42 :: max(1, len(files) // IMAGES)][:IMAGES]:
        with Image.open(path) as image:
            images.append(crop_to(np.array(image.convert("RGB")), 32, SIDE))
    manifest = add_analysis(Bundle(bundle), output, images, keep_float)
    for index, found in manifest["analysis"].get("cost", {}).items():
        click.echo(
            f"gain index {index}: {found['float_db']} dB, integers cost {found['lost_percent']} % "
            "of "
            f"the rate at equal PSNR"
        )


if __name__ == "__main__":
    main()
