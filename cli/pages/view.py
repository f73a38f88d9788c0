"""An .aei file made visible: a web page with image, header and heat map of the bits, or the same in
a terminal."""

from __future__ import annotations

import base64
import html
import io
import json
from typing import TYPE_CHECKING

import numpy as np

from ...codec.api import Codec
from ...codec.inspect.account import bit_map
from ...formats import parse
from ...formats.sections import NAMES

if TYPE_CHECKING:
    from PIL import Image

# Dark to bright, like matplotlib's "inferno": colours at equal distances
COLOURS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))


def facts(data: bytes, codec: Codec, bits: np.ndarray, side: int) -> dict[str, str]:
    """What a person wants to know of a file, by label."""
    contents = parse(data)
    header = contents.header
    pixels = header.width * header.height
    names = {kind: name for name, kind in NAMES.items()}
    extras = [
        f"{names[kind]} ({len(content)} bytes)" for kind, content in contents.sections.items()
    ]
    return {
        "size": f"{header.width} x {header.height} pixels, {header.mode}",
        "file": f"{len(data):,} bytes, {8 * len(data) / pixels:.3f} bits per pixel",
        "quality": f"{1 + header.gain_index * 99 / 255:.0f} (gain index {header.gain_index})",
        "model": f"{codec.model_of_file(header).bundle.name} ({header.model.hex()})",
        "image data": f"{bits.sum() / 8:,.0f} bytes",
        "other parts": ", ".join(extras) or "none",
        f"bits per block of {side} x {side}": (
            f"{bits.min():.0f} to {bits.max():.0f}, median {np.median(bits):.0f}"
        ),
    }


def heat_image(bits: np.ndarray) -> Image.Image:
    """A picture of the bits, one pixel per block; the scale is a square root, so that quiet places
    differ too."""
    return coloured(np.sqrt(bits / max(float(bits.max()), 1e-9)))


def coloured(share: np.ndarray, colours: tuple[tuple[int, int, int], ...] = COLOURS) -> Image.Image:
    """A picture of numbers 0 to 1, (h, w), from the first colour to the last."""
    from PIL import Image

    places, stops = np.linspace(0, 1, 256), np.linspace(0, 1, len(colours))
    table = np.stack([np.interp(places, stops, [c[i] for c in colours]) for i in range(3)], 1)
    return Image.fromarray(np.rint(table).astype(np.uint8)[np.rint(share * 255).astype(np.uint8)])


def page(data: bytes, codec: Codec, name: str) -> str:
    """One HTML file that needs nothing else: image, header, and the heat map over it with a
    slider."""
    image = codec.decode(data)
    bits, side = bit_map(codec, data)
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>"
        for label, value in facts(data, codec, bits, side).items()
    )
    values = {
        "NAME": html.escape(name),
        "ROWS": rows,
        "IMAGE": _data_uri(image),
        "HEAT": _data_uri(heat_image(bits)),
        "WIDTH": str(image.width),
        "HEIGHT": str(image.height),
        "HEAT_WIDTH": f"{100 * bits.shape[1] * side / image.width:.4f}",
        "HEAT_HEIGHT": f"{100 * bits.shape[0] * side / image.height:.4f}",
        "BITS": json.dumps(np.rint(bits).astype(int).tolist()),
        "SIDE": str(side),
    }
    text = PAGE
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def _data_uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=6)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def ansi(image: Image.Image, columns: int) -> str:
    """A picture in half-block characters with 24-bit colours, at most `columns` wide."""
    from PIL import Image as Pillow

    if image.mode in ("RGBA", "LA"):
        grey = Pillow.new("RGBA", image.size, (128, 128, 128, 255))
        image = Pillow.alpha_composite(grey, image.convert("RGBA"))
    width = min(columns, image.width)
    height = max(2, round(image.height * width / image.width / 2) * 2)
    small = np.asarray(image.convert("RGB").resize((width, height), Pillow.Resampling.BOX))
    lines = []
    for upper, lower in zip(small[0::2], small[1::2]):
        cells = (
            f"\x1b[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m\u2580"
            for a, b in zip(upper.tolist(), lower.tolist())
        )
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>@NAME@</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem }
h1 { font-size: 1.25rem; overflow-wrap: anywhere }
figure { margin: 0; position: relative; overflow: hidden; width: fit-content; max-width: 100%;
  background: repeating-conic-gradient(#8886 0 25%, transparent 0 50%) 0 0/16px 16px }
figure > img:first-child { display: block; max-width: 100%; height: auto }
#heat { position: absolute; left: 0; top: 0; width: @HEAT_WIDTH@%; height: @HEAT_HEIGHT@%;
  opacity: 0; image-rendering: pixelated }
.bar { display: flex; gap: 1rem; align-items: center; margin: .75rem 0; flex-wrap: wrap }
input { flex: 1; max-width: 24rem }
.scale { width: 8rem; height: .75rem;
  background: linear-gradient(90deg, #000004, #420a68, #932667, #dd513a, #fca50a, #fcffa4) }
th { text-align: left; padding-right: 1.5rem; font-weight: 600; vertical-align: top }
output { font-variant-numeric: tabular-nums }
</style>
<h1>@NAME@</h1>
<figure id="figure"><img src="@IMAGE@" width="@WIDTH@" height="@HEIGHT@"
  alt="the decoded image"><img id="heat" src="@HEAT@" alt="heat map of the bits"></figure>
<div class="bar"><label for="mix">Where the bits went</label>
<input id="mix" type="range" min="0" max="100" value="0">
<span class="scale" title="few bits to many"></span><output
  id="here">point at the image</output></div>
<table>@ROWS@</table>
<script>
const bits = @BITS@, side = @SIDE@;
const heat = document.getElementById('heat'), figure = document.getElementById('figure');
document.getElementById('mix').addEventListener('input', e => {
  heat.style.opacity = e.target.value / 100;
});
figure.addEventListener('pointermove', e => {
  const box = figure.getBoundingClientRect();
  const x = Math.floor((e.clientX - box.left) / box.width * @WIDTH@ / side);
  const y = Math.floor((e.clientY - box.top) / box.height * @HEIGHT@ / side);
  const value = (bits[y] || [])[x];
  if (value !== undefined)
    document.getElementById('here').textContent =
      `block ${x}, ${y}: ${value} bits, ${(value / side / side).toFixed(2)} per pixel`;
});
</script>
</html>
"""
