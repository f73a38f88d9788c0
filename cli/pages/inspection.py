"""What `aei inspect` writes of a look inside a file: pictures, numbers, and one page."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np

from ...codec.inspect.look import Look, Response
from ...formats.tiles import Box
from . import pages
from .view import coloured, heat_image

if TYPE_CHECKING:
    from PIL import Image

    from ...codec.inspect.attribution import Attribution

MAX_SHOWN = 1280  # pixels on a side of the pictures on the page
# against, none, for
SIGNED = ((90, 180, 255), (20, 60, 120), (10, 10, 14), (130, 40, 26), (255, 140, 60))
GREY = 128
TOP_OF_REGION = 12
MAPS = {
    "gradient": "gradient times latents",
    "relevance": "layer-wise relevance",
    "grad_cam": "Grad-CAM",
}


def scale_of_error(error: np.ndarray) -> int:
    """Levels that the error map shows as white: a power of two that hardly any pixel is above."""
    high = float(np.quantile(error[:: max(1, error.shape[0] // 1000)], 0.999))
    return int(min(256, max(4, 2 ** math.ceil(math.log2(max(high, 1))))))


def write_pictures(seen: Look, region: Attribution | None) -> dict[str, Image.Image]:
    """The PNGs by name; those that cannot be made are left out."""
    made = {"bits.png": over_grey(seen, heat_image(seen.account.cells), _whole(seen), 0.7)}
    error = seen.error
    if error is not None:
        made["error.png"] = coloured(np.minimum(error / scale_of_error(error), 1))
    if seen.linear is not None:
        made["linear.png"] = _picture(seen, seen.linear)
        made["network.png"] = network_part(seen)[0]
    if seen.responses:
        made["channels.png"] = contact_sheet(seen)
    if region is not None:
        made["region.png"] = _side_by_side(list(region_pictures(seen, region).values()))
    return made


def _whole(seen: Look) -> Box:
    return Box(0, 0, seen.image.shape[1], seen.image.shape[0])


def _picture(seen: Look, pixels: np.ndarray) -> Image.Image:
    """Grey where nothing is visible."""
    from PIL import Image

    if not seen.visible.all():
        pixels = np.where(seen.visible[..., None], pixels, np.uint8(GREY))
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).convert("RGB")


def over_grey(seen: Look, cells: Image.Image, box: Box, share: float) -> Image.Image:
    """Colours of cells, one pixel each and the first at the corner of a box of the image, over that
    box in grey; no larger than MAX_SHOWN."""
    from PIL import Image

    n = seen.account.side
    left, top = box.left // n * n, box.top // n * n
    crop = seen.image[top : top + cells.height * n, left : left + cells.width * n]
    base = _fitted(
        Image.fromarray(np.ascontiguousarray(crop).squeeze(2) if crop.shape[2] == 1 else crop)
    )
    colours = cells.resize(base.size, 0, box=(0, 0, crop.shape[1] / n, crop.shape[0] / n))
    return Image.blend(base.convert("L").convert("RGB"), colours, share)


def _is_large(seen: Look) -> bool:
    return max(seen.image.shape) > MAX_SHOWN


def _fitted(image: Image.Image) -> Image.Image:
    """No larger than the page shows."""
    if max(image.size) <= MAX_SHOWN:
        return image
    image = image.copy()
    image.thumbnail((MAX_SHOWN, MAX_SHOWN), reducing_gap=2.0)
    return image


def network_part(seen: Look) -> tuple[Image.Image, int]:
    """What the network adds to the linear path, around grey, and how much it is amplified."""
    assert seen.linear is not None
    step = max(1, seen.image.shape[0] // 1000)
    part = seen.image[::step].astype(np.int16) - seen.linear[::step]
    high = max(1.0, float(np.quantile(np.abs(part), 0.995)))
    factor = int(min(16, max(1, 2 ** math.floor(math.log2(127 / high)))))
    shown = np.empty_like(seen.image)
    for top in range(0, len(shown), 512):
        rows = slice(top, top + 512)
        change = seen.image[rows].astype(np.int16) - seen.linear[rows]
        shown[rows] = np.clip(GREY + factor * change, 0, 255)
    return _picture(seen, shown), factor


def around_grey(change: np.ndarray) -> tuple[np.ndarray, float]:
    """Differences in levels, (h, w, 3), as uint8 around grey, and the factor: the largest fills the
    range."""
    factor = 127 / max(float(np.abs(change).max()), 1e-6)
    return np.rint(GREY + factor * change).astype(np.uint8), factor


def _font(size: int):
    from PIL import ImageFont, features

    return ImageFont.load_default(size if features.check("freetype2") else None)


def contact_sheet(seen: Look) -> Image.Image:
    """The responses of all channels that were tried, each with the part of the image that hangs on
    it."""
    from PIL import Image, ImageDraw

    columns, gap, line = 4, 10, 20
    total = float(seen.account.cells.sum())
    responses = seen.responses
    tall = max(144, min(192, responses[0].present.shape[0]))
    wide = tall + gap + max(tall, responses[0].present.shape[1])
    rows = -(-len(responses) // columns)
    size = columns * (wide + 2 * gap), rows * (tall + 2 * line + gap) + gap
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), _font(13)
    for i, r in enumerate(responses):
        x, y = gap + i % columns * (wide + 2 * gap), gap + i // columns * (tall + 2 * line + gap)
        impulse, factor = around_grey(r.impulse)
        present, second = around_grey(r.present)
        sheet.paste(Image.fromarray(impulse).resize((tall, tall), 0), (x, y + 2 * line))
        part = Image.fromarray(present)
        enlarged = max(1, tall // max(part.size))
        part = part.resize((part.width * enlarged, part.height * enlarged), 0)
        sheet.paste(part, (x + tall + gap, y + 2 * line))
        draw.text(
            (x, y), f"channel {r.channel}: {100 * r.bits / total:.1f} % of the bits", "black", font
        )
        text = f"impulse shown x{factor:.3g}"
        draw.text((x, y + line), text, "#555", font)
        draw.text((x + tall + gap, y + line), f"its part of the image x{second:.3g}", "#555", font)
    return sheet


def region_pictures(seen: Look, found: Attribution) -> dict[str, Image.Image]:
    """The region in its surroundings, and the maps over them, by title."""
    n = seen.account.side
    window = Box(
        *(
            n * v
            for v in (found.window.left, found.window.top, found.window.width, found.window.height)
        )
    )
    inner = window.intersection(_whole(seen))
    plain = _fitted(_picture(seen, seen.image[inner.top : inner.bottom, inner.left : inner.right]))
    made = {"the region, and what g_s looks at for it": plain}
    for name in ("gradient", "relevance"):
        shares = getattr(found, name)
        if shares is not None:
            cells = shares.sum(2)
            # a square root, so that quiet cells differ too
            root = np.sign(cells) * np.sqrt(np.abs(cells) / max(float(np.abs(cells).max()), 1e-30))
            made[MAPS[name]] = over_grey(seen, coloured(0.5 + root / 2, SIGNED), window, 0.7)
    for name, image in made.items():
        made[name] = _boxed(image, found.region, inner)
    cam = over_grey(seen, coloured(found.grad_cam), _whole(seen), 0.6)
    made[MAPS["grad_cam"]] = _boxed(cam, found.region, _whole(seen))
    return made


def _boxed(image: Image.Image, region: Box, shown: Box) -> Image.Image:
    """A copy with the region's outline. shown: the pixels that the picture shows."""
    from PIL import ImageDraw

    image = image.copy()
    ratio = image.width / shown.width
    edges = (
        region.left - shown.left,
        region.top - shown.top,
        region.right - shown.left,
        region.bottom - shown.top,
    )
    outline = [round(v * ratio) - (i > 1) for i, v in enumerate(edges)]
    draw, thick = ImageDraw.Draw(image), 1 + image.width // 500
    for colour, grown in (("black", thick), ("white", 0)):
        corners = [v + d * grown for v, d in zip(outline, (-1, -1, 1, 1))]
        draw.rectangle(corners, outline=colour, width=thick)
    return image


