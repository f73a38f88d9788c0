"""Rate-distortion plots."""

from __future__ import annotations

from pathlib import Path

from .run import curves, load

COLOURS = {
    "aei": "#d1495b",
    "JPEG": "#8d99ae",
    "JPEG optimised": "#5c677d",
    "WebP": "#2a9d8f",
    "AVIF": "#3a6ea5",
}


def plot(results: Path, out: Path) -> None:
    """Draw PSNR, and MS-SSIM or PSNR without headers, against rate, from the JSON of `aei bench`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    facts, points = load(results)
    panels = [("PSNR (dB)", curves(points, "psnr"))]
    structural = curves(points, "ms_ssim")
    if structural:
        panels.append(("MS-SSIM (dB)", structural))
    else:
        panels.append(("PSNR (dB), headers not counted", curves(points, "psnr", headers=False)))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for axis, (label, by_codec) in zip(axes, panels):
        for name, (rate, quality) in by_codec.items():
            order = sorted(range(len(rate)), key=rate.__getitem__)
            axis.plot(
                [rate[i] for i in order],
                [quality[i] for i in order],
                marker="o",
                markersize=3.5,
                linewidth=2.2 if name == "aei" else 1.4,
                color=COLOURS.get(name),
                label=name,
                zorder=3 if name == "aei" else 2,
            )
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        axis.set_xlabel("bits per pixel, whole files" if "not" not in label else "bits per pixel")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(f"{facts['dataset']}, {facts['images']} images, real files")
    figure.savefig(out, dpi=130)
    plt.close(figure)
