"""Several models ship: each tune is encoded with its own, and all their files are read."""

import json
import shutil

import numpy as np
import pytest
from aei import codec
from aei.codec import Codec, ModelError, UnknownModelError
from aei.codec.models.bundle import Bundle, default_bundle, installed_bundles
from aei.codec.settings import TUNES
from aei.formats import parse_header
from conftest import synthetic_photo
from golden_files import GOLDEN


@pytest.fixture(scope="module")
def photo():
    return synthetic_photo(64, 48)


def model_of(data: bytes) -> bytes:
    return parse_header(data)[0].model


def test_each_tune_has_a_model_that_suits_it():
    for tune in TUNES:
        bundle = default_bundle(tune)
        assert bundle.path in installed_bundles()
        assert bundle.bits_per_error(0) is not None
    assert default_bundle("psnr").tune == "psnr"
    assert default_bundle().tune == default_bundle("ssimulacra2").tune == "ssimulacra2"


def test_models_can_be_told_apart():
    fingerprints = [Bundle(path).fingerprint for path in installed_bundles()]
    assert len(set(fingerprints)) == len(fingerprints) >= 2


def test_names_are_those_of_the_folders(tmp_path, monkeypatch):
    assert default_bundle().name == "photo-1"
    for path in installed_bundles():
        assert Bundle(path).name == path.name
        assert Bundle(path.name).path == path
    with pytest.raises(ModelError, match="not a model bundle"):
        Bundle("photo-0")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "tiny.bundle", tmp_path / "psnr")  # what is at hand comes first
    assert Bundle("psnr").name == "tiny"
    with pytest.raises(ModelError, match="not a model bundle"):
        Bundle("models/psnr")


def test_the_list_of_models(run_aei):
    result = run_aei("model", "list", "--json")
    models = {model["name"]: model for model in json.loads(result.out)["models"]}
    assert models["photo-1"]["use"] == "used by default"
    assert models["psnr"]["use"] == "--tune psnr"
    assert models["psnr"]["fingerprint"] == default_bundle("psnr").fingerprint.hex()
    assert models.keys() == {path.name for path in installed_bundles()}
    words = run_aei("model", "list").out.splitlines()
    assert [line.split()[0] for line in words] == list(models)


def test_a_codec_reads_what_it_writes(photo):
    own = Codec()
    for tune in ("ssimulacra2", "psnr"):
        data = own.encode(photo, tune=tune)
        assert model_of(data) == default_bundle(tune).fingerprint
        back = np.asarray(own.decode(data))
        assert np.array_equal(back, np.asarray(codec.decode(data)))
        assert own.latents_sha256(data) == Codec(default_bundle(tune).path).latents_sha256(data)


def test_psnr_is_better_with_its_own_model(photo):
    def cost(bundle, index):
        named = Codec(bundle.path)
        data = named.encode(photo, gain_index=index, tune="psnr")
        error = np.square(np.asarray(named.decode(data), np.float64) - photo).mean()
        return 8 * len(data) + bundle.bits_per_error(index) * error * photo.size / 255**2

    look, squares = default_bundle(), default_bundle("psnr")
    index = 150
    lambdas = [abs(look.bits_per_error(i) - squares.bits_per_error(index)) for i in range(256)]
    assert cost(squares, index) < cost(look, int(np.argmin(lambdas)))


def test_a_codec_of_a_named_model_knows_no_other(photo):
    look = Codec(default_bundle().path)
    data = look.encode(photo, tune="psnr")
    assert model_of(data) == look.bundle.fingerprint
    with pytest.raises(UnknownModelError, match="not with photo-1"):
        look.decode(codec.encode(photo, tune="psnr"))


def test_a_model_that_does_not_ship(photo):
    data = Codec(GOLDEN / "finish.bundle").encode(photo)
    with pytest.raises(UnknownModelError, match="install the newest one"):
        Codec().decode(data)
