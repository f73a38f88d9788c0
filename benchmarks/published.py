"""Published curves on Kodak: what papers and other projects reported, never measured here."""

from __future__ import annotations

import json
from pathlib import Path

from .datasets import data_root
from .measures.bdrate import bd_rate
from .metrics import ms_ssim_db

FILES = ("kodak_compressai.json", "kodak_others.json")
# The JPEG that published BD-rates are recomputed against: Pillow 13, measured when the data was
# gathered.
PUBLISHED_JPEG = "jpeg-pillow13 default420"
SHOWN = (
    "mbt2018-mean_mse", "cheng2020-anchor_mse", "bmshj2018-factorized_mse", "paper-elic2022_mse",
    "mlicplusplus", "cool-chic v5.0", "webp", "av1", "vtm",
)  # fmt: skip


def published(names: tuple[str, ...] = SHOWN) -> tuple[dict, str]:
    """Curves by name: bpp, psnr, ms_ssim_db where there is one, source, and the BD-rate at equal
    PSNR against PUBLISHED_JPEG with its window; or nothing, and the reason."""
    root = data_root()
    folder = root / "anchors" if root else Path("anchors")
    files = [folder / name for name in FILES]
    if not all(f.is_file() for f in files):
        return {}, f"no published curves: {', '.join(FILES)} are not in {folder}"
    known: dict[str, dict] = {}
    for file in files:
        known |= json.loads(file.read_text(encoding="utf-8"))
    jpeg = known[PUBLISHED_JPEG]
    result = {}
    for name in names:
        curve = known[name]
        value, window = bd_rate((jpeg["bpp"], jpeg["psnr"]), (curve["bpp"], curve["psnr"]))
        result[name] = {
            "source": curve["source"],
            "bpp": curve["bpp"],
            "psnr": curve["psnr"],
            "bd_rate": round(value, 2),
            "bd_rate_window": [round(w, 2) for w in window],
        }
        if "msssim" in curve:
            result[name]["ms_ssim_db"] = [round(float(ms_ssim_db(v)), 3) for v in curve["msssim"]]
    return result, ""
