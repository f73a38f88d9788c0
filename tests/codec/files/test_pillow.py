"""The Pillow plugin."""

import io

import aei.codec.pillow
import numpy as np
import pytest
from aei import codec as face
from aei.codec.metrics.ssimulacra2 import ssimulacra2
from aei.codec.models.bundle import default_bundle
from golden_files import GOLDEN, read
from PIL import Image, ImageOps, UnidentifiedImageError


def test_save_and_open(tmp_path, photo):
    path = tmp_path / "x.aei"
    Image.fromarray(photo).save(path, quality=40)
    assert path.read_bytes() == face.encode(photo, 40)
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("AEI", "RGB", (203, 150))
        assert image.get_format_mimetype() == "image/x-aei"
        assert image.tobytes() == face.decode(path.read_bytes()).tobytes()


def test_open_reads_the_header_only(aei_file):
    image = Image.open(io.BytesIO(aei_file[:16]))
    assert image.size == (48, 40)
    with pytest.raises(OSError, match="checksum"):
        image.load()


def test_grey():
    file = io.BytesIO()
    Image.new("L", (20, 20), 77).save(file, "AEI")
    image = Image.open(file)
    assert image.mode == "L"
    assert abs(int(np.asarray(image).mean()) - 77) < 6


def test_operations_work_on_an_opened_file(aei_file):
    image = Image.open(io.BytesIO(aei_file))
    assert image.resize((10, 10)).getbbox() is not None
    assert image.copy().rotate(90, expand=True).size == (40, 48)


@pytest.mark.parametrize(
    "data", [b"", b"\xaeaei", b"\xaeaei\xf0" + bytes(20), b"\xaeaei\x00abcd\x00\xff"]
)
def test_bad_headers_are_unidentified(data):
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(data))


def test_truncated_files_raise_oserror(aei_file):
    for n in range(16, len(aei_file), 7):
        image = Image.open(io.BytesIO(aei_file[:n]))
        with pytest.raises(OSError, match="checksum"):
            image.load()


def test_every_truncation_and_every_flipped_bit_is_an_error_that_pillow_users_expect(monkeypatch):
    # so that flips of the payload are seen too
    monkeypatch.setattr("aei.codec.models.bundle.MODELS", GOLDEN)
    data = read("rgb-24x24-metadata")
    Image.open(io.BytesIO(data)).load()
    broken = [data[:n] for n in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        broken.append(bytes(flipped))
    for content in broken:
        with pytest.raises(OSError, match=r"."):  # UnidentifiedImageError is one
            Image.open(io.BytesIO(content)).load()


def test_save_refuses_what_it_cannot_hold():
    with pytest.raises(OSError, match="CMYK"):
        Image.new("CMYK", (8, 8)).save(io.BytesIO(), "AEI")


def test_alpha_and_metadata(tmp_path):
    image = Image.new("RGBA", (24, 16), (200, 90, 30, 128))
    image.save(tmp_path / "x.aei", icc_profile=b"profile", exif=Image.Exif())
    with Image.open(tmp_path / "x.aei") as back:
        assert back.mode == "RGBA"
        back.load()
        assert back.info["icc_profile"] == b"profile"
        assert back.info["exif"].startswith(b"Exif")
        assert back.getpixel((3, 3))[3] == 128
    assert "icc_profile" not in image.info


def test_extension_is_registered():
    assert Image.registered_extensions()[".aei"] == aei.codec.pillow.AeiImageFile.format


def test_save_options(photo):
    image = Image.fromarray(photo)
    file = io.BytesIO()
    image.save(file, "AEI", target_size=4000)
    assert 3920 <= len(file.getvalue()) <= 4000
    file = io.BytesIO()
    image.save(file, "AEI", target_ssimulacra2=60)
    with Image.open(file) as back:
        # so small a picture has no file within 0.5: scores jump from one gain index to the next
        assert 59.5 <= ssimulacra2(photo, np.asarray(back)) <= 61
    with pytest.raises(ValueError, match="exclude each other"):
        image.save(io.BytesIO(), "AEI", quality=30, target_bpp=0.3)
    with pytest.raises(OSError, match="smallest file"):
        image.save(io.BytesIO(), "AEI", target_size=10)
    with pytest.raises(OSError, match="from 1 to 100"):
        image.save(io.BytesIO(), "AEI", quality=0)


def test_metadata_is_there_before_the_pixels(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "AEI", exif=exif, icc_profile=b"profile", xmp=b"<x/>")
    with Image.open(file) as image:
        assert image.tile
        assert image.info["icc_profile"] == b"profile"
        assert image.info["xmp"] == b"<x/>"
        assert image.getexif()[0x0112] == 6
        assert ImageOps.exif_transpose(image).size == (150, 203)
    file = io.BytesIO()
    image.save(file, "AEI", metadata=False)
    assert "exif" not in Image.open(file).info


@pytest.mark.parametrize(
    ("asked", "size"),
    [((203, 150), (203, 150)), ((102, 75), (203, 150)), ((101, 75), (102, 75)),
     ((50, 30), (51, 38)), ((1, 1), (26, 19))],
)  # fmt: skip
def test_draft(photo, asked, size):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "AEI", quality=80)
    image = Image.open(file)
    mode, box = image.draft("RGB", asked)
    assert mode == "RGB"
    assert image.size == size
    scale = 203 / box[2]
    assert box[3] == 150 / scale
    image.load()
    assert image.im.size == size
    whole = Image.open(file).convert("RGB").reduce(round(scale))
    assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).mean() < 6
    assert image.draft("RGB", (10, 10)) is None


def test_thumbnail(photo):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "AEI")
    image = Image.open(file)
    image.thumbnail((40, 40))
    assert image.size == (40, 30)


def test_animations_are_refused_and_single_frames_saved(photo):
    image = Image.fromarray(photo)
    with pytest.raises(OSError, match="one picture"):
        image.save(io.BytesIO(), "AEI", save_all=True, append_images=[image])
    file = io.BytesIO()
    image.save(file, "AEI", save_all=True)
    assert Image.open(file).size == image.size


def test_imageio_reads_and_writes(tmp_path, photo):
    iio = pytest.importorskip("imageio.v3")
    iio.imwrite(tmp_path / "x.aei", photo, quality=40)
    assert (tmp_path / "x.aei").read_bytes() == face.encode(photo, 40)
    back = iio.imread(tmp_path / "x.aei")
    assert np.array_equal(back, np.asarray(face.decode((tmp_path / "x.aei").read_bytes())))
    assert iio.immeta(tmp_path / "x.aei")["gain_index"] == default_bundle().gain_index_of_quality(
        40
    )
