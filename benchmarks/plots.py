"""Plots of benchmark results, of training runs and of studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .results import bd_per_image, bd_table, curves, load, metrics_of
from .style import styles

SMALL = 128 * 128  # pixels; images this small are plotted over bytes, where headers show


def plot(results: Path, out: Path, kind: str = "rd", codecs: tuple[str, ...] = ()) -> None:
    """Draw a figure from the JSON of `aei bench`.

    kind: `rd`, two rate-distortion panels; `time`, BD-rate against the times to encode and decode;
    `images`, the BD-rate of each image. codecs: only these; all by default. Raises ValueError where
    the file is no results, or has not what the figure needs.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    facts, points = load(results)
    named = {p.codec for p in points}
    for name in codecs:
        if name not in named:
            raise ValueError(f"{name!r} is not in {results}; there are {', '.join(sorted(named))}")
    look = styles({name: c["family"] for name, c in facts["codecs"].items()})
    if codecs:
        points = [p for p in points if p.codec in codecs or p.codec == facts["anchor"]]
        look = {name: value for name, value in look.items() if name in codecs}
    draw = {"rd": _rd, "time": _time, "images": _images}[kind]
    figure = draw(plt, facts, points, look)
    figure.savefig(out, dpi=130)
    plt.close(figure)


def _line(look: dict, name: str) -> dict:
    dash = look[name]["dash"]
    own = name == "aei"
    return {
        "color": look[name]["colour"],
        "linestyle": (0, tuple(d / 2 for d in dash)) if dash else "-",
        "linewidth": 2.4 if own else 1.4,
        "zorder": 3 if own else 2,
    }


def _rd(plt, facts: dict, points: list, look: dict):
    small = points[0].width * points[0].height <= SMALL
    panels = [("PSNR (dB)", "psnr", True)]
    metrics = metrics_of(facts)
    by_eye = next((m for m in ("ssimulacra2", "ms_ssim") if m in metrics and curves(points, m)), "")
    if by_eye:
        panels.append((metrics[by_eye].label, by_eye, True))
    else:
        panels.append(("PSNR (dB), headers not counted", "psnr", False))
    figure, axes = plt.subplots(1, 2, figsize=(12, 5.6), layout="constrained", sharex=small)
    pixels = float(np.mean([p.width * p.height for p in points]))
    for axis, (label, metric, headers) in zip(axes, panels):
        for name, (rates, quality) in curves(points, metric, headers).items():
            if name not in look or len(rates) < 2:
                continue
            order = np.argsort(rates)
            rate = np.array(rates)[order] * (pixels / 8 if small else 1)
            axis.plot(
                rate, np.array(quality)[order], marker="o", markersize=3, label=name,
                **_line(look, name),
            )  # fmt: skip
            floor = facts["codecs"][name].get("grey_bytes")
            if small and headers and floor:
                axis.axvline(floor, color=look[name]["colour"], linewidth=0.8, linestyle=":")
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
        unit = "bytes" if small else "bits per pixel"
        axis.set_xlabel(f"{unit}, whole files" if headers else f"{unit}, headers not counted")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    if panels[1][1] == "psnr" or small:
        axes[0].text(
            0.98, 0.02, "dotted: a plain grey image's file", transform=axes[0].transAxes,
            ha="right", fontsize=8,
        )  # fmt: skip
    window = axes[0].get_ylim()
    published = {} if small else facts.get("published", {})
    for i, (name, curve) in enumerate(published.items()):
        axes[0].plot(
            curve["bpp"], curve["psnr"], linewidth=0.9, color=str(0.25 + 0.07 * i),
            linestyle=(0, (1, 1 + i % 4)), label=f"{name} (published)",
        )  # fmt: skip
    if published:
        # what was measured sets the window
        axes[0].set_xlim(axes[1].get_xlim())
        axes[0].set_ylim(*window)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8, ncols=5
    )
    figure.suptitle(f"{facts['dataset']}, {facts['images']} images, real files")
    return figure


def _time(plt, facts: dict, points: list, look: dict):
    times = facts.get("timings")
    if not times:
        raise ValueError("these results hold no times: run aei bench with --time")
    rates = {row["codec"]: row.get("psnr") for row in bd_table(points, facts["anchor"], False)}
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained", sharey=True)
    for axis, key in zip(axes, ("encode_s", "decode_s")):
        for row in times["codecs"]:
            name = row["codec"]
            if name not in look or rates.get(name) is None:
                continue
            axis.plot(row[key], rates[name], "o", color=look[name]["colour"], markersize=8)
            axis.annotate(
                name, (row[key], rates[name]), (7, 4), textcoords="offset points", fontsize=8
            )
        axis.set_xscale("log")
        axis.margins(x=0.15)
        axis.set_xlabel(f"seconds to {key.split('_')[0]} {times['megapixels']:.2g} megapixels")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"BD-rate against {facts['anchor']} (%), PSNR")
    figure.suptitle(
        f"{facts['dataset']}; {facts['environment']['cpu']}, {times['threads']} threads, median of "
        f"{times['repeats']} runs"
    )
    return figure


def _images(plt, facts: dict, points: list, look: dict):
    per_image = bd_per_image(points, "psnr", facts["anchor"])
    names = list(dict.fromkeys(p.image for p in points))
    shown = [name for name in per_image if name in look]
    if not shown or len(names) > 100:
        raise ValueError("a figure by image needs two codecs and at most 100 images")
    width = max(8.0, 0.12 * len(names) * len(shown) + 2)
    figure, axis = plt.subplots(figsize=(min(width, 24), 5), layout="constrained")
    for i, name in enumerate(shown):
        at = np.arange(len(names)) + (i - (len(shown) - 1) / 2) * 0.8 / len(shown)
        values = [np.nan if v is None else v for v in per_image[name]]
        axis.bar(at, values, 0.8 / len(shown), color=look[name]["colour"], label=name)
    axis.set_xticks(range(len(names)), names, rotation=60, fontsize=8)
    axis.set_ylabel(f"BD-rate against {facts['anchor']} (%), PSNR")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(fontsize=8)
    return figure


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


def plot_speed(result: dict, out: Path) -> None:
    """Seconds to encode and to decode over megapixels, of what aei.benchmarks.speed measured:
    lines for aei as it is and was, points for codecs measured at one size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for run in result["runs"]:
        for row in run["rows"]:
            key = (row["codec"], run["threads"])
            point = (run["megapixels"], row["encode_s"], row["decode_s"])
            found.setdefault(key, []).append(point)
    colours = plt.get_cmap("tab10")
    names = list(dict.fromkeys(codec for codec, _ in found))
    most = max(threads for _, threads in found)
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
    for (codec, threads), points in found.items():
        if not codec.startswith("aei") and threads != most:
            continue
        pixels, *times = zip(*sorted(points))
        look = {
            "color": colours(names.index(codec) % 10),
            "linestyle": "-" if threads == most else "--",
            "marker": "o" if len(points) > 1 else "x",
            "label": f"{codec}, {threads} thread{'s' if threads > 1 else ''}",
        }
        for axis, seconds in zip(axes, times):
            axis.plot(pixels, seconds, **look)
    for axis, title in zip(axes, ("encode", "decode")):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("megapixels")
        axis.set_title(f"seconds to {title}")
        axis.grid(alpha=0.3, which="both")
    axes[1].legend(fontsize=8)
    figure.savefig(out, dpi=130)
    plt.close(figure)
