"""The heat map adds up to the file, and the page and the terminal preview hold what they should."""

import base64
import io
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from aei.cli.pages import view
from aei.codec.exact.symbols import reconstruct
from aei.codec.inspect import account as heatmap
from aei.codec.pixels.quality import psnr
from aei.formats import parse
from conftest import synthetic_photo
from golden_files import codec_of
from PIL import Image


def assert_adds_up(bits, data):
    """The range coder ends each payload within 40 bits of the ideal length, either way; 8 bits are
    the check."""
    entries = parse(data).entries
    written = 8 * sum(entry.end - entry.start for entry in entries)
    ideal = bits.sum() + 8 * len(entries)
    assert ideal - 40 * len(entries) <= written <= 1.0005 * ideal + 40 * len(entries)


@pytest.mark.parametrize(("shape", "quality"), [((96, 144), 50), ((70, 50), 90), ((16, 16), 5)])
def test_bits_add_up_to_the_payload(codec, shape, quality):
    data = codec.encode(synthetic_photo(*shape), quality)
    bits, side = heatmap.bit_map(codec, data)
    assert bits.shape == (-(-shape[0] // side), -(-shape[1] // side))
    assert (bits >= 0).all()
    assert_adds_up(bits, data)


def test_bits_add_up_where_small_symbols_have_offsets():
    codec = codec_of("offset")
    for gain_index in (60, 128, 250):
        data = codec.encode(synthetic_photo(70, 90), gain_index=gain_index)
        assert_adds_up(heatmap.bit_map(codec, data)[0], data)


def test_symbols_are_found_again_from_what_they_stand_for():
    prior = codec_of("offset").bundle.prior
    offsets = np.tile(np.array([[57, -37]], np.int16), (64, 1))
    prior = replace(prior, arrays=prior.arrays | {"offsets": offsets})
    values = np.arange(-400, 401, dtype=np.int32)
    index = np.full(len(values), 9, np.uint8)
    points = reconstruct(prior, values, index)
    assert points[401] == 64 - 57
    np.testing.assert_array_equal(heatmap.symbols_at(prior, points, index)[0], values)


def test_escapes_and_coded_symbols_count(codec):
    noise = np.random.default_rng(0).choice([0, 255], (64, 64, 3)).astype(np.uint8)
    data = codec.encode(noise, 95)
    bits, _ = heatmap.bit_map(codec, data)
    assert_adds_up(bits, data)


def test_tiles_add_up_too(codec):
    data = codec.encode(synthetic_photo(150, 200), 50, tile_side=64)
    bits, _ = heatmap.bit_map(codec, data)
    assert bits.shape == (10, 13)
    assert_adds_up(bits, data)


def test_bits_go_where_the_detail_is(codec):
    image = np.full((128, 256, 3), 120, np.uint8)
    image[:, 128:] = synthetic_photo(128, 128)
    bits, _ = heatmap.bit_map(codec, codec.encode(image, 60))
    assert bits[:, 9:].mean() > 5 * bits[:, :7].mean()


def data_of(text: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def picture_of(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_page(codec):
    photo = synthetic_photo(50, 70)
    data = codec.encode(photo, 50)
    text = view.page(data, codec, "<b>&.aei")
    assert "&lt;b&gt;&amp;.aei" in text
    assert "@@" not in text
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {"http://www.w3.org/2000/svg"}
    shown = data_of(text)
    assert picture_of(shown["heat"]).size == (5, 4)
    copy = picture_of(shown["image"])
    assert copy.size == (70, 50) == (shown["width"], shown["height"])
    assert psnr(np.asarray(codec.decode(data)), np.asarray(copy)) > 30
    assert sum(map(sum, shown["bits"])) == pytest.approx(heatmap.bit_map(codec, data)[0].sum(), 0.1)
    assert shown["note"] == ""


def test_a_page_of_a_large_picture_is_bounded(codec, monkeypatch):
    monkeypatch.setattr(view, "SIDE", 40)
    monkeypatch.setattr(view, "CELLS", 2)
    data = codec.encode(synthetic_photo(50, 70), 50)
    shown = data_of(view.page(data, codec, "x"))
    assert picture_of(shown["image"]).size == (40, 29)
    assert picture_of(shown["heat"]).size == (2, 2)
    assert shown["side"] == 48
    assert sum(map(sum, shown["bits"])) == pytest.approx(heatmap.bit_map(codec, data)[0].sum(), 0.1)
    assert "40 x 29" in shown["note"]


def test_command(run_aei, aei_file, tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(aei_file)
    assert run_aei("view", file).out == f"wrote {tmp_path / 'x.html'}\n"
    assert "<!doctype html>" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "exists" in run_aei("view", file).err
    result = run_aei("view", file, "--ansi", "--columns", 24)
    assert result.code == 0
    picture = result.out.split("\n\n")[0].splitlines()
    assert [line.count("\u2580") for line in picture] == [24] * 10
    assert "gain index" in result.out
    (tmp_path / "bad.aei").write_bytes(aei_file[:-4])
    assert run_aei("view", tmp_path / "bad.aei").code == 1


def test_transparent_images_in_the_terminal():
    assert view.ansi(Image.new("LA", (4, 4), (200, 0)), 4).count("128;128;128") == 16
