"""Restoration at run time: bundles are found, images of every kind come out right, files stay
ordinary."""

import io
import json
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec, ModelError, Restorers, UnsupportedError, encode_to_target
from aei.codec.pixels.images import Picture
from aei.codec.pixels.quality import psnr
from aei.codec.restore.restorers import KINDS, Restorer, bundle_folders, statistics
from aei.codec.targets import SIZE, Target
from conftest import synthetic_photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

BUNDLES = Path(__file__).parents[2] / "restorers"


def noisy(height=96, width=112, sigma=30.0, seed=0):
    clean = synthetic_photo(height, width, seed)
    noise = np.random.default_rng(seed).normal(0, sigma, clean.shape)
    return clean, np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def restorers():
    return Restorers(BUNDLES, threads=1)


@pytest.fixture(scope="module")
def codec_and_bundles():
    return Codec(threads=1, restore_bundle=BUNDLES)


def test_noise_goes_and_bytes_with_it(codec_and_bundles):
    clean, spoilt = noisy()
    codec = codec_and_bundles
    plain, restored = codec.encode(spoilt, 60), codec.encode(spoilt, 60, restore="denoise")
    assert len(restored) < 0.9 * len(plain)
    # an ordinary file: a codec that knows of no bundles reads it
    backs = [np.asarray(Codec().decode(data)) for data in (plain, restored)]
    assert psnr(clean, backs[1]) > psnr(clean, backs[0])


def test_refinement_aims_at_the_restored_image(codec_and_bundles, restorers):
    _, spoilt = noisy(64, 64)
    by_hand = restorers.apply(spoilt, "denoise").image
    for effort in (1, 3):
        once = codec_and_bundles.encode(spoilt, 50, effort=effort, restore="denoise")
        assert once == codec_and_bundles.encode(by_hand, 50, effort=effort)


@settings(max_examples=12)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 9), st.sampled_from([1, 2, 3, 4]))
def test_windows_change_nothing(height, width, window, channels):
    rng = np.random.default_rng(height)
    source = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    source[..., 1:] //= 2
    if channels in (2, 4):
        source[..., -1] |= 1  # the filling of hidden pixels depends on the window
    for kind in ("denoise", "low-light"):
        restorer = Restorers(BUNDLES, threads=1)[kind]
        whole = restorer.restore(Picture(source))
        pieces = restorer.restore(Picture(source), 16 * window)
        assert whole.shape == source.shape
        assert np.abs(whole.astype(int) - pieces).max() <= 1
        assert (whole != pieces).mean() < 0.01
        if channels in (2, 4):
            assert np.array_equal(whole[..., -1], source[..., -1])


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_pillow_images_keep_mode_alpha_and_metadata(restorers, mode):
    _, spoilt = noisy(40, 60)
    image = Image.fromarray(spoilt)
    alpha = Image.linear_gradient("L").resize(image.size)
    if mode in ("LA", "RGBA"):
        image.putalpha(alpha)
    image = image.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info |= {"exif": exif.tobytes(), "icc_profile": b"profile", "xmp": b"<x/>"}
    made = restorers.apply(image, "denoise").image
    assert made.mode == {"P": "RGB", "1": "L"}.get(mode, mode)
    assert made.size == image.size
    assert made.getexif()[0x0112] == 6
    assert (made.info["icc_profile"], made.info["xmp"]) == (b"profile", b"<x/>")
    if mode in ("LA", "RGBA"):
        assert np.array_equal(np.asarray(made)[..., -1], np.asarray(alpha))
    upright = restorers.apply(image, "denoise", metadata=False).image
    assert upright.size == (40, 60)
    assert not upright.getexif()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 1), (30, 40, 2), (30, 40, 3), (30, 40, 4)])
