"""A codec under test, and how the ones to compare are chosen: aei, the peers, a third party's."""

from __future__ import annotations

import hashlib
import runpy
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..codec.settings import EFFORTS, TUNES
from ..formats import AeiError
from . import payload

SHIPPED = "shipped"  # stands for the model of the package
# What a tune is called in tables.
TUNED_FOR = {"ssimulacra2": "SSIMULACRA 2", "psnr": "PSNR", "ms-ssim": "MS-SSIM"}
AEI_QUALITIES = (1, 5, 15, 30, 45, 60, 75, 90, 100)


class CodecError(AeiError):
    """A codec of the benchmark is unknown, cannot be used here, or failed."""


@dataclass
class PeerCodec:
    """A codec under test.

    encode: (uint8 (H, W, 3), quality) -> bytes of a whole file. decode: those bytes -> uint8 (H,
    W, 3). settings: what a reader needs to reproduce it; version: of the library. Both, with
    `build`, say what cached results belong to, so change one of them whenever the bytes change.
    qualities: the points of the curve. scale: every setting worth trying where a file has to meet a
    size, in order of rising size; empty for `qualities`. payload: bytes of a file that are not
    headers; None where they cannot be told apart. family: variants of one codec share it. mime:
    what a browser calls the files, where browsers show them. slow: seconds per photograph.
    lossless: for reference. build: anything else that the bytes depend on. tuned_for: the measure
    of quality that its encoder aims at with these settings, as far as is known.
    """

    name: str
    settings: str
    qualities: tuple[float, ...]
    encode: Callable[[np.ndarray, float], bytes]
    decode: Callable[[bytes], np.ndarray]
    payload: Callable[[bytes], int] | None = None
    version: str = ""
    scale: tuple[float, ...] = ()
    family: str = ""
    mime: str = ""
    slow: bool = False
    lossless: bool = False
    build: str = ""
    tuned_for: str = ""

    @property
    def identity(self) -> str:
        """Hash of what the files of this codec depend on, besides the image and the quality."""
        text = "\n".join((self.settings, self.version, self.build))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


AEI_VARIANTS: dict[str, dict[str, Any]] = {  # what each passes to Codec.encode
    "aei": {},
    **{f"aei effort {effort}": {"effort": effort} for effort in range(EFFORTS)},
    "aei psnr": {"tune": "psnr"},
    "aei psnr effort 5": {"tune": "psnr", "effort": 5},
    "aei ms-ssim": {"tune": "ms-ssim"},
}


def aei_codec(
    model: str | None = None,
    qualities: tuple[float, ...] = AEI_QUALITIES,
    variant: str = "aei",
    threads: int = 1,
) -> PeerCodec:
    """aei with the shipped model, or with a bundle; one of a single quality gives a single point.
    variant: one of AEI_VARIANTS. threads: of the transforms; where several images are coded at a
    time, more would wait for each other."""
    from importlib.metadata import version

    from ..codec import Codec

    codec = Codec(model, threads)
    options = AEI_VARIANTS[variant]
    bundle = codec.model_of_tune(options.get("tune")).bundle
    if bundle.manifest.get("arch") == "cae":
        qualities = (50,)
    settings = f"model {bundle.name} {bundle.fingerprint.hex()}"
    return PeerCodec(
        variant if model is None else f"{variant} ({bundle.name})",
        ", ".join([settings, *(f"{key} {value}" for key, value in options.items())]),
        qualities,
        lambda image, quality: codec.encode(image, quality, **options),
        lambda data: np.asarray(codec.decode(data).convert("RGB")),
        payload.aei,
        f"aei-codec {version('aei-codec')}",
        scale=tuple((1 + 99 * np.arange(256) / 255).tolist()),  # the gain indices
        family="aei",
        build=_aei_build(bundle.path),
        tuned_for=TUNED_FOR[options.get("tune", next(iter(TUNES)))],
    )


def aei_codecs(models: tuple[str, ...], variant: str = "aei", threads: int = 1) -> list[PeerCodec]:
    """aei with each of some bundles, `shipped` being the package's. Raises CodecError for equal
    names."""
    codecs = [
        aei_codec(None if model == SHIPPED else model, variant=variant, threads=threads)
        for model in models
    ]
    if len({codec.name for codec in codecs}) < len(codecs):
        raise CodecError("two of the models have one name: export them with different --name")
    return codecs


