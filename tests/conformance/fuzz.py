"""Hostile files for the decoder: `python tests/conformance/fuzz.py --seconds 60 [--seed TEXT]`.

Golden files are taken apart, changed and put together again: bits, bytes, splices and truncations,
dimensions and other numbers, sections, tile tables, payloads, alpha planes, deflate bombs. In nine
of ten cases every checksum is right again, as an attacker would have it, so that what lies behind
them is reached. Each input goes through the parser and the whole decoder with the tiny bundles
under strict `Limits`, and, drawn at random, through regions and reduced sizes, salvage, `aei info`,
Pillow, and the plain decoder of tests/conformance/plain_decoder.py, which has to agree.

A failure is: an exception other than AeiError (through Pillow UnidentifiedImageError or OSError),
more than 2 s of processor time, memory that grows by more than 512 MiB, a disagreement, a hang (60
s by the clock), or the end of the process. It is saved to --out as SEED-NUMBER.aei, with the reason
beside it. Input NUMBER of a seed is the same on every machine, whatever --jobs: `--only NUMBER`
runs it again. Exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from unittest import mock

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
SECONDS, MEMORY, HANG = 2.0, 512 << 20, 60.0
LENGTHS = (
    0,
    1,
    2,
    15,
    16,
    17,
    63,
    64,
    65,
    127,
    128,
    129,
    255,
    256,
    300,
    2047,
    2048,
    16383,
    2**21 - 1,
)


class Failure(Exception):
    """What the harness looks for."""


# -- files taken apart, and put together whatever they say -----------------------------------------


def number(value: int, extra: int = 0) -> bytes:
    """LEB128, with `extra` bytes more than the shortest form."""
    out = bytearray()
    while value >= 128 or extra:
        extra -= value < 128
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@dataclass
class Parts:
    """All that a file says. alpha of a tile: None where the file has no alpha channel."""

    flags: int
    model: bytes
    gain_index: int
    width: int
    height: int
    sections: list[tuple[int, bytes]]
    side: int  # the byte n of the tile table, or -1
    tiles: list[list]  # [payload, code_all, alpha]
    version: int = 1
    extra: Counter = field(default_factory=Counter)  # lies: added to a length, by name
    tail: bytes = b""

    def build(self) -> bytes:
        long = self.extra["long"]
        head = b"\xaeaei" + bytes([self.version << 5 | self.flags]) + self.model
        head += bytes([self.gain_index]) + number(self.width - 1, long == 1)
        head += number(self.height - 1, 2 * (long == 2))
        if self.flags & 4:
            for kind, content in self.sections:
                length = max(0, len(content) + self.extra[f"section {kind}"])
                head += bytes([kind]) + number(length, long == 3) + content
            head += b"\0" * (not self.extra["no end"])
        if self.side < 0:
            head += self.tiles[0][0] + self.tail
            return head + zlib.crc32(head).to_bytes(4, "little")
        contents = []
        for i, (payload, _, alpha) in enumerate(self.tiles):
            before = b""
            if alpha is not None:
                before = number(max(0, len(alpha) + self.extra[f"alpha {i}"])) + alpha
            contents.append(before + payload)
        head += bytes([self.side])
        for i, content in enumerate(contents):
            length = max(0, len(content) + self.extra[f"tile {i}"])
            head += number(length << 1 | self.tiles[i][1], long == 4)
            head += zlib.crc32(content).to_bytes(4, "little")
        return head + zlib.crc32(head).to_bytes(4, "little") + b"".join(contents) + self.tail


def take_apart(data: bytes) -> Parts:
    """Of a valid file."""
    from aei.codec.pixels.side_channels import alpha_span
    from aei.formats import parse

    contents = parse(data)
    header, tiles = contents.header, []
    for i, entry in enumerate(contents.entries):
        content, alpha = contents.tile(i), None
        if contents.side and header.alpha:
            start, end = alpha_span(content)
            content, alpha = content[end:], content[start:end]
        tiles.append([content, entry.code_all, alpha])
    return Parts(
        data[4] & 31, header.model, header.gain_index, header.width, header.height,
        sorted(contents.sections.items()), contents.side // 64 - 1, tiles,
    )  # fmt: skip


def sealed(data: bytes) -> bytes:
    """The file with the checksums that can still be found set right."""
    from aei.formats import AeiError, parse_header
    from aei.formats.sections import read_sections
    from aei.formats.tiles import read_table

    if len(data) < 16 or not data[4] & 16:
        return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")
    try:
        header, at = parse_header(data)
        if data[4] & 4:
            at = read_sections(data, at)[1]
        _, entries, end = read_table(data, at, header.width, header.height)
    except AeiError:
        return data
    out, at = bytearray(data), at + 1
    for entry in entries:
        while out[at] > 127:
            at += 1
        content = out[end + 4 + entry.start : end + 4 + entry.end]
        out[at + 1 : at + 5] = zlib.crc32(content).to_bytes(4, "little")
        at += 5
    out[end : end + 4] = zlib.crc32(out[:end]).to_bytes(4, "little")
    return bytes(out)


# -- mutations ------------------------------------------------------------------------------------


@cache
def corpus() -> list[bytes]:
    return [p.read_bytes() for p in sorted(GOLDEN.glob("*.aei"))]


@cache
def apart(i: int) -> Parts:
    return take_apart(corpus()[i])


@cache
def costs() -> list[float]:
    """How often each golden file is drawn: those of many tiles take long, and say little more."""
    return [1 / len(apart(i).tiles) for i in range(len(corpus()))]


@cache
def bomb(size: int) -> bytes:
    return zlib.compress(bytes(size), 9)


def mangled(rng: random.Random, data: bytes) -> bytes:
    """Bytes with some of them changed, lost, repeated, or brought from another file."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, n = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 8, 30))
        kind = rng.randrange(8)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + n]
        elif kind == 4:
            out[at:at] = rng.randbytes(n)
        elif kind == 5:
            out[at:at] = out[at : at + n]
        elif kind == 6:
            out[at : at + n] = bytes([rng.choice((0, 255))]) * n
        else:
            other = rng.choice(corpus())
            start = rng.randrange(len(other))
            out[at : at + n] = other[start : start + rng.choice((n, 200))]
    return bytes(out)


