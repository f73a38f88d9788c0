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
                markersize=3.5 if len(rate) > 1 else 9,
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


def plot_run(folder: Path, out: Path) -> None:
    """Loss curves of a training run: steps.csv and held_out.csv of `aei train`.

    Raises ValueError where the folder holds no run.
    """
    import csv

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def read(name: str) -> dict[str, list[float]]:
        path = folder / name
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key] or "nan") for row in rows] for key in rows[0]} if rows else {}

    steps, held_out = read("steps.csv"), read("held_out.csv")
    if not steps:
        raise ValueError(f"{folder}: no training run there (no steps.csv)")
    judged = next((key for key in ("bd_rate", "mse") if key in held_out), None)
    figure, axes = plt.subplots(
        1, 3 if judged else 2, figsize=(14 if judged else 10, 4), layout="constrained"
    )
    axes[0].plot(steps["step"], steps["loss"], label="training")
    if held_out:
        axes[0].plot(held_out["step"], held_out["loss"], marker="o", markersize=3, label="held out")
    axes[0].set(xlabel="step", ylabel="loss")
    axes[0].legend()
    axes[1].plot(steps["bpp"], steps["psnr"], linewidth=0.8, alpha=0.6)
    axes[1].set(xlabel="bits per pixel (training)", ylabel="PSNR (dB)")
    if judged:
        label = {"bd_rate": "held-out BD-rate against JPEG (%)", "mse": "held-out MSE"}[judged]
        axes[2].plot(held_out["step"], held_out[judged], marker="o", markersize=3)
        axes[2].set(xlabel="step", ylabel=label)
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.savefig(out, dpi=130)
    plt.close(figure)


def plot_study(rows: list[dict], out: Path) -> None:
    """Held-out MSE of every run of `aei study`, as bars grouped by what was changed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = plt.get_cmap("tab10")
    factors = list(dict.fromkeys(row["factor"] for row in rows))
    labels = [row["setting"] for row in rows]
    figure, axis = plt.subplots(figsize=(9, 0.28 * len(rows) + 1.2), layout="constrained")
    for factor in factors:
        chosen = [i for i, row in enumerate(rows) if row["factor"] == factor]
        values = [rows[i]["held_out_mse"] for i in chosen]
        axis.barh(chosen, values, color=colours(factors.index(factor)), label=factor)
    axis.axvline(rows[0]["held_out_mse"], color="black", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rows)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlabel("held-out MSE (pixels 0..1); dotted: the text's setting")
    axis.legend(fontsize=8)
    figure.savefig(out, dpi=130)
    plt.close(figure)
