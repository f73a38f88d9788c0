"""Pictures made by code, so that the tests need no data set."""

from __future__ import annotations

import importlib.util
import io
import os
import signal
import sys
from dataclasses import dataclass

# Where pytest-xdist runs a process per CPU, more threads in each would only make each other wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The kernels of training on a GPU run in Triton's interpreter; read when Triton is imported, which
# torch may do.
os.environ.setdefault("TRITON_INTERPRET", "1")

# A run in the background of a script has Ctrl-C switched off, and hands that on to what it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np
import pytest
from hypothesis import settings

# Machines under load take their time; a slow example is not a failure.
settings.register_profile("aei", deadline=None)
settings.load_profile("aei")


# Without the extra `effort`, tests that come upon what needs it skip; the others have to pass.
HAS_RUNTIME = importlib.util.find_spec("onnxruntime") is not None


def _skip_without_runtime(error: Exception) -> None:
    # the rest of the sentence may be cut off in an assertion's text
    if not HAS_RUNTIME and "[effort]" in str(error):
        pytest.skip("needs the [effort] extra")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    try:
        return (yield)
    except Exception as error:
        _skip_without_runtime(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    try:
        return (yield)
    except Exception as error:
        _skip_without_runtime(error)
        raise


def synthetic_photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (H, W, 3): smooth shading, a few hard-edged discs, and fine texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.empty((height, width, 3))
    for c in range(3):
        fx, fy, phase = [*rng.uniform(0.005, 0.04, 2).tolist(), rng.uniform(0, 6)]
        image[..., c] = 128 + 70 * np.sin(fx * x + fy * y + phase)
    for _ in range(6):
        cy, cx, r = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(4, 40)
        image[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.uniform(0, 255, 3)
    image += rng.normal(0, 4, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    return synthetic_photo(150, 203)


@pytest.fixture(scope="session")
def codec():
    from aei.codec import Codec

    return Codec()


@pytest.fixture(scope="session")
def aei_file(codec, photo) -> bytes:
    """A small, real .aei file."""
    return codec.encode(photo[:40, :48], quality=40)


@dataclass
class Result:
    """What a command did: exit code, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def run_aei(monkeypatch, capsys):
    """Run an `aei` command in this process: run_aei("encode", path, stdin=b"")."""
    from aei.cli.main import main

    def run(*args, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "argv", ["aei", *map(str, args)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = 0
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


def analysed(codec, levels: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Latents of levels, uint8 (H, W, 3), at a gain index: float32 (h, w, M) in quantisation steps,
    and z_hat of them, as the model's encoder finds them."""
    from aei.codec.exact import analysis
    from aei.codec.exact.quantise import to_hyper_symbols
    from aei.codec.pixels.images import padded_levels, to_network

    stride = codec.bundle.prior.program["stride"]
    if codec.bundle.analysis is None:
        y = codec.transforms.analysis(to_network(levels, stride), row)
        return y, to_hyper_symbols(codec.transforms.hyper_analysis(y, row))
    found = analysis.latents(codec.bundle.analysis, padded_levels(levels, stride), row)
    return analysis.in_steps(found), analysis.hyper_symbols(codec.bundle.analysis, found, row)