def _aei_build(bundle: Path) -> str:
    """Hash of the model's files and of the code that turns images into bytes and back."""
    package = Path(__file__).parent.parent
    files = [p for folder in ("codec", "formats") for p in (package / folder).rglob("*.py")]
    files = [p for p in files if "training" not in p.relative_to(package).parts]
    digest = hashlib.sha256()
    for path in sorted(files) + sorted(p for p in bundle.iterdir() if p.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def command_codec(
    name: str, encode: str, decode: str, qualities: tuple[float, ...] = (10, 30, 50, 70, 90)
) -> PeerCodec:
    """A codec that is two commands, such as "cjpeg -quality {q} -outfile {out} {in}".

    encode: reads the PNG file {in} at quality {q} and writes {out}; decode: reads the coded file
    {in} and writes the PNG file {out}. Run without a shell. Raises CodecError where a placeholder
    is missing; the codec raises it where a command fails.
    """
    for template, wanted in ((encode, ("{in}", "{out}", "{q}")), (decode, ("{in}", "{out}"))):
        for placeholder in wanted:
            if placeholder not in template:
                raise CodecError(f"{name}: no {placeholder} in the command {template!r}")

    def run(template: str, source: Path, target: Path, quality: float = 0) -> None:
        values = {"{in}": str(source), "{out}": str(target), "{q}": f"{quality:g}"}
        words = shlex.split(template)
        for placeholder, value in values.items():
            words = [word.replace(placeholder, value) for word in words]
        try:
            result = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise CodecError(f"{name}: {words[0]} cannot be run ({error.strerror})") from None
        if result.returncode or not target.is_file():
            said = result.stderr.decode(errors="replace").strip().splitlines()
            reason = said[-1] if said else f"exit code {result.returncode}, no output file"
            raise CodecError(f"{name}: {shlex.join(words)} failed: {reason}")

    def do_encode(image: np.ndarray, quality: float) -> bytes:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image.png"), Path(folder, "image.coded")
            Image.fromarray(image).save(source, compress_level=1)
            run(encode, source, target, quality)
            return target.read_bytes()

    def do_decode(data: bytes) -> np.ndarray:
        from PIL import Image

        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image.coded"), Path(folder, "image.png")
            source.write_bytes(data)
            run(decode, source, target)
            with Image.open(target) as image:
                return np.asarray(image.convert("RGB"))

    return PeerCodec(
        name, f"{encode} | {decode}", qualities, do_encode, do_decode,
        version=_program_version(encode), family=name,
    )  # fmt: skip


def _program_version(template: str) -> str:
    """First line that a command prints for --version, or the date of the program's file."""
    import shutil

    program = shutil.which(shlex.split(template)[0])
    if program is None:
        return ""
    try:
        said = subprocess.run(
            [program, "--version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=10
        )
        lines = (said.stdout or said.stderr).decode(errors="replace").strip().splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    return lines[0][:100] if lines else f"{program} of {Path(program).stat().st_mtime_ns}"


def plugin_codecs(path: Path) -> list[PeerCodec]:
    """The list `CODECS` of PeerCodec that a Python file defines. Raises CodecError without one."""
    try:
        found = runpy.run_path(str(path)).get("CODECS")
    except Exception as error:  # somebody else's code: say which file, whatever it raised
        raise CodecError(f"{path}: {type(error).__name__}: {error}") from None
    if not isinstance(found, list) or not all(isinstance(c, PeerCodec) for c in found):
        raise CodecError(f"{path}: defines no list CODECS of aei.benchmarks.codecs.PeerCodec")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for codec in found:
        codec.build = codec.build or digest
    return found


def choose(
    names: str, added: list[PeerCodec], models: tuple[str, ...] = (SHIPPED,), threads: int = 1
) -> tuple[list[PeerCodec], dict[str, str]]:
    """The codecs to run, and why each of the others that were asked for is left out.

    names: `default` (all but the slow ones), `all`, or names with commas between them; `added`, a
    third party's, always run. threads: of aei. Raises CodecError for a name that no codec has, or
    for a named one that is not installed.
    """
    from .peers import peer_codecs

    peers, missing = peer_codecs()
    if names in ("default", "all"):
        left_out = dict(missing)
        if names == "default":
            left_out |= {c.name: "slow: run it with --codecs all" for c in peers if c.slow}
        chosen = [c for c in peers if c.name not in left_out]
        return [*aei_codecs(models, threads=threads), *chosen, *added], left_out
    by_name = {c.name.lower(): c for c in peers}
    absent = {name.lower(): reason for name, reason in missing.items()}
    chosen = []
    for name in (n.strip() for n in names.split(",")):
        if name.lower() in AEI_VARIANTS:
            chosen += aei_codecs(models, name.lower(), threads)
        elif name.lower() in by_name:
            chosen.append(by_name[name.lower()])
        elif name.lower() in absent:
            raise CodecError(f"{name}: {absent[name.lower()]}")
        elif name.lower() not in {c.name.lower() for c in added}:
            known = ", ".join([*AEI_VARIANTS, *(c.name for c in peers)])
            raise CodecError(f"{name!r}: no such codec; there are {known}")
    return [*chosen, *added], {}
