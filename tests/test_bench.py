"""Metrics, and a benchmark run from end to end on tiny images."""

import csv
import json

import numpy as np
import pytest
from aei.benchmarks import codecs, datasets, metrics
from aei.benchmarks import run as bench
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("bjontegaard", reason="needs the [bench] extra")


def test_psnr():
    a = np.zeros((4, 4, 3), np.uint8)
    assert metrics.psnr(a, a) == 100
    assert metrics.psnr(a, a + 255) == 0
    assert metrics.psnr(a, a + 1) == pytest.approx(48.1308, abs=1e-4)


@pytest.mark.parametrize("size", [(161, 161), (200, 333), (255, 190)])
def test_ms_ssim_agrees_with_pytorch_msssim(size):
    torch = pytest.importorskip("torch", reason="needs torch")
    reference = pytest.importorskip("pytorch_msssim", reason="needs pytorch-msssim")
    a = synthetic_photo(*size)
    b = np.clip(a + np.random.default_rng(0).normal(0, 25, a.shape), 0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(x.copy()).permute(2, 0, 1)[None].float() for x in (a, b)]
    want = float(reference.ms_ssim(*tensors, data_range=255))
    assert metrics.ms_ssim(a, b) == pytest.approx(want, abs=1e-5)
    assert metrics.ms_ssim(a, a) == pytest.approx(1)


def test_ms_ssim_is_undefined_on_small_images():
    a = np.zeros((160, 300, 3), np.uint8)
    assert np.isnan(metrics.ms_ssim(a, a))


def test_bd_rate_of_a_scaled_curve():
    rates, qualities = [0.1, 0.3, 0.8, 1.5], [28.0, 32.0, 36.0, 39.0]
    value, window = metrics.bd_rate((rates, qualities), ([r * 0.7 for r in rates], qualities))
    assert value == pytest.approx(-30)
    assert window == (28.0, 39.0)
    assert np.isnan(metrics.bd_rate((rates, qualities), (rates, [50.0, 51, 52, 53]))[0])


def test_rate_at():
    assert metrics.rate_at([1, 2, 4], [30, 33, 36], 33) == pytest.approx(2)
    assert np.isnan(metrics.rate_at([1, 2, 4], [30, 33, 36], 40))


@pytest.mark.parametrize("codec", codecs.peer_codecs(), ids=lambda c: c.name)
def test_payload_is_counted_inside_the_file(codec):
    image = synthetic_photo(64, 64)
    small, large = (codec.encode(image, q) for q in codec.qualities[:: len(codec.qualities) - 1])
    assert 0 < codec.payload(small) < len(small)
    # headers are the same at every quality, up to the Huffman tables of optimised JPEG
    assert abs(len(large) - codec.payload(large) - (len(small) - codec.payload(small))) < 200


def test_missing_data_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("AEI_DATA", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(datasets.DataMissingError, match="AEI_DATA"):
        datasets.load_dataset("kodak")
    with pytest.raises(datasets.DataMissingError, match="no images"):
        datasets.load_dataset(str(tmp_path))


def test_bench_and_plot_from_the_command_line(tmp_path, photo):
    from aei.cli import bench as bench_cli
    from aei.cli import plot as plot_cli
    from click.testing import CliRunner

    for i in range(2):
        Image.fromarray(np.roll(photo, 40 * i, axis=0)).save(tmp_path / f"{i}.png")
    out = tmp_path / "r.json"
    result = CliRunner().invoke(bench_cli.command, [str(tmp_path), "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "BD-rate" in result.output
    facts, points = bench.load(out)
    assert facts["images"] == 2
    with out.with_suffix(".csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(points)
    aei = [p for p in points if p.codec == "aei"]
    assert all(0 < p.bytes - p.payload_bytes <= 18 for p in aei)
    rows = {row["codec"]: row for row in facts["bd_rate_against_jpeg"]}
    assert rows["JPEG"]["psnr"] == 0
    assert rows["JPEG optimised"]["psnr"] < 0
    result = CliRunner().invoke(plot_cli.command, [str(out), "-o", str(tmp_path / "p.png")])
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "p.png").width > 800
    json.loads(out.read_text())  # NaN is not JSON


def test_jpeg_on_kodak_matches_the_published_points():
    try:
        kodak = datasets.load_dataset("kodak")
    except datasets.DataMissingError as reason:
        pytest.skip(str(reason))
    jpeg = codecs.peer_codecs()[0]
    jpeg.qualities = (25, 85)
    points = bench.run(kodak, [jpeg], lambda: None)
    (rates, qualities) = bench.curves(points)["JPEG"]
    assert rates == pytest.approx([0.588, 1.857], rel=0.005)
    assert qualities == pytest.approx([29.89, 36.46], abs=0.15)
