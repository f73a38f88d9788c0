"""The native core on an emulated processor: `python tests/native/emulate.py --cc
aarch64-linux-gnu-gcc --run qemu-aarch64-static`.

Writes cases by NumPy, of random priors, golden bundles and random syntheses, builds the core and
check.c with a cross compiler, and runs them. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "codec" / "exact" / "native"
KERNELS = ("kernels.c", "pixels.c", "floats.c")


def case(numbers: list[int], parts: list[np.ndarray]) -> bytes:
    """A file for check.c."""
    out = [np.array(numbers + [0] * (16 - len(numbers)), np.int64).tobytes()]
    for part in parts:
        content = part.tobytes()
        out.append(content + bytes(-len(content) % 64))
    return b"".join(out)


def prior_cases():
    from aei.codec.exact.native import core
    from aei.codec.exact.payload import write
    from aei.codec.exact.quantise import quantise, to_hyper_symbols
    from aei.codec.exact.steps import grid_of
    from golden_files import codec_of
    from priors import make_prior

    named = [
        (name, codec_of(name).bundle.prior) for name in ("tiny", "offset", "trellis", "context")
    ]
    named += [
        (f"random-{seed}", make_prior(seed, bool(seed & 1), bool(seed & 2))) for seed in range(8)
    ]
    for i, (name, prior) in enumerate(named):
        rng = np.random.default_rng(i)
        h, w, hz, wz = grid_of(prior.program, 16 * (5 + i), 16 * 9)
        m, z = prior.program["latents"], prior.program["hyper_latents"]
        y = rng.laplace(0, (0.4, 3, 200)[i % 3], (h, w, m)).astype(np.float32)
        z_hat = to_hyper_symbols(rng.laplace(0, 4, (hz, wz, z)).astype(np.float32))
        quantised = quantise(prior, 50, y, z_hat, 12.0)
        payload = np.frombuffer(write(prior, 50, quantised)[0], np.uint8)
        block = prior.native_block
        check = core.check_byte(quantised.y_hat)
        numbers = [0, block.size, 50, h, w, hz, wz, quantised.code_all, payload.size, check, m, z]
        parts = [block, payload, z_hat, quantised.y_hat, y, np.array(12.0)]
        yield name, case(numbers, parts)


def synthesis_cases():
    try:
        from aei.codec.exact import synthesis as reference
        from aei.codec.exact.native import synthesis
        from aei.codec.pixels import post_filter
        from aei.codec.pixels.post_filter import PlaneFilter
        from test_native_synthesis import make_program
    except BaseException as skipped:  # pytest's Skipped, where there is no integer synthesis
        print(f"without the synthesis: {skipped}")
        return
    for seed in range(8):
        program, m = make_program(seed)
        y = np.random.default_rng(seed).integers(-3000, 3000, (7, 5, m)).astype(np.int32)
        x = np.concatenate(list(reference.run(program, [y], len(y), 60)))
        block = synthesis.pack(program)
        weights = np.random.default_rng(seed).integers(-128, 128, 8 * 24 + 8).astype(np.int8)
        planes = (
            PlaneFilter(weights[: 8 * 24].reshape(8, 24), 3, 9),
            None,
            PlaneFilter(weights[8 * 24 :].reshape(2, 4), 1, 7),
        )
        filtered = post_filter.apply(planes, x).astype(np.int32)
        numbers = [1, block.size, 60, 7, 5, m, program.rate, weights.size]
        yield f"synthesis-{seed}", case(numbers, [block, y, x, weights, filtered])


def analysis_cases():
    from aei.codec.exact import analysis as reference
    from aei.codec.exact.native import analysis
    from golden_files import codec_of

    for name in ("context", "finish"):
        found = codec_of(name).bundle.analysis
        levels = np.random.default_rng(3).integers(0, 256, (80, 48, 3)).astype(np.uint8)
        y = reference.latents(found, levels, 70)
        z_hat = reference.hyper_symbols(found, y, 70)
        for part, program, x, out in (("g_a", found.g_a, levels, y), ("h_a", found.h_a, y, z_hat)):
            block = analysis._pack(program).memory
            numbers = [2, block.size, 70, *x.shape[:2], x.nbytes, out.size]
            yield f"analysis-{name}-{part}", case(numbers, [block, x, out])


def build(folder: Path, compiler: list[str], flags: list[str], isa: str) -> Path:
    """check.c with the core, for plain C and one instruction set."""
    common = [*compiler, "-std=gnu11", "-O3", "-ffp-contract=off", "-static", *flags]
    objects = []
    for name, more in (("plain", ["-DAEI_PLAIN"]), (isa, [])):
        for kernel in KERNELS:
            objects.append(folder / f"{kernel}-{name}.o")
            command = [*common, *more, f"-DAEI_ISA={name}", "-c", CORE / kernel, "-o", objects[-1]]
            subprocess.run(command, check=True)
    rest = [x for x in sorted(CORE.glob("*.c")) if x.name not in KERNELS]
    program = folder / "check"
    command = [
        *common,
        f"-DAEI_HAVE_{isa.upper()}",
        *rest,
        HERE / "check.c",
        *objects,
        "-lm",
        "-lpthread",
    ]
    subprocess.run([*command, "-o", program], check=True)
    return program


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cc", required=True, help="cross compiler, with its options")
    parser.add_argument("--run", default="", help="emulator, with its options")
    parser.add_argument("--isa", default="neon", choices=("neon", "sse2"))
    options = parser.parse_args()
    os.environ["AEI_CORE"] = "numpy"  # what makes the cases
    sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        program = build(folder, shlex.split(options.cc), [], options.isa)
        paths = []
        for name, content in [*prior_cases(), *synthesis_cases(), *analysis_cases()]:
            paths.append(folder / name)
            paths[-1].write_bytes(content)
        command = [*shlex.split(options.run), str(program), *(p.name for p in paths)]
        return subprocess.run(command, cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
