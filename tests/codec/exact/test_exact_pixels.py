"""Any part of a file decodes to the pixels it has in the whole, bit by bit, whatever the bands,
tiles and threads."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from aei.codec import Codec, ModelError, decoder, windows
from aei.codec.exact import synthesis
from aei.formats import Limits, pack, parse
from aei.formats.sections import FILTER
from aei.formats.tiles import Box
from conftest import synthetic_photo
from golden_files import FACTS, GOLDEN, codec_of, read
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

FILES = (
    "finish-rgb-150x120", "finish-grey-170x100-tiles", "finish-rgb-alpha-70x90-tiles",
    "filter-grey-170x100-tiles",
)  # fmt: skip


def decoded(name: str, **options) -> np.ndarray:
    return np.asarray(codec_of(FACTS[name]["bundle"]).decode(read(name), **options))


def test_the_files_have_what_can_differ():
    contents = [parse(read(name)) for name in FILES]
    assert {(bool(c.side), FILTER in c.sections) for c in contents} >= {(True, True), (False, True)}


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(FILES), st.data(), st.sampled_from([1, 2, 4, 8]))
def test_regions_are_parts_of_the_whole(name, data, scale):
    whole = decoded(name, scale=scale)
    contents = parse(read(name))
    left = data.draw(st.integers(0, (contents.header.width - 1) // scale)) * scale
    top = data.draw(st.integers(0, (contents.header.height - 1) // scale)) * scale
    width = data.draw(st.integers(1, contents.header.width - left))
    height = data.draw(st.integers(1, contents.header.height - top))
    if scale > 1:  # whole squares, but at the sides of the image
        width, height = (-(-n // scale) * scale for n in (width, height))
        width = min(width, contents.header.width - left)
        height = min(height, contents.header.height - top)
    part = decoded(name, scale=scale, region=(left, top, width, height))
    top, left = top // scale, left // scale
    assert np.array_equal(part, whole[top : top + part.shape[0], left : left + part.shape[1]])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("cells", [1, 13])
def test_bands_do_not_show(name, cells, monkeypatch):
    expected = [decoded(name, scale=scale) for scale in (1, 2, 8)]
    monkeypatch.setattr(synthesis, "BAND_CELLS", cells)
    for scale, whole in zip((1, 2, 8), expected):
        assert np.array_equal(decoded(name, scale=scale), whole)


@pytest.mark.parametrize("name", FILES)
def test_strips_do_not_show(name, monkeypatch):
    expected = [decoded(name, scale=scale) for scale in (1, 2, 8)]
    monkeypatch.setattr(windows, "STRIP", 32)
    for scale, whole in zip((1, 2, 8), expected):
        assert np.array_equal(decoded(name, scale=scale), whole)
    region = decoded(name, region=(3, 1, 45, 20))
    assert np.array_equal(region, expected[0][1:21, 3:48])


def test_a_picture_as_wide_as_can_be_takes_ordinary_memory(codec):
    tile = parse(codec.encode(np.full((2, 1024), 90, np.uint8), effort=0, tile_side=1024))
    header = replace(tile.header, width=1 << 16)
    data = pack(header, [(tile.tile(0), tile.entries[0].code_all)] * 64, None, 1024)
    assert codec.decode(data, limits=Limits(memory=150 << 20)).size == (1 << 16, 2)
    # what is worked on at once does not grow further with the width
    boxes = parse(data).boxes
    widest = decoder._window_bytes(codec.model, Box(0, 0, 1 << 21, 2), boxes)
    assert widest == decoder._window_bytes(codec.model, Box(0, 0, 1 << 16, 2), boxes)


def test_salvage_of_a_good_file_is_decode():
    salvaged = codec_of("finish").salvage(read(FILES[2]))
    assert not salvaged.lost
    assert np.array_equal(np.asarray(salvaged.image), decoded(FILES[2]))


def test_scale_2_is_the_mean_of_squares():
    whole = Image.fromarray(decoded(FILES[0]))
    assert np.array_equal(decoded(FILES[0], scale=2), np.asarray(whole.reduce(2)))


def test_previews_are_near_the_reduced_picture():
    whole = Image.fromarray(decoded(FILES[0]))
    for scale in (4, 8):
        difference = decoded(FILES[0], scale=scale).astype(int) - np.asarray(whole.reduce(scale))
        assert np.abs(difference).mean() < 6


def test_pixels_need_no_onnx_runtime(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it raises ImportError
    codec = Codec(GOLDEN / "finish.bundle")
    for name in FILES[:3]:
        assert codec.pixels_sha256(read(name)) == FACTS[name]["pixels_sha256"]


def test_the_encoder_fits_its_filter_to_the_same_pixels(monkeypatch):
    """What the fit is given of a plain file is what the file decodes to without a filter."""
    from aei.codec.pixels import post_filter

    seen = []
    add = post_filter.Fit.add
    monkeypatch.setattr(
        post_filter.Fit, "add", lambda fit, x, wanted: (seen.append(x), add(fit, x, wanted))
    )
    codec, image = codec_of("finish"), synthetic_photo(130, 150)
    data = codec.encode(image, gain_index=130, tune="psnr")
    monkeypatch.setattr(post_filter, "LEAST_PIXELS", 1 << 40)
    plain = codec.encode(image, gain_index=130, tune="psnr")
    assert codec.latents_sha256(plain) == codec.latents_sha256(data)
    levels = synthesis.to_levels(seen[0], False)
    assert np.array_equal(levels, np.asarray(codec.decode(plain)))


def test_info_prints_the_hash(tmp_path, run_aei):
    file, bundle = tmp_path / "a.aei", GOLDEN / "finish.bundle"
    file.write_bytes(read(FILES[0]))
    facts = json.loads(run_aei("info", file, "--pixels", "--model", bundle, "--json").out)
    assert facts["pixels_sha256"] == hashlib.sha256(decoded(FILES[0]).tobytes()).hexdigest()
    assert "latents_sha256" not in facts


@pytest.mark.parametrize("damage", ["json", "arrays", "missing", "manifest", "hash"])
def test_a_damaged_synthesis_is_refused(tmp_path, damage):
    folder = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "finish.bundle", folder)
    if damage == "json":
        (folder / "synthesis.json").write_text("[" * 100_000)
    elif damage == "arrays":
        file = folder / "synthesis.safetensors"
        content = bytearray(file.read_bytes())
        content[-7] ^= 1
        file.write_bytes(content)
    elif damage == "missing":
        (folder / "synthesis.safetensors").unlink()
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["synthesis"] = {"sha256": "00" * 32} if damage == "hash" else ["no object"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError):
        Codec(folder).decode(read(FILES[0]))
