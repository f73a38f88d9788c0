"""Data loaders: crops, batches of workers, latents as features, other people's data sets."""

import importlib.util
import io
import pickle
import random
import tarfile

import numpy as np
import pytest
from aei import codec as face
from aei.codec.loaders import AeiDataset, Latents, Pixels, RandomCrop, WebDecoder
from conftest import synthetic_photo
from PIL import Image


def needs(name: str):
    return pytest.mark.skipif(
        importlib.util.find_spec(name) is None, reason=f"needs the package {name}"
    )


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    """Five files of 70x60, one of them grey, one with alpha."""
    images = [synthetic_photo(60, 70, seed=i) for i in range(3)]
    images += [images[0][..., :1], np.dstack([images[1], images[2][..., :1]])]
    return list(face.encode_many(images, 60, jobs=1))


@pytest.fixture(scope="module")
def tiled() -> bytes:
    return face.Codec().encode(synthetic_photo(140, 420), tile_side=64)


def test_crops_and_scales_of_many(files, tiled):
    whole = [face.decode(file) for file in files]
    cut = face.decode_many(files, region=(8, 4, 32, 24), jobs=2)
    for image, part in zip(whole, cut):
        assert np.array_equal(np.asarray(image)[4:28, 8:40], np.asarray(part))
    corner = face.decode_many([*files, tiled], region=lambda w, h: (w - 16, h - 16, 16, 16))
    last = [*corner][-1]
    assert np.array_equal(np.asarray(last), np.asarray(face.decode(tiled))[-16:, -16:])
    small = [image.size for image in face.decode_many(files, scale=4)]
    assert small == [(18, 15)] * len(files)


def test_only_the_tiles_of_a_crop_are_read(tiled):
    """Every other tile is broken, which nobody notices."""
    from aei.formats import parse

    contents = parse(tiled)
    broken = bytearray(tiled)
    for i, entry in enumerate(contents.entries):
        if contents.boxes[i].left >= 320:
            broken[entry.start] ^= 255
    (crop,) = face.decode_many([bytes(broken)], region=(0, 0, 64, 64))
    assert np.array_equal(np.asarray(crop), np.asarray(face.decode(tiled))[:64, :64])
    with pytest.raises(face.DamagedFileError):
        [*face.decode_many([bytes(broken)])]


def test_random_crops_stay_inside():
    crop = RandomCrop(33, 20, step=16)
    random.seed(1)
    places = {crop(100, 90) for _ in range(200)}
    assert {left for left, *_ in places} == {0, 16, 32, 48, 64}
    assert {top for _, top, *_ in places} == {0, 16, 32, 48, 64}
    assert crop(33, 20) == (0, 0, 33, 20)
    with pytest.raises(face.UnsupportedError, match="smaller than a crop"):
        crop(32, 90)


def test_pixels_have_the_channels_that_are_asked_for(files):
    codec = face.Codec(threads=1)
    as_they_are = [Pixels(mode=None)(codec, file).shape for file in files]
    assert as_they_are == [(3, 60, 70)] * 3 + [(1, 60, 70), (4, 60, 70)]
    assert {Pixels()(codec, file).shape for file in files} == {(3, 60, 70)}
    assert Pixels(mode="L", scale=2)(codec, files[0]).shape == (1, 30, 35)
    with pytest.raises(face.UnsupportedError, match="choose L, LA, RGB"):
        Pixels(mode="CMYK")


def test_latents_are_those_of_the_codec(tiled):
    codec = face.Codec(threads=1)
    parts = list(codec.latents(tiled))
    grid = Latents(even=False)(codec, tiled)
    assert grid.dtype == np.float32
    assert grid.shape == (320, 9, 27)
    unit = codec.bundle.prior.unit
    assert np.array_equal(grid[:, :4, 4:8], np.moveaxis(parts[1].y_hat / unit, 2, 0))
    assert np.array_equal(grid[:, 8:, 24:], np.moveaxis(parts[-1].y_hat / unit, 2, 0))


def test_even_latents_agree_at_different_qualities(photo):
    codec = face.Codec(threads=1)
    low, high = (codec.encode(photo, quality, effort=0) for quality in (70, 90))

    def difference(even: bool) -> float:
        a, b = (Latents(even)(codec, file) for file in (low, high))
        return float(np.abs(a - b).mean() / np.abs(b).mean())

    assert difference(True) < 0.5 < difference(False) + 0.2
    assert difference(True) < 0.7 * difference(False)


def test_latents_of_another_model_are_refused(files):
    codec = face.Codec(threads=1)
    named = codec.bundle.fingerprint.hex()
    assert Latents(model=named)(codec, files[0]).shape == (320, 4, 5)
    with pytest.raises(face.UnsupportedError, match="are wanted"):
        Latents(model="0" * 8)(codec, files[0])