def change(rng: random.Random, parts: Parts) -> None:
    """One change to what a file says."""
    tile = rng.randrange(len(parts.tiles))
    kind = rng.randrange(15)
    if kind <= 3:
        parts.tiles[tile][0] = mangled(rng, parts.tiles[tile][0])
    elif kind == 4:
        parts.tiles[tile][0] = rng.choice(
            (
                rng.randbytes(rng.randrange(200)),
                b"\xff" * rng.randrange(99),
                bytes(rng.randrange(99)),
            )
        )
    elif kind == 5:
        side = rng.choice(LENGTHS) + 1
        if rng.random() < 0.3:
            side = max(1, parts.width + rng.choice((-1, 1)))
        if rng.random() < 0.5:
            parts.width = side
        else:
            parts.height = side
    elif kind == 6:
        parts.gain_index = rng.randrange(256)
    elif kind == 7:
        parts.flags ^= 1 << rng.randrange(5)
        if parts.flags & 16:
            parts.side = max(0, parts.side)
        else:
            parts.side = -1
    elif kind == 8:
        parts.tiles[tile][1] = not parts.tiles[tile][1]
        if parts.side < 0:
            parts.flags ^= 2
    elif kind == 9:
        change_sections(rng, parts)
    elif kind == 10:
        size = (parts.width + 1) * parts.height if parts.side < 0 else 4160
        plane = (
            zlib.compress(
                rng.choice(
                    (
                        bytes(size),
                        rng.randbytes(min(size, 9999)),
                        b"\1" * size,
                        b"\2" * size,
                        bytes(size + 1),
                    )
                ),
                1,
            )
            if size < 2**22
            else bomb(2**22)
        )
        plane = rng.choice((plane, mangled(rng, plane), bomb(2**26), b"", rng.randbytes(20)))
        parts.flags |= 8
        if parts.side < 0:
            parts.flags |= 4
            parts.sections = [s for s in parts.sections if s[0] != 4] + [(4, plane)]
        else:
            for other in parts.tiles:
                other[2] = other[2] or b""
            parts.tiles[tile][2] = plane
    elif kind == 11:
        parts.side = rng.choice((0, 0, 1, 2, 3, 15, 31, 255))
        parts.flags |= 16
    elif kind == 12 and rng.random() < 0.3:  # many tiles, of few pixels or of nothing
        count = rng.choice((40, 300, 3000))
        parts.flags, parts.side = parts.flags | 16, 0
        parts.width, parts.height = rng.choice(((64 * count, 1), (1, 64 * count), (64 * count, 64)))
        payload, code_all, alpha = parts.tiles[tile]
        parts.tiles = [[rng.choice((payload, b"")), code_all, alpha]] * count
    elif kind == 12:
        parts.tiles = rng.choice(
            (
                parts.tiles[::-1],
                parts.tiles * 2,
                parts.tiles[:-1] or parts.tiles,
                parts.tiles[:1] * 16,
            )
        )
    elif kind == 13:
        name = rng.choice((f"tile {tile}", f"alpha {tile}", "long", "no end"))
        parts.extra[name] = rng.choice((1, -1, 2, 3, 4, -9, 99, 2**27, 2**33))
        if name in ("long", "no end"):
            parts.extra[name] = rng.randrange(1, 5)
    elif rng.random() < 0.2:
        parts.model, parts.version = rng.randbytes(4), rng.choice((0, 1, 2, 7))
    else:
        parts.tail = rng.choice((b"\0", b"\1", rng.randbytes(9)))


