"""Metrics by name, other people's metrics, and bytes at equal quality within windows."""

import json
import sys

import numpy as np
import pytest
from aei.benchmarks import bench, metrics, results
from aei.benchmarks.measures import bdrate
from aei.benchmarks.measures.windows import Curves, label, table
from aei.benchmarks.metrics import BUILT_IN, Measure, Metric, MetricError
from aei.benchmarks.run import Point
from aei.cli import bench as bench_cli
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("scipy", reason="needs the [bench] extra")
ERROR = Metric("error", "Error", ((0.5, 2.0),), True)


def points(codec: str, factor: float, images: int = 3, metric: str = "psnr", error=False):
    """A codec whose bytes are `factor` times those of another, each image at other qualities."""
    found = []
    for i in range(images):
        for q in range(6):
            value = 4.0 / 2**q * (1 + i / 10) if error else 28.0 + 3 * q + i
            size = factor * 1000 * 2**q * (i + 1)
            found.append(Point(codec, q, f"image{i}", 100, 100, size, size, {metric: value}))
    return found


def test_measures_are_chosen_by_name():
    chosen = metrics.choose_measures("ssimulacra2, butteraugli,ssimulacra2")
    assert [m.name for m in chosen] == ["psnr", "ssimulacra2", "butteraugli"]
    assert {m.name for m in metrics.choose_measures(metrics.DEFAULT)} < {
        m.name for m in metrics.MEASURES
    }
    with pytest.raises(MetricError, match="'vmaf': no such metric; there are psnr, psnr-yuv"):
        metrics.choose_measures("vmaf")
    mine = Measure("x", (Metric("psnr", "mine"),), lambda a, b: (1,))
    with pytest.raises(MetricError, match="psnr: two metrics"):
        metrics.choose_measures("psnr", [mine])


def test_every_default_measure_says_that_equal_images_are_equal(photo):
    values: dict = {}
    for measure in metrics.choose_measures(metrics.DEFAULT):
        values |= measure(
            np.pad(photo, ((0, 20), (0, 0), (0, 0))), np.pad(photo, ((0, 20), (0, 0), (0, 0)))
        )
    assert values == {
        "psnr": 100, "psnr_yuv": 100, "ms_ssim": pytest.approx(1), "ssimulacra2": 100,
        "butteraugli": 0, "butteraugli_max": 0,
    }  # fmt: skip


def test_names_and_values_of_butteraugli_belong_together(photo):
    (measure,) = (m for m in metrics.MEASURES if m.name == "butteraugli")
    values = measure(photo, photo // 8 * 8)
    assert 0 < values["butteraugli"] < values["butteraugli_max"]


def test_cvvdp_prefers_the_better_image(photo):
    pytest.importorskip("pycvvdp", reason="needs the [cvvdp] extra")
    noise = np.random.default_rng(0).normal(0, 1, photo.shape)
    good, bad = (
        metrics.cvvdp(photo, np.clip(photo + k * noise, 0, 255).astype(np.uint8)) for k in (3, 60)
    )
    assert bad < good <= 10


SUM = (
    "import sys, PIL.Image as I, numpy as n; a, b = (n.asarray(I.open(p)).astype(int) for p in "
    "sys.argv[1:]); print('the mean is:', abs(a - b).mean(), 7)"
)


def test_a_metric_of_a_command(photo):
    command = f'{sys.executable} -c "{SUM}" {{original}} {{distorted}}'
    measure = metrics.command_measure("mean error", command, smaller_is_better=True)
    dark = photo // 2
    want = np.abs(photo.astype(int) - dark).mean()
    assert measure(photo, dark) == {"mean error": pytest.approx(want)}
    assert measure.metrics[0].smaller_is_better
    assert command in measure.key(measure.metrics[0])


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("compare {original}", r"no \{distorted\}"),
        ("no-such-program {original} {distorted}", "cannot be run"),
        ("false {original} {distorted}", "false failed: exit code 1"),
        ("true {original} {distorted}", "printed no number"),
    ],
)
def test_commands_that_fail_say_so(command, said, photo):
    with pytest.raises(MetricError, match=said):
        metrics.command_measure("mine", command)(photo, photo)


def test_a_metric_of_a_python_file(tmp_path, photo):
    plugin = tmp_path / "mine.py"
    head = "from aei.benchmarks.metrics import Measure, Metric\n"
    plugin.write_text(
        head + "METRICS = [Measure('mad', (Metric('mad', 'MAD', ((1, 2),), True),), "
        "lambda a, b: [abs(a.astype(int) - b).mean()])]\n"
    )
    (measure,) = metrics.plugin_measures(plugin)
    assert measure(photo, photo) == {"mad": 0}
    assert measure.identity
    for text, said in (
        ("METRICS = 3", "no list METRICS"),
        ("1 / 0", r"mine\.py: ZeroDivisionError"),
        (
            head + "METRICS = [Measure('m', (Metric('m', 'M'),), lambda a, b: 1 / 0)]",
            "ZeroDivision",
        ),
        (head + "METRICS = [Measure('m', (Metric('m', 'M'),), lambda a, b: ())]", "0 values for 1"),
    ):
        plugin.write_text(text)
        with pytest.raises(MetricError, match=said):
            metrics.plugin_measures(plugin)[0](photo, photo)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 5), st.booleans())
