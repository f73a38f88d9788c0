"""What is done to one file, on whatever machine: the options of a verb, the bytes that it makes of
others, and what a manifest says of them (codec/cluster/manifest.py)."""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...formats import parse_header
from ..api import Codec
from .convert import (
    Converted,
    DecodeOptions,
    EncodeOptions,
    decode_file,
    encode_file,
    load_codec,
    open_image,
)
from .verify import facts_of, verify_data

ENCODE, DECODE, VERIFY = "encode", "decode", "verify"
SHARD = ".tar"  # of WebDataset: members that belong together follow each other


@dataclass(frozen=True)
class VerifyOptions:
    """How to check files. quick: checksums alone."""

    quick: bool = False


@dataclass(frozen=True)
class Job:
    """What to do with each image: options of one verb, and the bundles that it needs.

    suffix: of the targets; format_: Pillow's name of it, to decode. keep_extension: photo.jpg.aei.
    metrics: measure PSNR and SSIMULACRA 2 of what was encoded. suffixes: of the sources. pack: put
    so many results into each of several tar shards, 0: as files. unpack: make files of what shards
    hold, not shards.
    """

    options: EncodeOptions | DecodeOptions | VerifyOptions
    suffix: str
    suffixes: frozenset[str]
    format_: str = ""
    model: str | None = None
    restore_bundle: str | None = None
    keep_extension: bool = False
    metrics: bool = False
    pack: int = 0
    unpack: bool = False

    @property
    def verb(self) -> str:
        if isinstance(self.options, VerifyOptions):
            return VERIFY
        return ENCODE if isinstance(self.options, EncodeOptions) else DECODE

    @property
    def digest(self) -> str:
        """A hash of all that targets follow from, beside the source and the release."""
        facts = {n: value for n, value in dataclasses.asdict(self).items() if n != "suffixes"}
        return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]

    @property
    def asked(self) -> str:
        """What was asked for, in words."""
        if not isinstance(self.options, EncodeOptions):
            return ""
        if self.options.target is not None:
            return f"{self.options.target.kind} {self.options.target.value:g}"
        return f"quality {self.options.quality:g}"

    def place(self, place: str) -> str:
        """Where the target of a source lies below the target folder."""
        stem, suffix = posixpath.splitext(place)
        if suffix.lower() == SHARD:
            return stem if self.unpack else place
        return (place if self.keep_extension else stem) + self.suffix

    def load(self, threads: int | None = 1) -> Codec:
        """A codec with all that the work needs read. threads: of one file; None: all."""
        if isinstance(self.options, EncodeOptions):
            return load_codec(self.model, threads, self.restore_bundle, self.options.tune)
        return Codec(self.model, threads)

    def convert(
        self,
        codec: Codec,
        data: bytes,
        progress: Callable[[int, int], None] | None = None,
        frame: int | None = None,
    ) -> Converted:
        """The file that is made of one; see encode_file and decode_file."""
        if isinstance(self.options, EncodeOptions):
            return encode_file(data, codec, self.options, progress, frame)
        assert isinstance(self.options, DecodeOptions)
        return decode_file(data, codec, self.format_, self.options, progress)

    def audited(
        self,
        codec: Codec,
        data: bytes,
        progress: Callable[[int, int], None] | None = None,
        frame: int | None = None,
    ) -> Converted:
        """The same, with the facts that a manifest has of it."""
        made = self.convert(codec, data, progress, frame)
        return dataclasses.replace(made, facts=self._facts(codec, data, made))

    def verified(self, codec: Codec, data: bytes) -> dict[str, Any]:
        """The facts of a whole file. Raises the errors of verify_data."""
        assert isinstance(self.options, VerifyOptions)
        return facts_of(data, verify_data(data, codec, quick=self.options.quick))

    def _facts(self, codec: Codec, data: bytes, made: Converted) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "status": "kept" if made.kept else "done",
            "bytes_in": len(data),
            "bytes_out": len(made.data),
            "width": made.width,
            "height": made.height,
            "file_sha256": hashlib.sha256(made.data).hexdigest(),
        }
        file = made.data if self.verb == ENCODE else data
        if not made.kept:
            facts["latents_sha256"] = codec.latents_sha256(file)
            facts["gain_index"] = parse_header(file)[0].gain_index
        if isinstance(self.options, EncodeOptions):
            target = self.options.target
            if target is not None:
                facts["reached"] = made.details.get(target.kind)
            if self.metrics and not made.kept:
                facts |= _measured(self.options, codec, data, made.data)
        return facts


def _measured(options: EncodeOptions, codec: Codec, data: bytes, file: bytes) -> dict[str, float]:
    """PSNR and, of images with sides of 8 pixels or more, SSIMULACRA 2."""
    from ..metrics.ssimulacra2 import MIN_SIDE, ssimulacra2
    from ..pixels.quality import psnr
    from ..targets import seen

    image, _ = open_image(data, options.max_side, options.convert)
    pair = seen(image, codec.decode(file), options.metadata)
    found = {"psnr": float(psnr(*pair))}
    if min(pair[0].shape[:2]) >= MIN_SIDE:
        found["ssimulacra2"] = float(ssimulacra2(*pair))
    return found
