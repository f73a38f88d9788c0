"""What reading a model's files takes, and no more: it reads them to the same pixels, and writes
none."""

import hashlib
import shutil

import pytest
from aei.codec import Codec, UnsupportedError
from aei.codec.files.storage import OutputError
from aei.codec.models.bundle import Bundle
from aei.codec.training.export.decoder_only import write_decoder
from aei.codec.training.export.web import pack_weights
from conftest import synthetic_photo
from golden_files import FACTS, GOLDEN, read

FINISH = GOLDEN / "finish.bundle"


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    return write_decoder(Bundle(FINISH), tmp_path_factory.mktemp("readers"))


def test_it_reads_the_same_pixels_with_fewer_bytes(forms):
    codec = Codec(forms[0])
    assert codec.bundle.fingerprint == Bundle(FINISH).fingerprint
    assert {path.name for path in forms[0].iterdir()} == {
        "manifest.json", "prior.json", "prior.safetensors", "synthesis.json",
        "synthesis.safetensors",
    }  # fmt: skip
    names = [name for name, facts in FACTS.items() if facts["bundle"] == "finish"]
    assert len(names) > 4
    for name in names:
        image = codec.decode(read(name))
        assert hashlib.sha256(image.tobytes()).hexdigest() == FACTS[name]["pixels_sha256"]
        assert codec.latents_sha256(read(name)) == FACTS[name]["latents_sha256"]


@pytest.mark.parametrize("options", [{}, {"effort": 5}, {"tune": "psnr"}])
def test_it_writes_no_file(forms, options):
    with pytest.raises(UnsupportedError, match="reads files and writes none"):
        Codec(forms[0]).encode(synthetic_photo(32, 32), **options)


def test_the_packed_form_is_that_for_browsers(forms):
    bundle = Bundle(FINISH)
    assert forms[1].name == f"{bundle.fingerprint.hex()}.aeiw"
    assert forms[1].read_bytes() == pack_weights(bundle) == pack_weights(Bundle(forms[0]))


def test_nothing_is_lost(tmp_path):
    shutil.copytree(FINISH, tmp_path / "finish")
    bundle = Bundle(tmp_path / "finish")
    with pytest.raises(OutputError, match="the input itself"):
        write_decoder(bundle, tmp_path, overwrite=True)
    write_decoder(bundle, tmp_path / "readers")
    with pytest.raises(OutputError, match="exists"):
        write_decoder(bundle, tmp_path / "readers")
    write_decoder(bundle, tmp_path / "readers", overwrite=True)
    with pytest.raises(UnsupportedError, match="no form for reading alone"):
        write_decoder(Bundle(GOLDEN / "trellis.bundle"), tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_the_command(run_aei, tmp_path):
    result = run_aei("model", "decoder", FINISH, "-o", tmp_path)
    assert result.code == 0, result.err
    assert (tmp_path / "finish" / "manifest.json").exists()
    again = run_aei("model", "decoder", FINISH, "-o", tmp_path)
    assert again.code == 1
    assert "--force" in again.err
    reader = ("--model", tmp_path / "finish")
    (tmp_path / "x.aei").write_bytes(read("finish-rgb-17x3"))
    assert run_aei("decode", tmp_path / "x.aei", "-o", tmp_path / "x.png", *reader).code == 0
    refused = run_aei("encode", tmp_path / "x.png", "-o", tmp_path / "y.aei", *reader)
    assert refused.code == 1
    assert refused.err.count("\n") == 1