def test_a_codec_of_a_share_of_the_bytes(factor, error):
    metric = ERROR if error else Metric("psnr", "PSNR", ((32, 40),))
    both = points("a", factor, 3, metric.name, error) + points("b", 1, 3, metric.name, error)
    found = Curves(both, metric).change("a", "b", metric.windows[0])
    assert found is not None
    assert found.percent == pytest.approx(100 * (factor - 1), abs=0.02)
    assert found.low == found.high == found.worst == pytest.approx(found.percent, abs=0.02)
    assert found.images == 3
    row, _ = results.bd_table(both, "b", False, {metric.name: metric})
    assert row["codec"] == "a"
    assert row[metric.name] == pytest.approx(100 * (factor - 1), abs=0.1)
    low, high = row[f"{metric.name}_window"]
    assert 0 < low < high


def test_windows_that_curves_do_not_reach_are_left_out():
    both = points("a", 0.5) + points("b", 1)
    metric = Metric("psnr", "PSNR", ((32, 40), (44, 60), (90, 99)))
    curves = Curves(both, metric)
    assert curves.change("a", "b", (90, 99)) is None
    assert curves.change("a", "b", (44, 60)) is None  # less than half of it
    assert curves.change("a", "c", (32, 40)) is None
    found = table(both, [metric], ["a"], ["b"])
    assert found == {
        "psnr": {label((32, 40)): {"a": {"b": [-50.0, -50.0, -50.0, 3, "image0", -50.0]}}}
    }


def test_the_worst_image_is_named():
    both = points("a", 0.5) + points("b", 1)
    for p in both:
        if p.codec == "a" and p.image == "image1":
            p.bytes *= 4
    found = Curves(both, BUILT_IN["psnr"]).change("a", "b", (32, 40))
    assert found is not None
    assert (found.worst_image, found.worst) == ("image1", pytest.approx(100, abs=0.1))
    assert found.low < found.percent < found.high


def test_ms_ssim_windows_are_in_decibels():
    metric = BUILT_IN["ms_ssim"]
    assert metric.quality(0.99) == pytest.approx(20)
    both = points("a", 0.5) + points("b", 1)
    for p in both:  # 8 to 26 dB
        p.values["ms_ssim"] = 1 - 10 ** (-(p.values["psnr"] - 20) / 10)
    found = Curves(both, metric).change("a", "b", (11, 14))
    assert found is not None
    assert found.percent == pytest.approx(-50)


def test_errors_are_turned_round_for_bd_rates():
    values = np.array([4.0, 2.0, 1.0])
    curve = results._quality_curve(np.array([[1.0, 2, 3]]), values[None], ERROR)
    assert curve[1] == [-4, -2, -1]
    assert bdrate.rising(*curve) == curve


def test_a_run_with_other_peoples_metrics(tmp_path, photo):
    (tmp_path / "images").mkdir()
    Image.fromarray(photo).save(tmp_path / "images" / "0.png")
    command = f'{sys.executable} -c "{SUM}" {{original}} {{distorted}}'
    arguments = [
        str(tmp_path / "images"),
        "-o",
        str(tmp_path / "r.json"),
        "--no-cache",
        "--codecs",
        "JPEG",
        "--qualities",
        "JPEG=10,50,90",
        "--metrics",
        "ssimulacra2",
        "--error-command",
        "mad",
        command,
    ]
    result = CliRunner().invoke(bench_cli.command, arguments)
    assert result.exit_code == 0, result.output
    facts, found = results.load(tmp_path / "r.json")
    assert set(facts["metrics"]) == set(found[0].values) == {"psnr", "ssimulacra2", "mad"}
    errors = [p.value("mad") for p in sorted(found, key=lambda p: p.quality)]
    assert errors == sorted(errors, reverse=True)
    assert results.metrics_of(facts)["mad"].smaller_is_better
    assert results.metrics_of(facts)["ssimulacra2"] == BUILT_IN["ssimulacra2"]
    (row,) = facts["bd_rate"]
    assert row["mad"] == 0


def test_results_of_the_format_before_are_read(tmp_path):
    path = tmp_path / "old.json"
    columns = ["codec", "quality", "image", "width", "height", "bytes", "payload_bytes", "psnr"]
    old = {"format": 2, "columns": columns, "points": [["JPEG", 5, "a", 8, 8, 100, 90, 30.5]]}
    path.write_text(json.dumps(old))
    facts, found = results.load(path)
    assert list(facts["metrics"]) == ["psnr"]
    assert found == [Point("JPEG", 5, "a", 8, 8, 100, 90, {"psnr": 30.5})]


def test_unknown_names_are_mistakes_of_one_sentence(tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "0.png")
    job = bench.Job("JPEG", metrics="vmaf", no_cache=True)
    with pytest.raises(MetricError, match="no such metric"):
        bench.bench(str(tmp_path), job, None)


def test_tunings_are_told():
    from aei.benchmarks.codecs.choose import choose
    from aei.benchmarks.codecs.peers import peer_codecs

    assert all(c.tuned_for for c in peer_codecs()[0] if not c.lossless)
    assert choose("aei,aei ms-ssim,JPEG", [])[0][1].tuned_for == "MS-SSIM"


def test_avif_by_default_is_what_it_says(photo):
    from PIL import features

    if not features.check("avif"):
        pytest.skip("this Pillow has no libavif")
    from aei.benchmarks.codecs.peers import _saver, peer_codecs

    (avif,) = (c for c in peer_codecs()[0] if c.name == "AVIF")
    explicit = _saver("AVIF", "quality", advanced={"tune": avif.tuned_for.removeprefix("tune=")})
    assert avif.encode(photo, 50) == explicit(photo, 50)
