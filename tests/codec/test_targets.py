"""Target modes: sizes never above and within 2 %, quality never below, few probes, honest
refusals."""

import json

import numpy as np
import pytest
from aei import codec as face
from aei.cli.files import ByteCount
from aei.codec import targets
from aei.codec.files import convert
from aei.codec.metrics.ssimulacra2 import ssimulacra2
from aei.codec.pixels import quality
from aei.codec.targets import BPP, PSNR, SIZE, SSIM, SSIMULACRA2, Target
from conftest import synthetic_photo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


@pytest.fixture(scope="module")
def large() -> np.ndarray:
    return synthetic_photo(256, 320, seed=3)


@pytest.mark.parametrize("size", [1500, 4000, 6500])
def test_sizes_are_met_from_below(codec, large, size):
    reached = targets.encode_to_target(codec, large, Target(SIZE, size))
    assert len(reached.data) <= size
    if len(reached.data) < 0.98 * size:  # no file in between: the next finer one is too large
        assert len(codec.encode(large, gain_index=reached.gain_index + 1)) > size
    assert reached.data == codec.encode(large, gain_index=reached.gain_index)
    assert reached.probes <= 6


def test_bits_per_pixel_are_met_from_below(codec, large):
    reached = targets.encode_to_target(codec, large, Target(BPP, 0.3))
    assert 0.98 * 0.3 <= 8 * len(reached.data) / (256 * 320) <= 0.3
    assert reached.achieved == 8 * len(reached.data) / (256 * 320)


@pytest.mark.parametrize("goal", [31.0, 33.0])
def test_psnr_is_met_from_above(codec, large, goal):
    reached = targets.encode_to_target(codec, large, Target(PSNR, goal))
    achieved = quality.psnr(large, np.asarray(codec.decode(reached.data)))
    assert goal <= achieved <= goal + 0.3
    if achieved > goal + 0.1:  # no file in between: the next coarser one is not good enough
        coarser = codec.encode(large, gain_index=reached.gain_index - 1)
        assert quality.psnr(large, np.asarray(codec.decode(coarser))) < goal
    assert reached.achieved == achieved


def test_ssim_is_met_from_above(codec, large):
    reached = targets.encode_to_target(codec, large, Target(SSIM, 0.9))
    achieved = quality.ssim(large, np.asarray(codec.decode(reached.data)))
    assert 0.9 <= achieved < 0.91
    assert reached.achieved == pytest.approx(achieved, abs=1e-9)


@pytest.mark.parametrize("goal", [50, 60, 70])
def test_scores_are_met_within_a_half(codec, large, goal):
    reached = targets.encode_to_target(codec, large, Target(SSIMULACRA2, goal))
    achieved = ssimulacra2(large, np.asarray(codec.decode(reached.data)))
    assert goal - 0.5 <= achieved <= goal + 0.5
    assert reached.achieved == achieved
    assert reached.probes <= 8


@given(st.floats(0, 90), st.integers(0, 99))
def test_scores_that_jump_are_met_where_a_neighbour_meets_them(goal, seed):
    rng = np.random.default_rng(seed)
    curve = np.linspace(-20, 88, 256) + rng.uniform(-0.6, 0.6, 256)
    window = goal - 0.5, goal + 0.5
    index, values = targets._search(lambda i: float(curve[i]), SSIMULACRA2, window)
    found = targets._nearby(lambda i: float(curve[i]), index, values, window)
    if goal < 86:
        near = curve[max(0, index - 3) : index + 4]
        if ((near >= window[0]) & (near <= window[1])).any():
            assert window[0] <= curve[found] <= window[1]
        else:
            assert curve[found] >= window[0]
    assert len(values) <= 24


def test_scores_of_grey_and_of_tiny_images(codec, large):
    grey = Image.fromarray(large).convert("L")
    reached = targets.encode_to_target(codec, grey, Target(SSIMULACRA2, 60))
    back = codec.decode(reached.data)
    assert back.mode == "L"
    score = ssimulacra2(np.asarray(grey), np.asarray(back))
    assert 59.5 <= score == reached.achieved <= 60.5
    with pytest.raises(face.UnsupportedError, match="not defined for sides below 8"):
        targets.encode_to_target(codec, large[:7], Target(SSIMULACRA2, 60))


def test_out_of_reach(codec, large):
    with pytest.raises(face.UnsupportedError, match="even the smallest file has"):
        targets.encode_to_target(codec, large, Target(SIZE, 100))
    with pytest.raises(face.UnsupportedError, match="even the best file has only"):
        targets.encode_to_target(codec, large, Target(PSNR, 70))
    with pytest.raises(face.UnsupportedError, match=r"even the best .* SSIMULACRA 2"):
        targets.encode_to_target(codec, large, Target(SSIMULACRA2, 99.9))
    best = targets.encode_to_target(codec, large, Target(SIZE, 10**7))
    assert best.gain_index == 255