def change_sections(rng: random.Random, parts: Parts) -> None:
    parts.flags |= 4
    content = rng.choice(
        (
            b"",
            rng.randbytes(30),
            bomb(2**26),
            bomb(2**16),
            bomb(2**17)[:-1],
            zlib.compress(rng.randbytes(rng.randrange(300))),
            zlib.compress(b"Exif\0\0MM\0*\0\0\0\x08\0\1"),
        )
    )
    place = rng.randrange(len(parts.sections) + 1)
    kind = rng.choice((0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 7, 7, 100, 127, 128, 255))
    if kind == 7:  # any file, itself, a preview in a preview, or damage
        content = rng.choice(
            (rng.choice(corpus()), parts.build(), content, mangled(rng, parts.build()))
        )
    parts.sections = [*parts.sections[:place], (kind, content), *parts.sections[place:]]
    if rng.random() < 0.6:
        parts.sections = sorted(dict(parts.sections).items())
    if rng.random() < 0.1:
        parts.extra[f"section {kind}"] = rng.choice((1, -1, 200, 2**21, 2**28))


def make_input(seed: str, i: int) -> bytes:
    """Input i of a seed."""
    rng = random.Random(f"{seed}:{i}")
    which = rng.choices(range(len(corpus())), costs())[0]
    if rng.random() < 0.3:
        data = mangled(rng, corpus()[which])
        return data if rng.random() < 0.3 else sealed(data)
    source = apart(which)
    parts = Parts(**{**vars(source), "tiles": [list(t) for t in source.tiles], "extra": Counter()})
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        change(rng, parts)
    return parts.build()


# -- what is run ----------------------------------------------------------------------------------


