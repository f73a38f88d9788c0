"""Self-contained HTML pages: one file with its style, scripts, data and pictures, and no
network."""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec

import numpy as np

from ...benchmarks.codecs import PeerCodec
from ...benchmarks.match import Match, match_bytes, meet
from ...benchmarks.metrics import ms_ssim
from ...codec.metrics.ssimulacra2 import MIN_SIDE, ssimulacra2
from ...codec.pixels.quality import psnr
from ...codec.settings import DEFAULT_QUALITY


def page(
    body: str,
    title: str,
    data: dict,
    scripts: tuple[str, ...],
    styles: tuple[str, ...] = ("page.css",),
) -> str:
    """The page with a body from web/ in the shell that all share: styles and scripts put in, `data`
    as JSON for them."""

    def read(name: str) -> str:
        return (files(__package__) / "web" / name).read_text(encoding="utf-8")

    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    parts = {
        "TITLE": html.escape(title),
        "STYLE": "\n".join(read(name) for name in styles),
        "BODY": read(body),
        "SCRIPT": "\n".join(read(name) for name in scripts),
        # "<" could end the element that holds the data
        "DATA": text.replace("<", "\\u003c").replace("\u2028", "\\u2028"),
    }
    pieces = read("shell.html").split("@@")
    # every second piece names a part, so that nothing is replaced inside the parts
    return "".join(parts[piece] if i % 2 else piece for i, piece in enumerate(pieces))


def data_uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def lossless_uri(image: np.ndarray) -> str:
    """A picture for the page, exactly: lossless WebP."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "WEBP", lossless=True, method=2, quality=50)
    return data_uri("image/webp", out.getvalue())


def small_uri(image: np.ndarray) -> tuple[str, float]:
    """A picture for a page of many pictures, and the PSNR of it against the pixels: AVIF 4:4:4 at
    quality 75, or WebP at quality 90 where Pillow has no AVIF."""
    from PIL import Image, features

    out = io.BytesIO()
    if features.check("avif"):
        mime = "image/avif"
        Image.fromarray(image).save(out, "AVIF", quality=75, subsampling="4:4:4", speed=8)
    else:
        mime = "image/webp"
        Image.fromarray(image).save(out, "WEBP", quality=90)
    with Image.open(out) as back:
        return data_uri(mime, out.getvalue()), psnr(image, np.asarray(back.convert("RGB")))


def picture(image: np.ndarray, codec: PeerCodec, match: Match, small: bool = False) -> dict:
    """What the viewer shows of one coded picture: the file itself where browsers read the format,
    else a copy of the decoded pixels."""
    back = codec.decode(match.data)
    # the plain package makes pages too, without scipy and so without MS-SSIM
    structural = ms_ssim(image, back) if find_spec("scipy") else float("nan")
    shown = {
        "name": codec.name,
        "quality": round(match.quality, 2),
        "bytes": len(match.data),
        "psnr": round(psnr(image, back), 2),
        "ms_ssim": None if np.isnan(structural) else round(structural, 5),
    }
    if not small:
        wide = min(image.shape[:2]) >= MIN_SIDE
        shown["ssimulacra2"] = round(ssimulacra2(image, back), 2) if wide else None
    if codec.mime:
        return {**shown, "src": data_uri(codec.mime, match.data)}
    if not small:
        return {**shown, "src": lossless_uri(back)}
    src, copy_psnr = small_uri(back)
    return {**shown, "src": src, "copy_psnr": round(copy_psnr, 1)}


def before_after(before: np.ndarray, after: np.ndarray, name: str, done: str, note: str) -> str:
    """The page of an image before and after, uint8 (H, W, 3) each, under a slider. done: what was
    done, in words."""
    height, width = before.shape[:2]
    data = {
        "done": done,
        "note": note,
        "width": width,
        "height": height,
        "pictures": [
            {"name": "Before", "src": lossless_uri(before)},
            {"name": "After", "src": lossless_uri(after)},
        ],
    }
    scripts = ("viewer.js", "restored.js")
    return page("restored.html", f"{name}: before and after", data, scripts)


@dataclass(frozen=True)
class Photograph:
    """One to compare codecs by: its name, pixels, uint8 (H, W, 3), and what was done to it."""

    name: str
    image: np.ndarray
    note: str = ""


def compared(
    photo: Photograph, codecs: list[PeerCodec], quality: float | None, size: int | None
) -> dict:
    """What the page shows of one photograph by several codecs, at the same bytes as nearly as they
    can: at those of the first codec at `quality`, or as well as fits `size` bytes."""
    first = codecs[0]
    if size is None:
        value = float(DEFAULT_QUALITY) if quality is None else quality
        match = Match(first.name, value, first.encode(photo.image, value))
    else:
        match = match_bytes(first, photo.image, size, "at_most")
    most = None if size is None else max(size, len(match.data))
    matches = meet(codecs, photo.image, match, most)
    height, width = photo.image.shape[:2]
    return {
        "name": photo.name,
        "note": photo.note,
        "width": width,
        "height": height,
        "original": lossless_uri(photo.image),
        "pictures": [picture(photo.image, c, m) for c, m in zip(codecs, matches)],
    }


def compare(photos: list[dict], codecs: list[PeerCodec]) -> str:
    """The page of photographs, each as `compared` gives it."""
    versions = {c.name: f"{c.version}; {c.settings}" for c in codecs}
    data = {"photos": photos, "versions": versions}
    what = photos[0]["name"] if len(photos) == 1 else f"{len(photos)} photographs"
    scripts = ("viewer.js", "compare.js")
    return page("compare.html", f"{what}: {codecs[0].name} compared", data, scripts)
