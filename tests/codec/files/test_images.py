"""Image modes: a right result or a clear refusal."""

import io

import numpy as np
import pytest
from aei.codec.pixels.images import fill_transparent, from_network, joined, to_network, to_picture
from aei.formats import UnsupportedError
from aei.formats.tiles import Box
from conftest import synthetic_photo
from PIL import Image

RGB = Image.fromarray(synthetic_photo(20, 30))


def colour_and_alpha(image):
    """What a Picture reads of its whole area, grey as (h, w)."""
    picture = to_picture(image)
    colour, alpha = picture.read(Box(0, 0, *picture.size))
    return colour[..., 0] if colour.shape[2] == 1 else colour, alpha


@pytest.mark.parametrize("mode", ["RGB", "RGBX", "P"])
def test_colour(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(colour_and_alpha(image)[0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey(mode):
    image = RGB.convert(mode)
    np.testing.assert_array_equal(colour_and_alpha(image)[0], np.asarray(image.convert("L")))


def test_grey_palette():
    image = RGB.convert("L").convert("P")
    np.testing.assert_array_equal(colour_and_alpha(image)[0], np.asarray(RGB.convert("L")))


def see_through(mode: str) -> Image.Image:
    image = RGB.convert(mode[:-1]).convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_survives_exactly(mode, codec):
    image = see_through(mode)
    back = codec.decode(codec.encode(image, 40))
    assert back.mode == mode
    assert back.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    assert codec.encode(np.asarray(image), 40) == codec.encode(image, 40)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_costs_nothing(mode, codec):
    plain = RGB.convert(mode[:-1])
    with_alpha = plain.convert(mode)
    data = codec.encode(with_alpha, 40)
    assert len(data) == len(codec.encode(plain, 40))
    assert codec.decode(data).mode == mode
    assert codec.decode(data).getchannel("A").getextrema() == (255, 255)


def test_hidden_colour_costs_hardly_any_bits(codec):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 4), dtype=np.uint8)
    noise[..., 3] = 0
    noise[:48, :, 3] = 255
    noise[:48, :, :3] = (90, 120, 40)
    shown = noise.copy()
    shown[..., 3] = 255
    hidden, seen = (len(codec.encode(image, gain_index=126)) for image in (noise, shown))
    assert hidden < 0.1 * seen


def test_transparent_colours_and_palettes():
    file = io.BytesIO()
    RGB.save(file, "PNG", transparency=RGB.getpixel((0, 0)))
    assert colour_and_alpha(Image.open(file))[1][0, 0] == 0
    file = io.BytesIO()
    RGB.convert("P").save(file, "PNG", transparency=0)
    colour, alpha = colour_and_alpha(Image.open(file))
    assert alpha is not None
    assert colour.shape == (20, 30, 3)
    assert to_picture(see_through("RGBA").convert("RGBa")).channels == 4


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_rectangles_are_read_alike_from_images_and_arrays(mode):
    image = see_through(mode) if "A" in mode else RGB.convert(mode)
    box = Box(3, 5, 20, 11)
    for a, b in zip(to_picture(image).read(box), to_picture(np.asarray(image)).read(box)):
        np.testing.assert_array_equal(a, b)
    part = np.asarray(image.crop(box.corners)).reshape(11, 20, -1)
    colour, alpha = to_picture(image).read(box)
    pieces = [colour] if alpha is None else [colour, alpha[..., None]]
    np.testing.assert_array_equal(np.concatenate(pieces, 2), part)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_reduction_is_the_mean_weighted_by_alpha(mode):
    image = Image.new(mode, (4, 2))
    channels = len(mode)
    image.putpixel((0, 0), 200 if channels == 1 else (200,) * channels)
    pixels = np.asarray(image).reshape(2, 4, channels)
    colour = pixels[..., :-1] if "A" in mode else pixels
    colour = colour[..., 0] if colour.shape[2] == 1 else colour
    small = joined(colour, pixels[..., -1] if "A" in mode else None, 2)
    assert (small.mode, small.size) == (mode, (2, 1))
    value = np.asarray(small).reshape(2, -1)[0]
    if "A" in mode:  # one of four pixels is seen: its colour, a quarter of its alpha
        assert value[-1] == 50
        assert abs(int(value[0]) - 200) <= 3
    else:
        assert value[0] == 50


def test_fill_continues_what_is_seen():
    colour = np.zeros((33, 50, 3), np.uint8)
    colour[:, :20] = 200
    colour[:, 30:] = 100
    alpha = np.full((33, 50), 255, np.uint8)
    alpha[:, 20:30] = 0
    filled = fill_transparent(colour, alpha)
    np.testing.assert_array_equal(filled[alpha > 0], colour[alpha > 0])
    assert filled[:, 20:30].min() >= 100
    assert (fill_transparent(colour, np.zeros_like(alpha)) == 0).all()


METADATA = {"icc_profile": b"not really a profile" * 9, "xmp": b"<x:xmpmeta/>"}


def photo_with_metadata() -> Image.Image:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    exif[0x0112] = 6
    file = io.BytesIO()
    RGB.save(file, "JPEG", exif=exif, **METADATA)
    return Image.open(file)


def test_metadata_is_kept_and_changes_no_pixel(codec):
    image = photo_with_metadata()
    back = codec.decode(codec.encode(image, 40))
    assert back.size == image.size
    assert {k: back.info[k] for k in METADATA} == METADATA
    assert dict(back.getexif()) == dict(image.getexif())
    plain = codec.decode(codec.encode(np.asarray(image), 40))
    assert plain.tobytes() == back.tobytes()


def test_without_metadata_the_orientation_is_applied(codec):
    image = photo_with_metadata()
    back = codec.decode(codec.encode(image, 40, metadata=False))
    assert back.size == (20, 30)
    assert not {"exif", "icc_profile", "xmp"} & set(back.info)


@pytest.mark.parametrize("mode", ["CMYK", "F", "I", "I;16", "YCbCr", "LAB", "HSV"])
def test_other_modes_are_refused_by_name(mode):
    with pytest.raises(UnsupportedError, match=mode):
        to_picture(Image.new(mode, (4, 4)))


def test_of_an_animation_the_current_frame_is_taken():
    file = io.BytesIO()
    RGB.save(file, "GIF", save_all=True, append_images=[RGB.rotate(90)])
    image = Image.open(file)
    image.seek(1)
    seen = np.asarray(image.convert("RGB"))
    assert np.array_equal(np.asarray(to_picture(image).source.convert("RGB")), seen)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 5), np.uint8), np.zeros(4, np.uint8),
     np.zeros((2, 4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint16)],
)  # fmt: skip
def test_other_arrays_are_refused(array):
    with pytest.raises(UnsupportedError):
        to_picture(array)


@pytest.mark.parametrize("grey", [False, True])
def test_network_arrays_round_trip(grey):
    pixels = synthetic_photo(21, 37)
    pixels = pixels[..., :1] if grey else pixels
    x = to_network(pixels, 16)
    assert x.shape == (1, 3, 32, 48)
    assert x.dtype == np.float32
    assert (x[0, :, 21:] == x[0, :, 20:21]).all()
    back = from_network(x[0].transpose(1, 2, 0)[:21, :37], grey)
    np.testing.assert_array_equal(back.reshape(pixels.shape), pixels)