def test_a_data_set_names_what_is_bad(tmp_path, files):
    (tmp_path / "a.aei").write_bytes(files[0])
    (tmp_path / "b.aei").write_bytes(files[1][:-2])
    paths = [tmp_path / "a.aei", tmp_path / "b.aei", tmp_path / "c.aei"]
    data = pickle.loads(pickle.dumps(AeiDataset(paths, labels=[5, 6, 7])))
    assert len(data) == 3
    pixels, label = data[0]
    assert (pixels.shape, label) == ((3, 60, 70), 5)
    with pytest.raises(face.DamagedFileError, match=r"b\.aei"):
        data[1]
    with pytest.raises(FileNotFoundError):
        data[2]
    with pytest.raises(IndexError):
        data[3]
    with pytest.raises(face.UnsupportedError, match="2 labels for 3 files"):
        AeiDataset(paths, labels=[1, 2])
    flipped = AeiDataset(files, transform=lambda pixels: pixels[:, ::-1].copy())
    assert np.array_equal(flipped[0], pixels[:, ::-1])


@needs("torch")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_batches_of_workers(files, method):
    import multiprocessing

    import torch

    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    face.decode(files[0])  # the parent has threads, and has used the codec, before it forks
    data = AeiDataset(files[:4], Pixels(region=(0, 0, 48, 32)), labels=range(4))
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=2,
        num_workers=1 + (method == "fork"),
        multiprocessing_context=method,
        persistent_workers=True,
    )
    wanted = torch.stack([torch.from_numpy(data[i][0]) for i in range(4)])
    for _ in range(2):
        batches = list(loader)
        assert [labels.tolist() for _, labels in batches] == [[0, 1], [2, 3]]
        assert all(pixels.is_shared() for pixels, _ in batches)
        assert torch.equal(torch.cat([pixels for pixels, _ in batches]), wanted)


@needs("torch")
def test_crops_differ_between_workers_and_epochs():
    import torch

    file = face.encode(synthetic_photo(300, 300), 60)
    data = AeiDataset([file] * 4, Pixels(region=RandomCrop(32, 32)))
    loader = torch.utils.data.DataLoader(data, num_workers=2)
    crops = [batch.numpy().tobytes() for _ in range(2) for batch in loader]
    assert len(set(crops)) == 8


def tar_of(path, files) -> None:
    with tarfile.open(path, "w") as tar:
        for i, file in enumerate(files):
            for name, data in ((f"{i:04}.aei", file), (f"{i:04}.cls", str(i).encode())):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))


def test_a_web_decoder_leaves_other_names_alone(files):
    decode = WebDecoder(Pixels(scale=2))
    assert decode(".aei", files[0]).shape == (3, 30, 35)
    assert decode(".left.AEI", files[0]).shape == (3, 30, 35)
    assert decode(".cls", b"1") is None


@needs("webdataset")
def test_webdataset(tmp_path, files):
    import webdataset

    tar_of(tmp_path / "a.tar", files)
    data = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    rows = list(data.decode(WebDecoder()).to_tuple("aei", "cls"))
    assert [int(label) for _, label in rows] == [0, 1, 2, 3, 4]
    assert np.array_equal(rows[2][0], np.moveaxis(np.asarray(face.decode(files[2])), 2, 0))


@needs("datasets")
def test_hugging_face_datasets(tmp_path, files, monkeypatch):
    """The Image feature opens .aei files through the Pillow plugin, by path and from bytes."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import aei.codec.pillow  # noqa: F401
    import datasets

    (tmp_path / "a.aei").write_bytes(files[0])
    column = [str(tmp_path / "a.aei"), {"bytes": files[2], "path": None}]
    data = datasets.Dataset.from_dict({"image": column[:1]}).cast_column("image", datasets.Image())
    wanted = face.decode(files[0])
    assert data[0]["image"].tobytes() == wanted.tobytes()
    data = datasets.Dataset.from_dict(
        {"image": column[1:]}, datasets.Features(image=datasets.Image())
    )
    assert data[0]["image"].tobytes() == face.decode(files[2]).tobytes()
    raw = data.cast_column("image", datasets.Image(decode=False))
    crops = raw.with_transform(
        lambda rows: {"image": [_crop(row["bytes"]) for row in rows["image"]]}
    )
    assert crops[0]["image"].shape == (3, 16, 16)


def _crop(data: bytes) -> np.ndarray:
    return Pixels(region=(0, 0, 16, 16))(face.Codec(threads=1), data)


def test_the_image_plugin_gives_the_same_as_the_codec(files):
    import aei.codec.pillow  # noqa: F401

    assert Image.open(io.BytesIO(files[0])).tobytes() == face.decode(files[0]).tobytes()