@pytest.mark.parametrize(
    ("kind", "value"), [(SIZE, 0), (BPP, -1), (SSIM, 1), (PSNR, 100), (SSIMULACRA2, 100)]
)
def test_senseless_targets(kind, value):
    with pytest.raises(face.UnsupportedError, match="give a number"):
        Target(kind, value)


def test_metadata_and_alpha_count(codec, large):
    image = Image.fromarray(np.dstack([large, np.full(large.shape[:2], 200, np.uint8)]))
    image.info["icc_profile"] = np.random.default_rng(0).bytes(2000)
    reached = targets.encode_to_target(codec, image, Target(SIZE, 7000))
    assert 0.98 * 7000 <= len(reached.data) <= 7000
    assert face.decode(reached.data).info["icc_profile"] == image.info["icc_profile"]


@given(
    st.sampled_from([SIZE, PSNR, SSIM, SSIMULACRA2]),
    st.lists(st.floats(1e-4, 0.2), min_size=256, max_size=256),
    st.floats(-5, 25),
    st.floats(-0.1, 1.1),
)
def test_the_search_ends_on_the_safe_side_for_any_rising_curve(kind, steps, base, share):
    curve = base + np.cumsum(steps)
    goal = curve[0] + share * (curve[-1] - curve[0])
    low, high = goal - 0.01, goal + 0.01
    index, values = targets._search(lambda i: float(curve[i]), kind, (low, high))
    assert index in values
    assert len(values) <= 20
    if not low <= values[index] <= high:
        safe = curve <= high if kind == SIZE else curve >= low
        if safe.any():
            best = np.flatnonzero(safe)[-1 if kind == SIZE else 0]
            assert index == best
        else:
            assert index == (0 if kind == SIZE else 255)


@pytest.mark.parametrize(
    ("text", "size"),
    [("200KB", 200_000), ("1.5 MB", 1_500_000), ("64KiB", 65536), ("777", 777), ("5k", 5000)],
)
def test_sizes_as_people_write_them(text, size):
    assert ByteCount().convert(text, None, None) == size


def test_command_line(run_aei, tmp_path, large):
    source = tmp_path / "x.png"
    Image.fromarray(large).save(source)
    result = run_aei("encode", source, "--target-size", "6KB", "--json")
    assert result.code == 0, result.err
    facts = json.loads(result.out)
    assert 5800 <= facts["bytes_out"] == facts["size"] <= 6000
    result = run_aei("encode", source, "--target-psnr", "60", "-f")
    assert result.code == 1
    assert "x.png: even the best file has only" in result.err
    assert run_aei("encode", source, "--target-size", "8KB", "-q", "40", "-f").code == 2
    assert run_aei("encode", source, "--target-size", "lots", "-f").code == 2
    result = run_aei("encode", tmp_path, "-o", tmp_path / "out", "--target-bpp", 0.4, "--json")
    assert json.loads(result.out.splitlines()[0])["bpp"] <= 0.4
    result = run_aei("encode", source, "--target-ssimulacra2", 50, "-f", "--json")
    assert 49.5 <= json.loads(result.out)["ssimulacra2"] <= 50.5
    assert run_aei("encode", source, "--target-ssimulacra2", 100, "-f").code == 2


def test_max_side_scales_down_and_never_up(run_aei, tmp_path, large):
    Image.fromarray(large).save(tmp_path / "x.jpg", quality=95)
    for side, size in ((160, (160, 128)), (1000, (320, 256))):
        result = run_aei("encode", tmp_path / "x.jpg", "--max-side", side, "-f", "--json")
        assert result.code == 0, result.err
        facts = json.loads(result.out)
        assert (facts["width"], facts["height"]) == size


def test_max_side_takes_images_too_large_to_encode(run_aei, tmp_path):
    Image.new("RGB", (6000, 4000), "olive").save(tmp_path / "x.jpg")
    result = run_aei("encode", tmp_path / "x.jpg", "--max-side", 300, "--json")
    assert json.loads(result.out)["width"] == 300


@pytest.mark.parametrize("mode", ["P", "1", "LA", "RGBA", "L"])
def test_scaling_keeps_transparency(mode, large):
    import io

    image = Image.fromarray(large).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert("RGB").convert("P") if mode == "P" else image.convert(mode)
    options = {"transparency": 3} if mode == "P" else {}
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    opened, scaled = convert.open_image(file.getvalue(), 100)
    assert scaled
    assert max(opened.size) == 100
    assert opened.mode == {"P": "RGBA", "1": "L"}.get(mode, mode)


