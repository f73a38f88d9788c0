"""Tiles, regions, reduced sizes, salvage: what is cut apart fits together again."""

import json
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from aei import codec as face
from aei.codec import Codec, DamagedFileError, LimitError, Limits, ModelError, UnsupportedError
from aei.codec.exact import analysis
from aei.codec.models import transforms
from aei.codec.pixels.images import padded_levels, to_network, to_picture
from aei.codec.pixels.side_channels import alpha_span, with_alpha
from aei.codec.search.tile import read_tile
from aei.formats import pack, parse
from aei.formats.tiles import Box, tile_boxes, tiles_touching
from conftest import synthetic_photo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

PHOTO = synthetic_photo(200, 300)


@pytest.fixture(scope="module")
def tiled(codec):
    """15 tiles."""
    return codec.encode(PHOTO, 60, tile_side=64)


def pixels(image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_tiles_cover_the_image_once():
    seen = np.zeros((130, 200), int)
    for box in tile_boxes(200, 130, 64):
        seen[box.top : box.bottom, box.left : box.right] += 1
    assert (seen == 1).all()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([64, 128]), st.data())
def test_tiles_touching_a_box(width, height, side, data):
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(
        left, top,
        data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top)),
    )  # fmt: skip
    boxes = tile_boxes(width, height, side)
    meets = [i for i, b in enumerate(boxes) if min(b.intersection(box).corners[2:]) > 0
             and b.intersection(box).width and b.intersection(box).height]  # fmt: skip
    assert tiles_touching(box, width, side) == meets


def analysed(codec, levels):
    """Latents of levels at gain index 120, in quantisation steps."""
    if codec.bundle.analysis is None:
        return codec.transforms.analysis(to_network(levels, 16), 120)
    found = analysis.latents(codec.bundle.analysis, padded_levels(levels, 16), 120)
    return analysis.in_steps(found)


@pytest.mark.parametrize("band", [16, 50, 1000])
def test_the_end_of_g_s_in_bands_equals_that_of_the_whole(codec, monkeypatch, band):
    """Whatever the bands are, and whatever part is wanted, odd corners and all."""
    latents = analysed(codec, PHOTO)
    y_hat = np.rint(64 * latents).astype(np.int32)
    whole = codec.transforms.synthesis(y_hat, 120, 6)
    assert whole.shape == (208, 304, 3)
    monkeypatch.setattr(transforms, "BAND", band)
    for box in (Box(0, 0, 304, 208), Box(33, 51, 7, 120), Box(299, 1, 5, 9), Box(0, 207, 1, 1)):
        part = codec.transforms.synthesis(y_hat, 120, 6, box)
        np.testing.assert_allclose(
            part, whole[box.top : box.bottom, box.left : box.right], atol=1e-6
        )


def test_a_bundle_without_its_end_is_not_decoded_without(codec, tmp_path):
    cut = tmp_path / "cut.bundle"
    shutil.copytree(codec.bundle.path, cut)
    (cut / "g_s.finish.onnx").unlink()
    data = codec.encode(PHOTO, 40)
    with pytest.raises(ModelError, match=r"g_s\.finish\.onnx is missing"):
        Codec(cut).decode(data)
    # integers need no graph, in a bundle that names none
    manifest = json.loads((cut / "manifest.json").read_text())
    del manifest["files"]["g_s.finish.onnx"]
    (cut / "manifest.json").write_text(json.dumps(manifest))
    assert Codec(cut).decode(data) == codec.decode(data)
    (cut / "manifest.json").write_text(json.dumps(manifest | {"synthesis": None}))
    with pytest.raises(ModelError, match=r"g_s\.finish\.onnx"):
        Codec(cut).decode(data)