@cache
def engine():
    """Codecs by fingerprint, the Limits, and the plain decoder's bundles; installed bundles are the
    tiny ones, for Pillow and `aei info`."""
    sys.path.insert(0, str(HERE))
    import aei.codec.models.bundle
    import aei.codec.pillow
    import plain_decoder
    from aei.codec import Codec, Limits
    from PIL import Image

    aei.codec.models.bundle.MODELS = GOLDEN
    Image.MAX_IMAGE_PIXELS = 1 << 15
    codecs = [Codec(p, threads=1) for p in sorted(GOLDEN.glob("*.bundle"))]
    limits = Limits(pixels=1 << 18, memory=64 << 20, metadata=1 << 16)
    plain = {c.bundle.fingerprint: plain_decoder.Bundle(c.bundle.path) for c in codecs}
    return {c.bundle.fingerprint: c for c in codecs}, codecs[-1], limits, plain


def run_input(data: bytes, rng: random.Random) -> str:
    """Everything with one input; says how it ended. Raises whatever is not as it should be."""
    from aei.codec import AeiError
    from aei.formats import parse

    codecs, default, limits, _ = engine()
    codec = codecs.get(data[5:9], default)
    outcome, contents, image = "decoded", None, None
    try:
        contents = parse(data, limits)
        image = codec.decode(data, limits=limits)
    except AeiError as error:
        outcome = (
            f"{type(error).__name__}: {re.sub('[0-9a-f]*[0-9][0-9a-f]*', 'N', str(error))[:50]}"
        )
    if image is not None and (image.size != (contents.header.width, contents.header.height)):
        raise Failure("an image of another size")
    extra = rng.randrange(60)
    if extra < 6 and contents is not None:
        header = contents.header
        box = (rng.randrange(header.width), rng.randrange(header.height), rng.randrange(40), 9)
        with contextlib.suppress(AeiError):
            codec.decode(data, region=box, scale=rng.choice((1, 2, 4, 8)), limits=limits)
    elif extra < 12:
        with contextlib.suppress(AeiError):
            codec.salvage(data, limits=limits)
    elif extra < 15:
        through_pillow(data)
    elif extra in (20, 21) or b"\x07" in data[12:40]:  # perhaps with a preview
        small(codec, data, limits, rng.choice((16, 160, 320)))
    elif extra < (18 if image is not None else 16) and len(data) < 3000:
        agree(codec, data)
    elif extra == 19 and rng.random() < 0.2:
        info(data)
    return outcome


def small(codec, data: bytes, limits, side: int) -> None:
    """A thumbnail, which is no larger than asked for."""
    from aei.codec import AeiError

    with contextlib.suppress(AeiError):
        image = codec.thumbnail(data, side, limits=limits)
        if max(image.size) > side:
            raise Failure("a thumbnail larger than asked for")


