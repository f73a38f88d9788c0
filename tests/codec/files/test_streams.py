"""encode_many and decode_many, arrays and tensors."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from aei import codec as face
from aei.codec import streams
from PIL import Image


def test_there_and_back_in_order(photo, tmp_path):
    images = [photo[:30, : 20 + i] for i in range(7)] + [Image.fromarray(photo[:9, :9])]
    files = list(face.encode_many(images, 40, jobs=2))
    assert files == [face.encode(image, 40) for image in images]
    (tmp_path / "x.aei").write_bytes(files[0])
    decoded = list(
        face.decode_many([tmp_path / "x.aei", str(tmp_path / "x.aei"), *files[1:]], jobs=2)
    )
    assert [d.size for d in decoded] == [
        (20, 30),
        (20, 30),
        *((20 + i, 30) for i in range(1, 7)),
        (9, 9),
    ]


def test_targets(photo):
    (file,) = face.encode_many([photo], target=face.Target("size", 4000))
    assert 3920 <= len(file) <= 4000


def test_a_bad_file_raises_in_its_turn(aei_file):
    results = face.decode_many([aei_file, b"bad", aei_file], jobs=2)
    assert next(results).size == (48, 40)
    with pytest.raises(face.NotAnAeiFileError):
        next(results)


def test_inputs_are_read_no_faster_than_results():
    taken = []

    def numbers():
        for i in itertools.count():
            taken.append(i)
            yield i

    results = streams._ordered(lambda i: i * i, numbers(), 3)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(taken) <= 5 + 6
    results.close()


def test_tensors(photo):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(photo.copy()).permute(2, 0, 1)
    expected = face.encode(photo, 30)
    assert face.encode(tensor, 30) == expected
    assert face.encode(tensor.float() / 255, 30) == expected
    assert face.encode(tensor[0], 30) == face.encode(photo[..., 0], 30)
    with pytest.raises(face.UnsupportedError, match="0 to 1"):
        face.encode(tensor.float(), 30)
    with pytest.raises(face.UnsupportedError, match="C, H, W"):
        face.encode(tensor.permute(1, 2, 0), 30)
    with pytest.raises(face.UnsupportedError, match="int32"):
        face.encode(tensor.int(), 30)


def test_torch_is_not_imported():
    code = (
        "import sys, numpy; from aei import codec\n"
        "codec.encode(numpy.zeros((9, 9), 'u1'))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_can_decode(aei_file, tmp_path):
    """Data loaders fork after the parent may have used the codec."""
    (tmp_path / "x.aei").write_bytes(aei_file)
    code = """
import os, sys
from aei import codec
data = open(sys.argv[1], "rb").read()
codec.decode(data)
child = os.fork()
if child == 0:
    codec.decode(data)
    os._exit(0)
sys.exit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "x.aei"], check=True, timeout=60)


def test_arrays_come_back(photo):
    back = np.asarray(face.decode(face.encode(photo[:20, :30])))
    assert (back.shape, back.dtype) == ((20, 30, 3), np.uint8)
