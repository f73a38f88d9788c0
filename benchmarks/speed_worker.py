"""One installation's times, asked for by lines of JSON: run as a script by speed.py, with any
Python.

Imports nothing of the benchmark, so that an older aei can be measured beside this one.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time

THREADS = int(sys.argv[1])
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(THREADS)

import numpy as np  # noqa: E402  after the threads are settled
from PIL import Image  # noqa: E402


def coder(name: str, settings: dict):
    """(encode, decode) of a codec by name; what Pillow has, pillow-heif, pillow-jxl-plugin,
    CompressAI, aei."""
    if name == "aei":
        from aei.codec import Codec

        codec = Codec(threads=THREADS)
        return lambda x: codec.encode(x, **settings), lambda d: np.asarray(codec.decode(d))
    if name == "mbt2018-mean":
        return _mbt2018(settings["quality"])
    if name == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    if name == "JXL":
        import pillow_jxl  # noqa: F401  registers the format

    def encode(x: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(x).save(file, name, **settings)
        return file.getvalue()

    return encode, lambda data: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _mbt2018(quality: int):
    """CompressAI's mbt2018-mean with random weights: the same work, other symbols."""
    import torch
    from compressai.zoo import mbt2018_mean

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    network = mbt2018_mean(quality=quality, pretrained=False).eval()
    network.update(force=True)

    def encode(image: np.ndarray) -> dict:
        x = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
        sides = [(-side) % 64 for side in image.shape[:2]]
        with torch.inference_mode():
            padded = torch.nn.functional.pad(x, (0, sides[1], 0, sides[0]), "replicate")
            return network.compress(padded)

    def decode(out: dict) -> np.ndarray:
        with torch.inference_mode():
            return network.decompress(out["strings"], out["shape"])["x_hat"].numpy()

    return encode, decode


def timed(call, *arguments) -> tuple[dict, object]:
    """Seconds on the clock, seconds of CPU and the process's most memory meanwhile in MB (Linux;
    else None), and the result."""
    _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(*arguments)
    found = {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "mb": _peak()}
    return found, result


def _forget_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def _peak() -> float | None:
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    except (OSError, KeyError):
        return None


def main() -> None:
    images: dict[str, np.ndarray] = {}
    coders: dict[str, tuple] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = json.dumps([request["codec"], request["settings"]])
        if key not in coders:
            coders[key] = coder(request["codec"], request["settings"])
        path = request["image"]
        if path not in images:
            images.clear()
            images[path] = np.load(path)
        encode, decode = coders[key]
        encoding, data = timed(encode, images[path])
        decoding, _ = timed(decode, data)
        answer = {"bytes": len(data) if isinstance(data, bytes) else None}
        answer |= {f"encode_{name}": value for name, value in encoding.items()}
        answer |= {f"decode_{name}": value for name, value in decoding.items()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