def test_windowed_analysis_is_that_of_the_whole_image(codec):
    """But for what fades on its way: the margin is that which g_s needs, see
    codec/training/export/margins.py."""
    picture, program = to_picture(PHOTO), codec.bundle.prior.program
    whole = analysed(codec, PHOTO)
    for box in tile_boxes(300, 200, 128):
        tile = read_tile(picture, box, 16, codec.bundle.halo)
        y = analysed(codec, tile.levels)[tile.inside]
        part = whole[box.top // 16 :, box.left // 16 :][: y.shape[0], : y.shape[1]]
        assert np.abs(y - part).max() < 0.25
        assert np.square(y - part).mean() < 1e-4
        # and with all that the network's structure lets it see, up to rounding
        network = codec.bundle.manifest["network"]
        reach = network["blocks16"] + -(-network["blocks8"] // 2)
        tile = read_tile(picture, box, 16, reach)
        y = analysed(codec, tile.levels)[tile.inside]
        np.testing.assert_allclose(y, part, atol=2e-3)
    assert program["stride"] == 16


@settings(max_examples=20)
@given(st.data())
def test_a_region_is_the_crop_of_the_whole(codec, tiled, data):
    whole = pixels(codec.decode(tiled))
    left, top = data.draw(st.integers(0, 299)), data.draw(st.integers(0, 199))
    width = data.draw(st.integers(1, 300 - left))
    height = data.draw(st.integers(1, 200 - top))
    part = pixels(codec.decode(tiled, region=(left, top, width, height)))
    assert np.abs(part - whole[top : top + height, left : left + width]).max() <= 1


def test_a_region_of_a_plain_file(codec):
    data = codec.encode(PHOTO, 60)
    whole = pixels(codec.decode(data))
    part = pixels(face.decode(data, region=(101, 37, 90, 55)))
    assert np.abs(part - whole[37:92, 101:191]).max() <= 1


def test_a_region_reads_only_the_tiles_it_needs(codec, tiled):
    contents = parse(tiled)
    broken = bytearray(tiled)
    entry = contents.entries[-1]
    broken[entry.start : entry.end] = bytes(entry.end - entry.start)
    codec.decode(bytes(broken), region=(0, 0, 20, 20))
    codec.decode(tiled[: entry.start], region=(0, 0, 20, 20))
    with pytest.raises(DamagedFileError, match="tile 20 of 20"):
        codec.decode(bytes(broken))


@pytest.mark.parametrize(
    "region", [(0, 0, 301, 1), (-1, 0, 5, 5), (0, 0, 0, 5), (300, 0, 1, 1), (5, 195, 5, 6)]
)
def test_regions_outside_are_refused(codec, tiled, region):
    with pytest.raises(UnsupportedError, match="300x200"):
        codec.decode(tiled, region=region)


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("region", [None, (7, 9, 201, 130), (16, 8, 150, 77)])
def test_reduced_sizes(codec, tiled, scale, region):
    full = codec.decode(tiled, region=region)
    small = codec.decode(tiled, region=region, scale=scale)
    assert small.size == (-(-full.width // scale), -(-full.height // scale))
    difference = np.abs(pixels(small) - pixels(full.reduce(scale)))
    if scale == 2 or region == (7, 9, 201, 130):  # by the network
        assert difference.max() <= 1
    else:  # by a linear map
        # pixels at the right and bottom that the image has only a part of are means of more
        assert np.mean(difference[:-1, :-1] ** 2) < 255**2 * 10**-3.6
    with pytest.raises(UnsupportedError, match="scale"):
        codec.decode(tiled, scale=3)


def test_previews_do_not_load_the_network(codec, tiled, monkeypatch):
    monkeypatch.setattr(type(codec.transforms), "_session", None)
    assert codec.decode(tiled, scale=8).size == (38, 25)
    for mode in ("L", "RGBA"):
        monkeypatch.undo()
        data = codec.encode(Image.fromarray(PHOTO).convert(mode), 50, tile_side=64)
        monkeypatch.setattr(type(codec.transforms), "_session", None)
        assert codec.decode(data, scale=4).mode == mode


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_mode_in_tiles(codec, mode):
    image = Image.fromarray(PHOTO).convert(mode)
    if "A" in mode:
        alpha = Image.linear_gradient("L").resize(image.size)
        alpha.paste(255, (0, 0, 128, 128))  # some tiles are opaque
        image.putalpha(alpha)
    back = codec.decode(codec.encode(image, 50, tile_side=64))
    assert (back.mode, back.size) == (mode, image.size)
    colours = -1 if "A" in mode else None
    error = (pixels(back) - pixels(image)).reshape(200, 300, -1)[..., :colours]
    seen = pixels(image)[..., -1] > 0 if "A" in mode else np.ones((200, 300), bool)
    assert 10 * np.log10(255**2 / np.mean(error[seen] ** 2)) > 24
    if "A" in mode:
        assert back.getchannel("A").tobytes() == image.getchannel("A").tobytes()
        region = codec.decode(codec.encode(image, 50, tile_side=64), region=(50, 60, 100, 90))
        assert region.getchannel("A") == image.getchannel("A").crop((50, 60, 150, 150))


def test_large_images_are_tiled_by_themselves(codec):
    image = np.zeros((30, 2049, 3), np.uint8)
    image[:, 1000:] = (200, 120, 40)
    data = codec.encode(image, 30)
    contents = parse(data)
    assert (contents.side, len(contents.boxes)) == (1024, 3)
    assert np.abs(pixels(codec.decode(data)) - image).mean() < 4
    assert not parse(codec.encode(image[:, :2048], 30)).side


@pytest.mark.parametrize("side", [0.5, 1, 63, 65, -64, 16384 + 64])
def test_other_tile_sides_are_refused(codec, side):
    with pytest.raises(UnsupportedError, match="multiple of 64"):
        codec.encode(PHOTO, tile_side=side)


def test_tiles_cost_little(codec):
    more = len(codec.encode(PHOTO, 60, tile_side=128)) - len(codec.encode(PHOTO, 60))
    assert more < 6 * 25  # table entry, tail of the range coder, context lost at the borders


def test_salvage(codec, tiled):
    whole = pixels(codec.decode(tiled))
    assert codec.salvage(tiled).lost == []
    contents = parse(tiled)
    broken = bytearray(tiled)
    broken[contents.entries[7].start + 1] ^= 4
    saved = codec.salvage(bytes(broken))
    assert saved.lost == [contents.boxes[7]]
    changed = np.abs(pixels(saved.image) - whole).max(axis=2) > 1
    near = contents.boxes[7].grown(codec.bundle.halo * 16, Box(0, 0, 300, 200))
    changed[near.top : near.bottom, near.left : near.right] = False
    assert not changed.any()
    saved = codec.salvage(tiled[: contents.entries[12].start])
    assert saved.lost == contents.boxes[12:]
    with pytest.raises(DamagedFileError):
        codec.salvage(tiled[: contents.entries[0].start - 1])
    with pytest.raises(DamagedFileError):
        codec.salvage(codec.encode(PHOTO, 60)[:-9])


def test_salvage_gives_up_a_tile_whose_alpha_is_bad(codec):
    image = Image.fromarray(PHOTO[:64, :128]).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    contents = parse(codec.encode(image, 30, tile_side=64))
    first, second = contents.tile(0), contents.tile(1)
    forged = with_alpha(b"no plane", first[alpha_span(first)[1] :])
    data = pack(contents.header, [(forged, False), (second, False)], {}, 64)
    with pytest.raises(DamagedFileError):
        codec.decode(data)
    saved = codec.salvage(data)
    assert saved.lost == [Box(0, 0, 64, 64)]
    good = saved.image.crop((64, 0, 128, 64)).getchannel("A")
    assert good.tobytes() == image.crop((64, 0, 128, 64)).getchannel("A").tobytes()


def test_every_flipped_bit_of_a_tiled_file_is_found(codec):
    data = codec.encode(PHOTO[:80, :8], 1, tile_side=64)
    for bit in range(0, 8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(face.AeiError):
            codec.latents_sha256(bytes(broken))


def test_truncation_of_a_tiled_file_is_found(codec):
    data = codec.encode(PHOTO[:80, :80], 1, tile_side=64)
    for n in range(len(data)):
        with pytest.raises(face.AeiError):
            codec.latents_sha256(data[:n])
    with pytest.raises(DamagedFileError, match="after the last tile"):
        codec.decode(data + b"\0")


def resealed(head: bytes) -> bytes:
    return head + zlib.crc32(head).to_bytes(4, "little")


def test_hostile_tile_tables():
    start = b"\xaeaei\x30abcd\x05"
    # 2^20 x 2^20 pixels in 64-pixel tiles: more tiles than the file has bytes
    with pytest.raises(DamagedFileError, match="tile table"):
        parse(
            resealed(start + b"\xff\xff\x3f\xff\xff\x3f" + b"\x00" + bytes(1000)),
            Limits(pixels=1 << 42),
        )
    # few large tiles, but more pixels than anybody should decode
    entries = (b"\x02" + bytes(4)) * 16
    with pytest.raises(LimitError):
        parse(resealed(start + b"\xff\xff\x03\xff\xff\x03" + b"\xff" + entries))
    # a tile that claims to lie beyond the end: found when it is read
    file = resealed(start + b"\x3f\x3f" + b"\x00" + b"\xfe\xff\xff\xff\x7f" + bytes(4))
    with pytest.raises(DamagedFileError, match="tile 1 of 1"):
        parse(file).tile(0)


def test_memory_is_bounded_before_it_is_allocated(codec, tiled):
    with pytest.raises(LimitError, match="MiB"):
        codec.decode(tiled, limits=Limits(memory=1 << 20))
    with pytest.raises(LimitError, match="pixels"):
        face.decode(tiled, limits=Limits(pixels=59_999))
    # a small region of one tile of 2^28 pixels still needs the latents of the whole tile
    header = replace(parse(tiled).header, width=16384, height=16384)
    with pytest.raises(LimitError, match="MiB"):
        codec.decode(pack(header, [(b"\1", False)], side=16384), region=(0, 0, 8, 8))


def test_every_tile_is_decoded_once(codec, tiled, monkeypatch):
    """Pictures are made row by row, so a row of tiles is kept, and no more."""
    from aei.codec import decoder

    seen: list[int] = []
    decoded = decoder.tile_latents
    monkeypatch.setattr(
        decoder,
        "tile_latents",
        lambda *a: seen.append(a[2]) or decoded(*a),
    )
    codec.decode(tiled)
    assert sorted(seen) == list(range(len(parse(tiled).boxes)))
