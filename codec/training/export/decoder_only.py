"""What reading a model's files takes, and nothing else: a bundle of the prior and the integer
synthesis for this package, and one packed file for browsers (codec/training/export/web.py)."""

from __future__ import annotations

import shutil
from pathlib import Path

from ....formats import UnsupportedError
from ...files.storage import OutputError, write_atomic
from ...models.bundle import READS_ONLY, Bundle
from .bundle_folder import new_bundle, write_manifest
from .web import file_name, pack_weights

PARTS = ("prior", "synthesis")  # each NAME.json and NAME.safetensors
LEFT_OUT = ("analysis", "files")  # of the manifest


def write_decoder(bundle: Bundle, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Write both forms into a folder, as NAME and FINGERPRINT.aeiw; return their paths. Raises
    UnsupportedError for a model whose pixels are made in floats, OutputError."""
    folder, packed = out / bundle.name, out / file_name(bundle)
    if bundle.synthesis is None:
        raise UnsupportedError(
            f"{bundle.path}: a model without an integer synthesis has no form for reading alone"
        )
    if folder.exists() and folder.samefile(bundle.path):
        raise OutputError(f"{folder} is the input itself: name another folder")
    for path in (folder, packed):
        if path.exists() and not overwrite:
            raise OutputError(f"{path} exists", reason="exists")
    out.mkdir(parents=True, exist_ok=True)
    with new_bundle(folder) as temporary:
        for part in PARTS:
            for end in ("json", "safetensors"):
                shutil.copyfile(bundle.path / f"{part}.{end}", temporary / f"{part}.{end}")
        kept = {key: value for key, value in bundle.manifest.items() if key not in LEFT_OUT}
        write_manifest(temporary, kept | {READS_ONLY: True})
    write_atomic(packed, pack_weights(bundle), overwrite=overwrite)
    return [folder, packed]
