"""Image modes: a right result or a clear refusal."""

import io

import numpy as np
import pytest
from aei.codec.images import from_network, to_network, to_pixels
from aei.formats import UnsupportedError
from conftest import synthetic_photo
from PIL import Image

RGB = Image.fromarray(synthetic_photo(20, 30))


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "P"])
def test_colour(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(to_pixels(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(to_pixels(image), np.asarray(image.convert("L")))


def test_grey_palette():
    image = RGB.convert("L").convert("P")
    np.testing.assert_array_equal(to_pixels(image), np.asarray(RGB.convert("L")))


@pytest.mark.parametrize(("mode", "kept"), [("RGBA", "RGB"), ("LA", "L")])
def test_opaque_alpha_is_dropped_and_transparency_refused(mode, kept):
    image = RGB.convert(kept).convert(mode)
    np.testing.assert_array_equal(to_pixels(image), np.asarray(RGB.convert(kept)))
    image.putpixel((3, 4), (*image.getpixel((3, 4))[:-1], 100))
    with pytest.raises(UnsupportedError, match="transparency"):
        to_pixels(image)


def test_transparent_colour_key():
    file = io.BytesIO()
    RGB.save(file, "PNG", transparency=RGB.getpixel((0, 0)))
    with pytest.raises(UnsupportedError, match="transparency"):
        to_pixels(Image.open(file))


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "I;16", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_refused_by_name(mode):
    with pytest.raises(UnsupportedError, match=mode):
        to_pixels(Image.new(mode, (4, 4)))


def test_animation_is_refused():
    file = io.BytesIO()
    RGB.save(file, "GIF", save_all=True, append_images=[RGB.rotate(90)])
    with pytest.raises(UnsupportedError, match="2 frames"):
        to_pixels(Image.open(file))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8),
     np.zeros((2, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint16)],
)  # fmt: skip
def test_other_arrays_are_refused(array):
    with pytest.raises(UnsupportedError):
        to_pixels(array)


@pytest.mark.parametrize("grey", [False, True])
def test_network_arrays_round_trip(grey):
    pixels = synthetic_photo(21, 37)
    pixels = pixels[..., 0] if grey else pixels
    x = to_network(pixels, 16)
    assert x.shape == (1, 3, 32, 48)
    assert x.dtype == np.float32
    assert (x[0, :, 21:] == x[0, :, 20:21]).all()
    np.testing.assert_array_equal(from_network(x[0].transpose(1, 2, 0), 37, 21, grey), pixels)
