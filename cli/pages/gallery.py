"""A gallery: a folder of static pages with small copies of photographs, a list of them in chunks,
and, if wanted, the .aei files themselves and what decodes them in a browser."""

from __future__ import annotations

import hashlib
import html
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...codec.api import Codec
from ...codec.files.convert import open_image
from ...codec.files.exif import ORIENTATION, in_words, sentence
from ...codec.files.storage import write_atomic
from ...codec.pixels.metadata import EXIF_PREFIX, metadata_of, upright
from ...codec.pixels.side_channels import pack_metadata, read_metadata
from ...codec.preview import contents_of
from ...formats import (
    DEFAULT_LIMITS,
    UnsupportedError,
    pack,
    parse,
    parse_header,
)
from ...formats.container import parse_start
from ...formats.sections import EXIF, XMP

STATE = "state.json"  # in data/: what was made of which file, so that nothing is made twice
VERSION = 1
CHUNK = 500  # photographs in a file of the list
BLOCK = 200  # photographs that a page builds at once
BUSY = 5  # photographs a day, on average, from which on days are headings, else months
SAVED_EVERY = 50
LEAST_PREVIEW = 160  # pixels of a preview that is shown in the grid
ROUGH = 2.4  # pictures so many times as large as their copy come at a quarter, from the latents
Progress = Callable[[int, int], None]
ENDINGS = {"webp": ".webp", "avif": ".avif", "jpeg": ".jpg"}


@dataclass(frozen=True)
class Look:
    """How a gallery is made. small, large: pixels on the longer side of the copies in the grid, and
    of those that fill the window (0: none). form: webp, avif or jpeg, of the latter. originals:
    put the .aei files there, for browsers to decode. place: say where photographs were taken."""

    small: int = 320
    large: int = 1600
    form: str = "webp"
    originals: bool = False
    place: bool = False


@dataclass
class Photo:
    """A photograph of the gallery. key: of its files' names, from its path, time and size. width,
    height: upright, in pixels; date: 2024-07-14 10:11:12; model: fingerprint, of an .aei file."""

    key: str
    name: str
    width: int
    height: int
    date: str
    bytes: int
    model: str = ""
    camera: str = ""
    exposure: str = ""
    place: list[float] | None = None
    look: dict[str, Any] = field(default_factory=dict)


Failed = tuple[Path, str]  # a file, and why


def key_of(name: str, path: Path) -> str:
    """Names of a photograph's files; others once it has changed."""
    found = path.stat()
    text = f"{name}\0{found.st_size}\0{found.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def made_before(site: Path, look: Look) -> dict[str, Photo]:
    """Photographs that are in a gallery already, made alike, by key."""
    try:
        state = json.loads((site / "data" / STATE).read_text(encoding="utf-8"))
        if state["version"] != VERSION:
            return {}
        photos = [Photo(**facts) for facts in state["photos"]]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    wanted = asdict(look)
    return {
        p.key: p
        for p in photos
        if p.look == wanted and all((site / n).is_file() for n in outputs(p, look))
    }


def outputs(photo: Photo, look: Look) -> list[str]:
    """The files of a photograph, below the gallery's folder."""
    names = [f"small/{photo.key}.webp"]
    if look.large:
        names.append(f"large/{photo.key}{ENDINGS[look.form]}")
    if look.originals and photo.model:
        names.append(f"aei/{photo.key}.aei")
    return names


def make_photo(
    site: Path, name: str, path: Path, look: Look, codec: Codec, progress: Progress | None = None
) -> Photo:
    """Write the copies of one photograph. progress: told the pixels of an .aei file that are
    decoded, and all of them. Raises AeiError, OSError."""
    key, data = key_of(name, path), path.read_bytes()
    model, size = "", (0, 0)
    if path.suffix.lower() == ".aei":
        header, _ = parse_header(data)
        model, size = header.model.hex(), (header.width, header.height)
        image = _decoded(codec, data, max(size), look, progress)
    else:
        image, _ = open_image(data, convert=True)
        size = image.size
    facts = in_words(metadata_of(image).get("exif", b""))
    if facts.get("orientation", 1) > 4:
        size = size[1], size[0]
    image = in_srgb(upright(image))
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(path.stat().st_mtime))
    photo = Photo(key, name, *size, facts.get("date", written), len(data), model)
    photo.camera, photo.exposure = facts.get("camera", ""), sentence(facts)
    photo.place = facts.get("place") if look.place else None
    photo.look = asdict(look)
    if look.large:
        large = site / "large" / f"{key}{ENDINGS[look.form]}"
        write_atomic(large, coded(smaller(image, look.large), look.form), overwrite=True)
    small = site / "small" / f"{key}.webp"
    write_atomic(small, coded(smaller(image, look.small), "webp", 72), overwrite=True)
    if look.originals and model:
        served = data if look.place else untold(data)
        write_atomic(site / "aei" / f"{key}.aei", served, overwrite=True)
    return photo