def _side_by_side(images: list[Image.Image]) -> Image.Image:
    """At one height, small ones enlarged."""
    from PIL import Image

    tall = max(i.height for i in images)
    images = [i.resize((max(1, round(i.width * tall / i.height)), tall), 0) for i in images]
    size = sum(i.width + 8 for i in images) - 8, tall
    sheet = Image.new("RGB", size, "white")
    x = 0
    for image in images:
        sheet.paste(image, (x, 0))
        x += image.width + 8
    return sheet


def numbers(seen: Look, region: Attribution | None, name: str) -> dict:
    """What was found, for machines. The cells and the rest sum to the file's bits."""
    header, account = seen.contents.header, seen.account
    order = np.argsort(-account.channels, kind="stable")
    tried = {r.channel: r for r in seen.responses}
    error = seen.error
    found = {
        "file": name,
        "bytes": len(seen.file),
        "width": header.width,
        "height": header.height,
        "mode": header.mode,
        "gain_index": header.gain_index,
        "model": header.model.hex(),
        "cell_side": account.side,
        "bits": {
            "file": 8 * len(seen.file),
            "cells": float(account.cells.sum()),
            "of them hyper-latents": account.hyper,
            "rest": account.rest,
        },
        "psnr": _rounded(seen.psnr(seen.image)),
        "psnr_linear": _rounded(seen.psnr(seen.linear)),
        "mean_error": None if error is None else round(float(error.mean(dtype=np.float64)), 4),
        "channels": [
            _channel(seen, k, tried.get(k)) for k in order.tolist() if account.channels[k] > 0
        ],
        "cells": np.round(account.cells, 3).tolist(),
    }
    if region is not None:
        found["region"] = region_numbers(seen, region)
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _channel(seen: Look, k: int, tried: Response | None) -> dict:
    account = seen.account
    facts = {
        "channel": k,
        "bits": round(float(account.channels[k]), 2),
        "mean_square": round(float(account.energy[k]), 4),
        "magnitude": round(float(account.magnitude[k]), 3),
    }
    if tried is not None:
        facts["impulse_peak"] = round(float(np.abs(tried.impulse).max()), 2)
        facts["loss"] = round(tried.loss, 3)
    return facts


