"""Without ONNX Runtime, the extra `effort`: what has to work does, the rest says what is absent."""

import subprocess
import sys

import numpy as np
import pytest
from aei.codec import Codec, UnsupportedError, decode, encode
from aei.codec.models.runtime import MISSING
from golden_files import GOLDEN
from PIL import Image


@pytest.fixture(autouse=True)
def without_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # importing it raises ImportError


@pytest.mark.parametrize("effort", [None, 0, 1])
@pytest.mark.parametrize("tune", [None, "psnr", "ssimulacra2"])
def test_low_efforts(photo, effort, tune):
    codec = Codec(threads=1)
    data = codec.encode(photo, effort=effort, tune=tune)
    assert codec.decode(data).size == photo.shape[1::-1]
    assert codec.decode(data, scale=8).size == (26, 19)


def test_the_plugin_of_pillow(photo, tmp_path):
    import aei.codec.pillow  # noqa: F401  registers it

    Image.fromarray(photo).save(tmp_path / "x.aei")
    with Image.open(tmp_path / "x.aei") as image:
        assert np.asarray(image).shape == photo.shape


@pytest.mark.parametrize("options", [{"effort": 2}, {"effort": 9}, {"tune": "ms-ssim"}])
def test_high_efforts(photo, options):
    with pytest.raises(UnsupportedError, match=r"aei-codec\[effort\]"):
        encode(photo[:64, :64], **options)


def test_restoration(photo):
    codec = Codec(restore_bundle=GOLDEN.parent / "restorers")
    with pytest.raises(UnsupportedError, match=r"aei-codec\[effort\]"):
        codec.encode(photo[:64, :64], restore="denoise")


def test_a_model_of_float_transforms():
    codec = Codec(GOLDEN / "offset.bundle")
    with pytest.raises(UnsupportedError, match=r"aei-codec\[effort\]"):
        codec.encode(np.zeros((16, 16, 3), np.uint8))


@pytest.mark.parametrize("arguments", [["encode", "--effort", "3"], ["encode"], ["info"]])
def test_commands(photo, tmp_path, arguments):
    """One line and no traceback, or success."""
    Image.fromarray(photo[:64, :64]).save(tmp_path / "x.png")
    (tmp_path / "x.aei").write_bytes(encode(photo[:64, :64]))
    source = tmp_path / ("x.aei" if arguments == ["info"] else "x.png")
    script = "import sys; sys.modules['onnxruntime'] = None; from aei.cli.main import main; main()"
    command = [sys.executable, "-c", script, *arguments, str(source)]
    if arguments[0] == "encode":
        command += ["-o", str(tmp_path / "y.aei")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "--effort" in arguments:
        assert done.returncode != 0
        assert MISSING in done.stderr
        assert done.stderr.count("\n") == 1
    else:
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "y.aei").exists() == (arguments == ["encode"])


def test_with_it(photo):
    sys.modules.pop("onnxruntime", None)
    pytest.importorskip("onnxruntime")
    data = encode(photo[:64, :64], effort=2)
    assert decode(data).size == (64, 64)
