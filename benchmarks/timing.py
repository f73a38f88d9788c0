"""How long codecs take: one at a time, in a process of its own that is held to a number of CPUs."""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .codecs import CodecError
from .codecs.choose import choose
from .codecs.commands import command_codec, plugin_codecs

LEARNED = ("bmshj2018-factorized", "mbt2018-mean", "cheng2020-anchor")
LEARNED_QUALITY = 4
LEARNED_NOTE = (
    "CompressAI's network at quality 4 with random weights (trained ones cannot be had offline): "
    "the "
    "transforms and priors do the same work, the entropy coder codes other symbols"
)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass
class Request:
    """What to time. codecs, models, commands, plugins: as `aei bench` got them. qualities: per
    codec the one to time. repeats: how often each image is coded, after one warm-up."""

    codecs: str
    models: tuple[str, ...]
    commands: list[tuple[str, str, str]]
    plugins: list[Path]
    qualities: dict[str, float]
    learned: bool
    repeats: int
    threads: int


def time_codecs(request: Request, images: list[np.ndarray], step: Callable[[str], None]) -> dict:
    """Seconds to encode and to decode, the median over images of the median over repeats.

    The work runs in a fresh process that may use `threads` CPUs and whose libraries are told so
    before they load. `step` is called with each codec's name when it is done. Raises CodecError.
    """
    variables = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(request.threads))
    try:
        child = context.Process(target=_child, args=(sender, request, images), daemon=True)
        child.start()
    finally:
        for name, value in variables.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    sender.close()
    rows = []
    try:
        while (message := receiver.recv()) is not None:
            if isinstance(message, str):
                raise CodecError(message)
            rows.append(message)
            step(message["codec"])
    except EOFError:
        raise CodecError("the process that times the codecs died") from None
    finally:
        child.terminate()
        child.join()
    pixels = [image.shape[0] * image.shape[1] for image in images]
    return {
        "threads": request.threads,
        "repeats": request.repeats,
        "images": len(images),
        "megapixels": round(statistics.median(pixels) / 1e6, 4),
        "load_average": [round(x, 2) for x in os.getloadavg()]
        if hasattr(os, "getloadavg")
        else None,
        "codecs": rows,
    }


def _child(sender, request: Request, images: list[np.ndarray]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: request.threads])
    try:
        added = [codec for path in request.plugins for codec in plugin_codecs(path)]
        added += [command_codec(*command) for command in request.commands]
        for codec in choose(request.codecs, added, request.models, request.threads)[0]:
            quality = request.qualities.get(codec.name, codec.qualities[len(codec.qualities) // 2])
            encode = [lambda x=image, c=codec, q=quality: c.encode(x, q) for image in images]
            sender.send(_row(codec.name, quality, images, encode, codec.decode, request.repeats))
        if request.learned:
            for name in LEARNED:
                sender.send(_learned(name, images, request))
    except CodecError as error:
        sender.send(str(error))
    except Exception as error:
        sender.send(f"{type(error).__name__} while timing: {error}")
    sender.send(None)


def _row(name, quality, images, encoders, decode, repeats, size=len, warm_up=True, **more) -> dict:
    encode_s, decode_s, bpp = [], [], []
    for image, encode in zip(images, encoders):
        seconds, data = _median(encode, repeats, warm_up)
        encode_s.append(seconds)
        decode_s.append(_median(lambda d=data: decode(d), repeats, warm_up)[0])
        bpp.append(8 * size(data) / (image.shape[0] * image.shape[1]))
    return {
        "codec": name,
        "quality": quality,
        "bpp": round(statistics.mean(bpp), 4),
        "encode_s": round(statistics.median(encode_s), 5),
        "decode_s": round(statistics.median(decode_s), 5),
        **more,
    }


def _median(call: Callable, repeats: int, warm_up: bool):
    """Median seconds of a call, after one that loads whatever is loaded late; and its last
    result."""
    if warm_up:
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds), result


def learned_missing() -> str:
    """Why CompressAI's models cannot be timed here, or nothing."""
    from importlib.util import find_spec

    lacking = [name for name in ("torch", "compressai") if find_spec(name) is None]
    return f"needs {' and '.join(lacking)}" if lacking else ""


def _learned(name: str, images: list[np.ndarray], request: Request) -> dict:
    """Time one of CompressAI's models: image to strings and back, with its own range coder."""
    import torch
    from compressai.zoo import image_models

    torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    network = image_models[name](quality=LEARNED_QUALITY, pretrained=False).eval()
    network.update(force=True)
    # cheng2020 codes pixel by pixel, many seconds an image: one run will do.
    slow = name.startswith("cheng")

    def encode(image: np.ndarray) -> dict:
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        pad = [(-side) % 64 for side in image.shape[:2]]
        with torch.inference_mode():
            return network.compress(torch.nn.functional.pad(x, (0, pad[1], 0, pad[0]), "replicate"))

    def decode(out: dict) -> np.ndarray:
        with torch.inference_mode():
            x = network.decompress(out["strings"], out["shape"])["x_hat"]
        return (x[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()

    def size(out: dict) -> int:
        return sum(len(part) for strings in out["strings"] for part in strings)

    encoders = [lambda x=image: encode(x) for image in images]
    row = _row(
        f"{name} (random weights)", LEARNED_QUALITY, images, encoders, decode,
        1 if slow else request.repeats, size, not slow,
        note=LEARNED_NOTE + (", one run" if slow else ""),
    )  # fmt: skip
    row["bpp"] = None  # of noise: says nothing about the trained model
    return row


def nearest_qualities(curves: dict, qualities: dict[str, list[float]], bpp: float) -> dict:
    """Per codec, the quality whose mean rate is nearest to `bpp` on a log scale."""
    result = {}
    for name, (rates, _) in curves.items():
        distance = [abs(math.log(rate / bpp)) for rate in rates]
        result[name] = sorted(qualities[name])[distance.index(min(distance))]
    return result