def through_pillow(data: bytes) -> None:
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.open(io.BytesIO(data)).load()
    except (OSError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass  # UnidentifiedImageError is an OSError


def agree(codec, data: bytes) -> None:
    """The plain decoder accepts and rejects the same, limits apart."""
    import plain_decoder
    from aei.codec import AeiError, LimitError, Limits
    from aei.codec.models.runtime import MISSING

    bundle = engine()[3][codec.bundle.fingerprint]
    loose = Limits(pixels=1 << 15, memory=64 << 20)
    try:
        codec.decode(data, limits=loose)
        ours = codec.latents_sha256(data, limits=loose)
    except LimitError:
        return
    except AeiError as error:
        if MISSING in str(error):  # a model of float transforms, where nothing runs them
            return
        ours = None
    try:
        theirs = plain_decoder.latents_sha256(plain_decoder.decode(bundle, data)[1])
    except plain_decoder.Rejected:
        theirs = None
    if ours != theirs:
        raise Failure(f"the decoders disagree: {ours}, plain {theirs}")


def info(data: bytes) -> None:
    from aei.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.aei"
        path.write_bytes(data)
        with (
            mock.patch.object(sys, "argv", ["aei", "info", "--check", str(path)]),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            try:
                main()
            except SystemExit as end:
                if end.code not in (0, 1):
                    raise Failure(f"aei info ends with {end.code}") from None


def checked(seed: str, i: int) -> tuple[str, str | None]:
    """The outcome of input i, and what is wrong with it, if anything."""
    data = make_input(seed, i)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        outcome, wrong = run_input(data, random.Random(f"{seed}/{i}")), None
    except Exception:
        outcome, wrong = "failure", traceback.format_exc()
    took = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    if took > SECONDS:
        wrong = f"{wrong or ''}took {took:.1f} s of processor time"
    if grown > MEMORY:
        wrong = f"{wrong or ''}memory grew by {grown >> 20} MiB"
    return outcome, wrong


def warm_up() -> None:
    """Load all that is loaded once, so that no input is charged for it."""
    for data in corpus()[::5]:
        run_input(data, random.Random(0))
    through_pillow(corpus()[-1])
    info(corpus()[-1])


def save(out: Path, seed: str, i: int, wrong: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    name = f"{re.sub('[^A-Za-z0-9]', '_', seed)}-{i}"
    (out / f"{name}.aei").write_bytes(make_input(seed, i))
    (out / f"{name}.txt").write_text(wrong + "\n")
    print(f"input {i} of seed {seed}: {wrong.strip().splitlines()[-1]}", flush=True)


def work(seed: str, first: int, step: int, deadline: float, most: int, out: Path, at, results):
    """A worker: inputs first, first + step, ... `at` holds the one in hand."""
    warm_up()
    outcomes: Counter = Counter()
    failures, i = 0, first
    while time.time() < deadline and i < most:
        at.value = i
        outcome, wrong = checked(seed, i)
        outcomes[outcome] += 1
        if wrong:
            failures += 1
            save(out, seed, i, wrong)
        i += step
    results.put((outcomes, failures))


def fuzz(
    seed: str, seconds: float, jobs: int, start: int, most: int, out: Path
) -> tuple[Counter, int]:
    """Run workers, and run them again where they die. Returns outcomes and the number of
    failures."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    deadline = time.time() + seconds
    outcomes: Counter = Counter()
    failures = 0

    def begin(first: int):
        at = context.Value("q", -1)
        arguments = (seed, first, jobs, deadline, most, out, at, results)
        process = context.Process(target=work, args=arguments, daemon=True)
        process.start()
        return process, at, [-1, time.time()]

    workers = [begin(start + w) for w in range(jobs)]
    while workers:
        time.sleep(0.2)
        while not results.empty():
            more, failed = results.get()
            outcomes += more
            failures += failed
        for worker in list(workers):
            process, at, seen = worker
            if at.value != seen[0]:
                seen[:] = at.value, time.time()
            hangs = at.value >= 0 and time.time() - seen[1] > HANG and process.is_alive()
            if hangs:
                process.kill()
                process.join()
            if process.is_alive():
                continue
            workers.remove(worker)
            if process.exitcode:
                if at.value < 0:
                    raise RuntimeError("a worker does not start")
                failures += 1
                save(out, seed, at.value, "hangs" if hangs else f"ends with {process.exitcode}")
                workers.append(begin(at.value + jobs))
    while not results.empty():
        more, failed = results.get()
        outcomes += more
        failures += failed
    return outcomes, failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--inputs", type=int, help="at most so many")
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one input again")
    options = parser.parse_args()
    if options.only is not None:
        warm_up()
        outcome, wrong = checked(options.seed, options.only)
        print(outcome, wrong or "")
        return bool(wrong)
    most = options.start + options.inputs if options.inputs else sys.maxsize
    begun = time.time()
    outcomes, failures = fuzz(
        options.seed, options.seconds, options.jobs, options.start, most, options.out
    )
    total = outcomes.total()
    for outcome, count in outcomes.most_common():
        print(f"{count:9}  {outcome}")
    took = time.time() - begun
    print(
        f"{total} inputs of seed {options.seed} in {took:.0f} s ({total / took:.0f}/s), "
        f"{failures} failures"
    )
    return bool(failures or not total)


if __name__ == "__main__":
    sys.exit(main())
