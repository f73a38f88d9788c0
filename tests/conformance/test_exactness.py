"""The same latents whatever the BLAS kernel, the thread count, and the CPU features in use."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from aei.codec.exact.native import instruction_sets
from conftest import synthetic_photo

FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4"
NUMPY = {"AEI_CORE": "numpy"}
VARIANTS = {
    "one thread": {"OPENBLAS_NUM_THREADS": "1", **NUMPY},
    "two threads": {"OPENBLAS_NUM_THREADS": "2", **NUMPY},
    "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem", **NUMPY},
    "Haswell": {"OPENBLAS_CORETYPE": "Haswell", **NUMPY},
    "SkylakeX": {"OPENBLAS_CORETYPE": "SkylakeX", **NUMPY},
    "plain coder": {"AEI_CODER": "plain", **NUMPY},
    "no AVX-512 in NumPy": {"NPY_DISABLE_CPU_FEATURES": FEATURES, **NUMPY},
    **{f"native, {isa}": {"AEI_CORE": "native", "AEI_CORE_ISA": isa} for isa in instruction_sets()},
}
CODE = """
import sys, json
from pathlib import Path
from aei.codec import Codec
codec = Codec()
print(json.dumps([codec.latents_sha256(Path(p).read_bytes()) for p in sys.argv[1:]]))
"""


@pytest.fixture(scope="module")
def files(codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    paths, hashes = [], []
    for i, (h, w, q) in enumerate([(96, 130, 20), (64, 64, 60), (33, 200, 100), (1, 1, 50)]):
        data = codec.encode(synthetic_photo(h, w, seed=i), q)
        paths.append(folder / f"{i}.aei")
        paths[-1].write_bytes(data)
        hashes.append(codec.latents_sha256(data))
    return paths, hashes


@pytest.mark.parametrize("variant", VARIANTS)
def test_latents_are_identical(files, variant):
    paths, hashes = files
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS")}
    settings = dict(VARIANTS[variant])
    if "NPY_DISABLE_CPU_FEATURES" in settings:
        # NumPy refuses names it was not built to dispatch on: keep those it knows.
        core = np._core if hasattr(np, "_core") else np.core
        known = set(core._multiarray_umath.__cpu_dispatch__)
        kept = [f for f in FEATURES.split() if f in known]
        if not kept:
            pytest.skip("this NumPy does not dispatch on AVX-512")
        settings["NPY_DISABLE_CPU_FEATURES"] = " ".join(kept)
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *map(str, paths)],
        env=env | settings, capture_output=True, check=False,
    )  # fmt: skip
    if result.returncode < 0:
        pytest.skip(f"this CPU cannot run the variant (signal {-result.returncode})")
    assert result.returncode == 0, result.stderr.decode()
    assert json.loads(result.stdout) == hashes