def untold(data: bytes) -> bytes:
    """An .aei file with the same pixels and colours, whose metadata say nothing but its
    orientation: Exif and XMP may name places and people."""
    from PIL import Image

    contents = parse(data)
    found = read_metadata(contents.sections, DEFAULT_LIMITS)
    left = {k: v for k, v in contents.sections.items() if k not in (EXIF, XMP)}
    orientation = in_words(found.get("exif", b"")).get("orientation")
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        left |= pack_metadata({"exif": exif.tobytes().removeprefix(EXIF_PREFIX)})
    tiles = [(contents.tile(i), entry.code_all) for i, entry in enumerate(contents.entries)]
    return pack(contents.header, tiles, left, contents.side)


def _decoded(codec: Codec, data: bytes, side: int, look: Look, progress: Progress | None):
    """An .aei file as large as it is needed, or a little smaller where that is much faster."""
    if not look.large:
        small = contents_of(*parse_start(data))
        own = max(small.header.width, small.header.height) if small else 0
        # a preview that is somewhat smaller will do
        return codec.thumbnail(data, min(own, look.small) if own >= LEAST_PREVIEW else look.small)
    if side >= ROUGH * look.large:
        return codec.decode(data, scale=4, progress=progress)
    return codec.decode(data, progress=progress)


def smaller(image, side: int):
    """A copy of at most `side` pixels on the longer side."""
    from PIL import Image

    if max(image.size) <= side:
        return image
    scale = side / max(image.size)
    size = tuple(max(1, round(n * scale)) for n in image.size)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def in_srgb(image):
    """The image in sRGB, of mode RGB or RGBA; profiles that cannot be read are left out."""
    from PIL import ImageCms

    profile = image.info.get("icc_profile")
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colour = image.convert("L" if image.mode in ("L", "LA") else "RGB")
    try:
        if profile:
            srgb = ImageCms.createProfile("sRGB")
            source = io.BytesIO(profile)
            converted = ImageCms.profileToProfile(colour, source, srgb, outputMode="RGB")
            colour = converted or colour
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        pass
    colour = colour.convert("RGB")
    if alpha is not None:
        colour.putalpha(alpha)
    colour.info = {}
    return colour


def coded(image, form: str, quality: int = 80) -> bytes:
    """A file of one of ENDINGS; JPEG has white where it is transparent. Raises UnsupportedError."""
    from PIL import Image, features

    if form == "jpeg" and image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    if form == "avif" and not features.check("avif"):
        raise UnsupportedError("this Pillow writes no AVIF: choose WebP or JPEG")
    out = io.BytesIO()
    options: dict[str, Any] = {"speed": 8} if form == "avif" else {}
    image.save(out, form.upper(), quality=quality, **options)
    return out.getvalue()


# -- the whole ------------------------------------------------------------------------------------


def build(
    site: Path,
    found: Iterable[tuple[str, Path]],
    run: Callable[[Callable[..., Photo], list[tuple[str, Path]]], Iterator[Photo | Failed]],
    look: Look,
    codec: Codec,
    title: str,
) -> tuple[list[Photo], list[Failed]]:
    """Make a gallery, or bring one up to date: its photographs, and files that failed, with why.

    found: names and paths. run: given a function that makes a photograph of name, path and
    progress, and those that are to be made; gives what comes of them, as they are ready. Where it
    ends early the pages are of what is there; where nothing is, the site stays as it was.
    """
    before = made_before(site, look)
    photos: list[Photo] = []
    failed: list[Failed] = []
    todo = []
    for name, path in found:
        try:
            known = before.get(key_of(name, path))
        except OSError as error:
            failed.append((path, error.strerror or str(error)))
            continue
        if known is None:
            todo.append((name, path))
        else:
            photos.append(known)

    for name in ("data", *_folders(look)) if todo else ():
        (site / name).mkdir(parents=True, exist_ok=True)

    def one(name: str, path: Path, progress: Progress | None = None) -> Photo:
        return make_photo(site, name, path, look, codec, progress)

    try:
        for i, made in enumerate(run(one, todo), 1):
            photos.append(made) if isinstance(made, Photo) else failed.append(made)
            if i % SAVED_EVERY == 0:
                _save(site, photos)
    finally:
        if photos:
            _save(site, photos)
    if not photos:
        return photos, failed
    photos.sort(key=lambda p: (p.date, p.name), reverse=True)
    _write_pages(site, photos, look, title)
    _remove_others(site, photos, look)
    return photos, failed


