"""Hostile payloads, programs and weights for the native core:
`python tests/native/fuzz_native.py --seconds 60`.

Builds fuzz_native.c with clang's AddressSanitizer, UndefinedBehaviorSanitizer and libFuzzer, in a
new folder, and runs it from the blocks of the golden bundles and of random priors. Exit code 1
where an input fails, which is then kept in --out. Needs clang, and the source tree.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "codec" / "exact" / "native"
KERNELS = ("kernels.c", "pixels.c", "floats.c")
ANALYSES = 4  # blocks whose names come first
SANITIZERS = "-fsanitize=address,undefined"
COVERAGE = "-fsanitize=fuzzer-no-link"  # not of kernels, whose ways do not depend on the data
SETS = {
    "plain": ["-DAEI_PLAIN"],
    "sse2": ["-msse2"],
    "avx2": ["-mavx2"],
    "avxvnni": ["-mavx2", "-mavxvnni"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
}


def build(folder: Path) -> Path:
    """The program, from all sources of the core."""
    flags = [
        "-std=gnu11",
        "-O1",
        "-g",
        "-ffp-contract=off",
        SANITIZERS,
        "-fno-sanitize-recover=all",
    ]
    objects = []

    def compile_one(source: Path, name: str, more: list[str]) -> None:
        objects.append(folder / f"{source.stem}-{name}.o")
        subprocess.run(["clang", *flags, *more, "-c", source, "-o", objects[-1]], check=True)

    sets = SETS if os.uname().machine == "x86_64" else {"plain": SETS["plain"]}
    for name, more in sets.items():
        for kernel in KERNELS:
            compile_one(CORE / kernel, name, [f"-DAEI_ISA={name}", *more])
    have = [f"-DAEI_HAVE_{name.upper()}" for name in sets if name != "plain"]
    for source in sorted(CORE.glob("*.c")):
        if source.name not in KERNELS:
            compile_one(source, "core", [*have, COVERAGE])
    compile_one(HERE / "fuzz_native.c", "core", [*have, COVERAGE])
    program = folder / "fuzz"
    link = [
        "clang",
        "-fsanitize=address,undefined,fuzzer",
        *objects,
        "-lm",
        "-lpthread",
        "-o",
        program,
    ]
    subprocess.run(link, check=True)
    return program


def write_blocks(blocks: Path, corpus: Path) -> None:
    """Blocks that hold, and an input that each decodes without an error."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]
    import numpy as np
    from aei.codec.exact.payload import encode_latents
    from aei.codec.exact.steps import grid_of
    from golden_files import codec_of
    from priors import make_prior

    priors = [
        codec_of(name).bundle.prior
        for name in ("tiny", "offset", "trellis", "context", "factorized")
    ]
    priors += [make_prior(seed, bool(seed & 1), bool(seed & 2)) for seed in range(12)]
    for i, prior in enumerate(priors):
        block = prior.native_block
        if block is None:
            raise SystemExit("the native core was not built: python setup.py build_ext --inplace")
        (blocks / f"p{i:03}").write_bytes(block.tobytes())
        h, w = (4, 4) if prior.program.get("size") else (5, 7)
        stride = prior.program["stride"]
        rng = np.random.default_rng(i)
        shape = grid_of(prior.program, w * stride, h * stride)
        z = rng.normal(0, 3, (*shape[2:], prior.program["hyper_latents"])).astype(np.float32)
        y = rng.laplace(0, 2, (h, w, prior.program["latents"])).astype(np.float32)
        if not prior.program["steps"]:
            y = z
        payload, code_all, _ = encode_latents(prior, 40, y, z)
        head = bytes([ANALYSES + i, 0, 13 + 3 * i, 40, h - 1, w - 1, code_all | 2 * (i & 1) | 4])
        (corpus / f"p{i:03}").write_bytes(head + payload)
        (corpus / f"q{i:03}").write_bytes(bytes([ANALYSES + i, 3, *head[2:], *rng.bytes(300)]))
    try:
        from aei.codec.exact.native import analysis, synthesis
        from test_native_synthesis import make_program
    except BaseException as skipped:  # pytest's Skipped, where there is no integer synthesis
        print(f"without the synthesis: {skipped}")
        return
    for i, name in enumerate(("context", "finish")):
        found = codec_of(name).bundle.analysis
        for k, program in enumerate((found.g_a, found.h_a)):
            block = analysis.block_of(program)
            # before the priors and syntheses in the order of names
            (blocks / f"a{2 * i + k:03}").write_bytes(block.memory.tobytes())
            for changes in (0, 2):
                head = bytes([2 * i + k, changes, 14 + i, 9, 1 + k, 2, 4])
                content = np.random.default_rng(i).bytes(2000)
                (corpus / f"a{2 * i + k:03}-{changes}").write_bytes(head + content)
    for i in range(9):
        block = synthesis.pack(make_program(i)[0])
        (blocks / f"s{i:03}").write_bytes(block.tobytes())
        for changes in (0, 2):
            head = bytes([ANALYSES + len(priors) + i, changes, 14 + i, 9, 5, 6, 4 * (i & 1)])
            content = np.random.default_rng(i).bytes(2000)
            (corpus / f"s{i:03}-{changes}").write_bytes(head + content)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("fuzz-failures"))
    options = parser.parse_args()
    if shutil.which("clang") is None:
        print("no clang here: nothing was fuzzed")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        blocks, corpus = folder / "blocks", folder / "corpus"
        blocks.mkdir()
        corpus.mkdir()
        write_blocks(blocks, corpus)
        program = build(folder)
        options.out.mkdir(parents=True, exist_ok=True)
        command = [
            program,
            f"-max_total_time={options.seconds}",
            f"-seed={options.seed}",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
            "-verbosity=1",
            "-len_control=0",
            f"-artifact_prefix={options.out}/native-",
            corpus,
        ]
        environment = os.environ | {"AEI_FUZZ_BLOCKS": str(blocks)}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        lines = result.stderr.splitlines()
        shown = lines if result.returncode else [x for x in lines if "stat::" in x or "DONE" in x]
        print("\n".join(shown[-60:]))
    return bool(result.returncode)


if __name__ == "__main__":
    sys.exit(main())