def region_numbers(seen: Look, found: Attribution) -> dict:
    """Shares of the region's contrast by map: in all, from the region's own cells, and of the first
    channels."""
    facts: dict = {
        "region": list(_tuple(found.region)),
        "cells_seen": found.window.width * found.window.height,
        "contrast": round(found.contrast, 3),
        "why_no_relevance": found.why,
    }
    for name in ("gradient", "relevance"):
        shares = getattr(found, name)
        if shares is None:
            continue
        by_channel = shares.sum((0, 1), dtype=np.float64)
        order = np.argsort(-np.abs(by_channel), kind="stable")[:TOP_OF_REGION]
        facts[name] = {
            "sum": round(float(shares.sum(dtype=np.float64)), 4),
            "own_cells": round(found.inside(shares, seen.account.side), 4),
            "channels": [[int(k), round(float(by_channel[k]), 5)] for k in order],
        }
    return facts


def _tuple(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.width, box.height


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def page(seen: Look, region: Attribution | None, name: str, notes: list[str]) -> str:
    """The page: everything in one file."""
    facts = numbers(seen, region, name)
    shown = _fitted(_picture(seen, seen.image))

    def exact(pixels: np.ndarray) -> str:
        picture = _picture(seen, pixels)
        return small(picture) if _is_large(seen) else pages.lossless_uri(np.asarray(picture))

    def small(image: Image.Image) -> str:
        return pages.small_uri(np.asarray(_fitted(image)))[0]

    pictures = [{"name": "Decoded", "src": exact(seen.image)}]
    error = seen.error
    if seen.original is not None and error is not None:
        pictures.append({"name": "Original", "src": exact(seen.original)})
        levels = scale_of_error(error)
        heat = coloured(np.minimum(error / levels, 1))
        pictures.append({"name": f"Error x{256 // levels}", "src": small(heat)})
        facts["error_levels"] = levels
    if seen.linear is not None:
        pictures.append({"name": "Linear path alone", "src": exact(seen.linear)})
        part, factor = network_part(seen)
        pictures.append({"name": f"Network's part x{factor}", "src": small(part)})
    if _is_large(seen):
        size = f"{shown.width} x {shown.height}"
        notes = [*notes, f"The page shows the pictures reduced to {size} pixels and recompressed."]
    data = {
        **facts,
        "notes": notes,
        "shown": list(shown.size),
        "pictures": pictures,
        "heat": pages.data_uri("image/png", png(heat_image(seen.account.cells))),
        "window": list(_tuple(seen.window)),
        "responses": [_response(r, small) for r in seen.responses],
        "maps": [],
    }
    if region is not None:
        maps = region_pictures(seen, region)
        data["maps"] = [{"name": title, "src": small(image)} for title, image in maps.items()]
    scripts, styles = ("viewer.js", "inspect.js"), ("page.css", "inspect.css")
    return pages.page("inspect.html", f"Inside {name}", data, scripts, styles)


def _response(r: Response, small) -> dict:
    from PIL import Image

    impulse, factor = around_grey(r.impulse)
    present, second = around_grey(r.present)
    return {
        "channel": r.channel,
        "bits": r.bits,
        "amplitude": round(r.amplitude, 2),
        "peak": round(float(np.abs(r.impulse).max()), 1),
        "factors": [float(f"{factor:.2g}"), float(f"{second:.2g}")],
        "loss": round(r.loss, 2),
        "impulse": pages.data_uri("image/png", png(Image.fromarray(impulse))),
        "present": small(Image.fromarray(present)),
    }
