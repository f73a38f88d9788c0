"""What `auto` measures, and what it chooses; on Kodak where that is at hand."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from aei.codec.pixels.images import Picture
from aei.codec.restore import measure as m
from aei.codec.training.data import degrade as d
from conftest import synthetic_photo
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

KODAK = sorted(Path(os.environ.get("AEI_DATA", "nowhere"), "kodak").glob("*.png"))[::8]


def kind_of(image, tables=None):
    return m.choose_restoring(Picture(image), tables)[0]


@pytest.fixture(scope="module", params=KODAK or [None])
def kodak(request):
    if request.param is None:
        pytest.skip("Kodak is not in $AEI_DATA")
    with Image.open(request.param) as image:
        return np.asarray(image.convert("RGB"))


def test_choices_on_kodak(kodak):
    rng = np.random.default_rng(0)
    assert kind_of(kodak) is None
    for sigma in (15, 25, 50):
        assert kind_of(d.add_noise(kodak, sigma, rng)) == "denoise"
    for quality in (10, 20):
        assert kind_of(d.jpeg(kodak, quality)) == "deblock"
        assert kind_of(d.jpeg(kodak, quality, 2, (3, 6))) == "deblock", "a cropped one"
    for width in (1.2, 2):
        assert kind_of(d.blur(kodak, d.gaussian_kernel(width), 1, rng)) == "deblur"
    assert kind_of(d.blur(kodak, d.disc_kernel(2.5), 1, rng)) == "deblur"


def test_choices_of_light_on_kodak(kodak):
    def choice(image):
        return m.choose_enhancing(Picture(image))[0]

    assert choice(kodak) is None
    assert choice(d.darken(kodak, 0.3, 1.4, 2, np.random.default_rng(0))) == "low-light"
    assert choice(d.flatten(kodak, 0.35, 90)) == "contrast"
    mist = d.add_haze(kodak, np.full(kodak.shape[:2], 0.4), np.array([225, 228, 232]))
    assert choice(mist) == "haze"
    assert choice(d.fade(kodak, 0.15, np.ones(3), 0, 255)) == "colour"
    grey = np.asarray(Image.fromarray(kodak).convert("L"))[..., None]
    assert choice(grey) is None


@given(st.floats(3, 60), st.integers(0, 99))
def test_noise_is_measured_on_smooth_ground(sigma, seed):
    y, x = np.mgrid[0:96, 0:96]
    ramp = (100 + 0.3 * x + 0.2 * y)[..., None].astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, sigma, (96, 96, 3)).astype(np.float32)
    assert m.noise_sigma(ramp + noise) == pytest.approx(sigma, rel=0.1)


@pytest.mark.parametrize("quality", [5, 10, 25, 50, 64, 66, 75, 90])
def test_quality_is_read_from_the_tables(quality):
    out = io.BytesIO()
    Image.fromarray(synthetic_photo(64, 64)).save(out, "JPEG", quality=quality)
    with Image.open(out) as image:
        tables = image.quantization
    assert m.table_quality(tables) == pytest.approx(quality, abs=2)
    # tables decide for poor files; good ones are measured like any other
    expected = "deblock" if quality < m.JPEG_QUALITY else None
    assert kind_of(np.full((64, 64, 3), 90, np.uint8), tables) == expected


def test_tables_reach_the_choice_through_the_image():
    from aei.codec import ModelError, Restorers

    out = io.BytesIO()
    Image.fromarray(synthetic_photo(64, 64)).save(out, "JPEG", quality=20)
    with (
        Image.open(out) as image,
        pytest.raises(ModelError, match="no bundle for deblock there"),
    ):
        Restorers(Path(__file__).parents[2] / "restorers").apply(image, "auto")


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 300, 1), (15, 15, 3), (20, 20, 1), (70, 17, 3)])
def test_small_and_flat_images_are_left_alone(shape):
    for value in (0, 128, 255):
        assert kind_of(np.full(shape, value, np.uint8)) is None
    said = m.choose_enhancing(Picture(np.full(shape, 128, np.uint8)))[1]
    assert said


def test_large_images_are_sampled_evenly():
    image = np.zeros((3000, 1700, 3), np.uint8)
    image[:, ::2] = 200
    image[1500:] = 100
    seen = m._spread(Picture(image))
    assert 0.4 * m.COUNT < seen.shape[0] * seen.shape[1] <= 1.1 * m.COUNT
    assert abs(seen[:, :, 0].astype(float).mean() - image[..., 0].mean()) < 40
    assert m._middle(Picture(image)).shape == (2048, 1700, 3)