def test_keep_smaller(run_aei, tmp_path, large):
    source = tmp_path / "photos" / "x.jpg"
    source.parent.mkdir()
    Image.fromarray(large).save(source, quality=3)
    result = run_aei("encode", source.parent, "-o", tmp_path / "a", "-q", 95)
    assert result.code == 0
    assert "1 files are not smaller than their sources" in result.err
    assert (tmp_path / "a" / "x.aei").is_file()
    result = run_aei(
        "encode", source.parent, "-o", tmp_path / "b", "-q", 95, "--keep-smaller", "--json"
    )
    assert json.loads(result.out.splitlines()[0])["status"] == "kept"
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["x.jpg"]
    assert (tmp_path / "b" / "x.jpg").read_bytes() == source.read_bytes()
    assert (tmp_path / "b" / "x.jpg").stat().st_mtime_ns == source.stat().st_mtime_ns
    # a rerun knows the copy
    result = run_aei(
        "encode", source.parent, "-o", tmp_path / "b", "-q", 95, "--keep-smaller", "--skip-existing"
    )
    assert "0 encoded, 1 skipped" in result.err
    # beside the source there is nothing to copy
    result = run_aei("encode", source, "-q", 95, "--keep-smaller")
    assert result.code == 0
    assert [p.name for p in source.parent.iterdir()] == ["x.jpg"]
    assert run_aei("encode", source, "-q", 95, "--keep-smaller", "--strip").code == 2
    assert run_aei("encode", "-", "--keep-smaller", stdin=source.read_bytes()).code == 2


def test_keep_smaller_with_keep_extension_copies_under_the_own_name(run_aei, tmp_path, large):
    Image.fromarray(large).save(tmp_path / "x.jpg", quality=3)
    result = run_aei("encode", tmp_path / "x.jpg", "-o", f"{tmp_path}/out/", "-q", 95,
                     "--keep-smaller", "--keep-extension")  # fmt: skip
    assert result.code == 0, result.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["x.jpg"]


def test_a_single_file_larger_than_its_source_says_so(run_aei, tmp_path, large):
    Image.fromarray(large).save(tmp_path / "x.jpg", quality=3)
    result = run_aei("encode", tmp_path / "x.jpg", "-q", 95)
    assert result.code == 0
    assert "not smaller than the source" in result.err


def test_transparency_is_not_lost_in_formats_without(run_aei, tmp_path, large):
    image = Image.fromarray(large).convert("RGBA")
    image.save(tmp_path / "opaque.png")
    image.putalpha(120)
    image.save(tmp_path / "clear.png")
    assert run_aei("encode", tmp_path / "clear.png").code == 0
    result = run_aei("decode", tmp_path / "clear.aei", "-o", tmp_path / "clear.jpg")
    assert result.code == 1
    assert "transparency" in result.err
    assert run_aei("encode", tmp_path / "opaque.png").code == 0
    assert run_aei("decode", tmp_path / "opaque.aei", "-o", tmp_path / "opaque.jpg").code == 0


def test_ssim_agrees_with_scikit_image(photo):
    metrics = pytest.importorskip("skimage.metrics")
    noisy = np.clip(photo + np.random.default_rng(1).normal(0, 12, photo.shape), 0, 255).astype(
        np.uint8
    )
    luma = [a @ np.array([0.299, 0.587, 0.114]) for a in (photo, noisy)]
    theirs = metrics.structural_similarity(
        *luma, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert quality.ssim(photo, noisy) == pytest.approx(theirs, abs=1e-5)
    assert quality.ssim(photo[..., 0], photo[..., 0]) == pytest.approx(1)
    assert quality.ssim(photo[:5, :7], photo[:5, :7]) == pytest.approx(1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "L"])
def test_quality_counts_what_is_seen(codec, large, mode):
    image = Image.fromarray(large).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size).point(lambda v: max(0, v - 60)))
    image = image.convert("RGB").convert(mode) if mode in ("P", "1") else image.convert(mode)
    reached = targets.encode_to_target(codec, image, Target(PSNR, {"1": 8, "P": 18}.get(mode, 33)))
    back = codec.decode(reached.data)
    a, b = targets.seen(image, back, True)
    assert quality.psnr(a, b) == reached.achieved


def test_quality_of_a_turned_image(codec, large):
    image = Image.fromarray(large)
    image.getexif()[0x0112] = 6
    for metadata, size in ((True, (320, 256)), (False, (256, 320))):
        reached = targets.encode_to_target(codec, image, Target(PSNR, 32), metadata)
        assert codec.decode(reached.data).size == size
        assert 32 <= reached.achieved <= 32.1