def test_arrays_stay_arrays(restorers, shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    made = restorers.apply(image, "denoise").image
    assert made.shape == shape
    assert made.dtype == np.uint8


def test_hidden_pixels_are_not_seen(restorers):
    """What lies under full transparency changes neither statistics nor what is visible."""
    image = np.dstack([synthetic_photo(64, 64), np.full((64, 64), 255, np.uint8)])
    image[:, 40:, 3] = 0
    other = image.copy()
    other[:, 40:, :3] = 255
    assert np.array_equal(statistics(Picture(image)), statistics(Picture(other)))
    a, b = (restorers.apply(x, enhance="low-light").image for x in (image, other))
    assert np.array_equal(a[:, :40], b[:, :40])


def test_statistics_are_quantiles():
    image = np.random.default_rng(3).integers(0, 256, (50, 41, 3), dtype=np.uint8)
    seen = statistics(Picture(image)).reshape(3, -1)
    values = np.sort(image.reshape(-1, 3), axis=0) / 255 - 0.5
    np.testing.assert_allclose(seen[:, 3], values[round(0.5 * (len(values) - 1))], atol=1e-6)
    assert (np.diff(seen, axis=1) > 0).all()
    grey = statistics(Picture(image[..., :1])).reshape(3, -1)
    assert np.array_equal(grey[0], grey[2])


def test_light_comes_back(restorers):
    clean = synthetic_photo(96, 96, seed=5)
    dark = (clean * 0.3).astype(np.uint8)
    made = restorers.apply(dark, enhance="low-light").image
    assert psnr(clean, made) > psnr(clean, dark) + 3


def test_both_at_once_and_what_is_said(restorers):
    _, spoilt = noisy(64, 64)
    done = restorers.apply(spoilt, "denoise", "low-light")
    assert done.kinds == ("denoise", "low-light")
    assert done.said == "denoise, low-light"
    by_hand = restorers.apply(restorers.apply(spoilt, "denoise").image, enhance="low-light").image
    assert np.array_equal(done.image, by_hand)


def test_auto_on_a_clean_image_gives_it_back(restorers):
    clean = synthetic_photo(256, 256)
    done = restorers.apply(clean, "auto")
    assert done.image is clean
    assert done.kinds == ()
    assert done.said.startswith("nothing done (noise ")
    assert restorers.apply(noisy(256, 256)[1], "auto").kinds == ("denoise",)


def test_targets_are_met_after_restoration(codec_and_bundles, tmp_path):
    from aei.codec.files.convert import EncodeOptions, encode_file

    _, spoilt = noisy()
    out = io.BytesIO()
    Image.fromarray(spoilt).save(out, "PNG")
    options = EncodeOptions(target=Target(SIZE, 2500), restore="denoise")
    made = encode_file(out.getvalue(), codec_and_bundles, options)
    assert len(made.data) <= 2500
    assert made.said == "denoise"
    by_hand = codec_and_bundles.restorers.apply(spoilt, "denoise").image
    assert made.data == encode_to_target(codec_and_bundles, by_hand, options.target).data


def test_pillow_and_many_images_restore_too(codec_and_bundles, monkeypatch):
    import aei.codec.pillow  # noqa: F401
    from aei.codec import api, encode_many

    _, image = noisy()
    expected = codec_and_bundles.encode(image, 40, restore="denoise")
    assert list(encode_many([image], 40, restore="denoise", restore_bundle=BUNDLES)) == [expected]
    monkeypatch.setattr(api, "default_codec", lambda: codec_and_bundles)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "AEI", quality=40, restore="denoise")
    assert file.getvalue() == expected
    with pytest.raises(OSError, match="choose"):
        Image.fromarray(image).save(io.BytesIO(), "AEI", restore="dust")


def test_asking_for_what_there_is_not(restorers, monkeypatch):
    image = synthetic_photo(32, 32)
    for asked in ({"restore": "low-light"}, {"enhance": "denoise"}, {"restore": "dust"}):
        with pytest.raises(UnsupportedError, match="choose"):
            restorers.apply(image, **asked)
    with pytest.raises(UnsupportedError, match="choose"):
        restorers["dust"]
    with pytest.raises(ModelError, match=r"no bundle for haze there, only for denoise, low-light"):
        restorers.apply(image, enhance="haze")
    with pytest.raises(UnsupportedError, match="cannot restore a list"):
        restorers.apply([1, 2], "denoise")
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [])
    with pytest.raises(ModelError, match="pip install aei-codec-restore"):
        Codec().encode(image, restore="denoise")
    assert Codec().encode(image)  # nothing is looked for where nothing is asked


def test_installed_bundles_are_found_by_entry_point(monkeypatch):
    class Entry:
        def load(self):
            return lambda: [BUNDLES / "denoise.bundle"]

    asked = []
    monkeypatch.setattr(metadata, "entry_points", lambda **group: asked.append(group) or [Entry()])
    assert bundle_folders() == [BUNDLES / "denoise.bundle"]
    assert asked == [{"group": "aei.restore"}]
    assert Restorers().kinds() == ("denoise",)
    assert Restorers(BUNDLES / "low-light.bundle").kinds() == ("low-light",)


def test_bad_bundles_are_named(tmp_path):
    from aei.codec.models.bundle import DEFAULT_MODEL, MODELS

    with pytest.raises(ModelError, match="not a restoring bundle"):
        Restorer(MODELS / DEFAULT_MODEL)
    with pytest.raises(ModelError, match="not a model bundle"):
        Codec(BUNDLES / "denoise.bundle")
    with pytest.raises(ModelError, match="no restoring bundle there"):
        Restorers(tmp_path)["denoise"]
    copy = tmp_path / "x.bundle"
    shutil.copytree(BUNDLES / "denoise.bundle", copy)
    (copy / "restore.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Restorer(copy).restore(Picture(synthetic_photo(32, 32)))
    manifest = json.loads((copy / "manifest.json").read_text())
    for wrong in ({"restores": "dust"}, {"margin": -16}, {"margin": 10**9}, {"margin": "x"}):
        (copy / "manifest.json").write_text(json.dumps(manifest | wrong))
        with pytest.raises(ModelError, match="not a restoring bundle"):
            Restorer(copy)


def test_every_kind_has_a_sentence_in_the_help(run_aei):
    text = run_aei("encode", "--help").out
    for kind in KINDS:
        assert kind in text.replace("\n", " ")