def _folders(look: Look) -> list[str]:
    """The folders of copies."""
    wanted = {"small": True, "large": look.large, "aei": look.originals}
    return [name for name, is_wanted in wanted.items() if is_wanted]


def _save(site: Path, photos: list[Photo]) -> None:
    state = {"version": VERSION, "photos": [asdict(p) for p in photos]}
    write_atomic(site / "data" / STATE, json.dumps(state).encode(), overwrite=True)


def blocks_of(photos: list[Photo]) -> list[list]:
    """What a page builds at once: [day or month, or nothing where it goes on, first, count, sum of
    width over height]."""
    blocks: list[list] = []
    day = ""
    days = {photo.date[:10] for photo in photos}
    length = len("2024-07-14" if len(photos) >= BUSY * len(days) else "2024-07")
    for i, photo in enumerate(photos):
        own = photo.date[:length]
        if own != day or blocks[-1][2] == BLOCK:
            blocks.append([own if own != day else "", i, 0, 0.0])
            day = own
        blocks[-1][2] += 1
        blocks[-1][3] += ratio(photo)
    return [[*block[:3], round(block[3], 2)] for block in blocks]


def ratio(photo: Photo) -> float:
    """Width over height as the grid shows it."""
    return min(3.0, max(0.4, photo.width / photo.height))


def _write_pages(site: Path, photos: list[Photo], look: Look, title: str) -> None:
    own = files(__package__) / "web"
    style = "\n".join((own / n).read_text(encoding="utf-8") for n in ("page.css", "gallery.css"))
    page = (
        (own / "gallery.html").read_text(encoding="utf-8").replace("@@TITLE@@", html.escape(title))
    )
    script = (own / "gallery.js").read_text(encoding="utf-8")
    index = {
        "count": len(photos),
        "bytes": sum(p.bytes for p in photos),
        "chunk": CHUNK,
        "ending": ENDINGS[look.form] if look.large else "",
        "originals": look.originals,
        "blocks": blocks_of(photos),
    }
    texts = {"index.html": page, "gallery.css": style, "gallery.js": script}
    texts["data/index.js"] = f"gallery.start({_json(index)});\n"
    for k in range(0, len(photos), CHUNK):
        rows = [_row(p) for p in photos[k : k + CHUNK]]
        texts[f"data/{k // CHUNK}.js"] = f"gallery.chunk({k // CHUNK}, {_json(rows)});\n"
    for name, text in texts.items():
        write_atomic(site / name, text.encode("utf-8", "replace"), overwrite=True)


def _row(photo: Photo) -> list:
    """A photograph as the script has it."""
    row = [
        photo.key, photo.name.encode("utf-8", "replace").decode(), photo.width, photo.height,
        photo.date, photo.bytes, photo.camera, photo.exposure, int(bool(photo.model)),
    ]  # fmt: skip
    return [*row, photo.place] if photo.place else row


def _json(value: object) -> str:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _remove_others(site: Path, photos: list[Photo], look: Look) -> None:
    """Copies of photographs that are no longer there, or have changed."""
    wanted = {name for photo in photos for name in outputs(photo, look)}
    for folder in ("small", "large", "aei"):
        if not (site / folder).is_dir():
            continue
        for entry in os.scandir(site / folder):
            stem = entry.name.partition(".")[0]
            ours = len(stem) == 16 and set(stem) <= set("0123456789abcdef")
            if ours and f"{folder}/{entry.name}" not in wanted:
                os.unlink(entry.path)
    chunks = -(-len(photos) // CHUNK)
    for entry in os.scandir(site / "data"):
        stem = entry.name.removesuffix(".js")
        if entry.name.endswith(".js") and stem.isdigit() and int(stem) >= chunks:
            os.unlink(entry.path)


def add_decoder(site: Path, models: Iterable[str], codec: Codec) -> None:
    """Put what decodes .aei files in a browser beside the pages: the script, and the weights of
    models, by fingerprint."""
    from ...codec.models.bundle import find_bundle
    from ...codec.training.export.web import file_name, pack_weights

    script = files(__package__) / "web" / "aei-image.js"
    write_atomic(site / "aei-image.js", script.read_bytes(), overwrite=True)
    (site / "aei-models").mkdir(exist_ok=True)
    for model in sorted(set(models)):
        own = codec.model_of_tune(None).bundle
        bundle = own if own.fingerprint.hex() == model else find_bundle(bytes.fromhex(model))
        target = site / "aei-models" / file_name(bundle)
        if not target.is_file():
            write_atomic(target, pack_weights(bundle))
