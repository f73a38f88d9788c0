"""A later release has another model and encodes with it: it reads the files of this one, and this
one says which model it lacks. release/rehearse.py does the same with wheels."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from aei.codec import Codec, UnknownModelError, encode
from aei.codec.models import bundle as bundles
from conftest import synthetic_photo
from golden_files import GOLDEN

PACKAGE = Path(bundles.__file__).parents[2]
NEW = GOLDEN / "context.bundle"
LATER = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from aei import codec
Path("new.aei").write_bytes(codec.encode(Image.open("photo.png")))
np.save("old.npy", np.asarray(codec.decode(Path("old.aei").read_bytes())))
print(codec.Codec().bundle.name, codec.Codec().bundle.fingerprint.hex())
"""


def linked(folder: Path, target: Path, replaced: str) -> None:
    """A folder whose entries are those of another, but for one."""
    folder.mkdir()
    for entry in target.iterdir():
        if entry.name not in (replaced, "__pycache__"):
            (folder / entry.name).symlink_to(entry)


@pytest.fixture
def later(tmp_path):
    """A folder with aei of a later release: this one, one more model, and that the default."""
    top = tmp_path / "later"
    top.mkdir()
    linked(top / "aei", PACKAGE, "codec")
    linked(top / "aei" / "codec", PACKAGE / "codec", "models")
    models = top / "aei" / "codec" / "models"
    linked(models, PACKAGE / "codec" / "models", "bundle.py")
    (models / "next").symlink_to(NEW)
    code = Path(bundles.__file__).read_text(encoding="utf-8")
    this = f'DEFAULT_MODEL = "{bundles.DEFAULT_MODEL}"'
    assert this in code
    (models / "bundle.py").write_text(code.replace(this, 'DEFAULT_MODEL = "next"'))
    return top


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_files_of_this_release_open_in_a_later_one(later, tmp_path):
    from PIL import Image

    Image.fromarray(synthetic_photo(64, 80)).save(tmp_path / "photo.png")
    old = encode(Image.open(tmp_path / "photo.png"))
    (tmp_path / "old.aei").write_bytes(old)
    variables = os.environ | {"PYTHONPATH": str(later)}
    done = subprocess.run(
        [sys.executable, "-c", LATER], cwd=tmp_path, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    name, model = done.stdout.split()
    assert name == "context"
    this = Codec()  # with no model that another test has brought
    assert np.array_equal(np.load(tmp_path / "old.npy"), np.asarray(this.decode(old)))
    with pytest.raises(UnknownModelError) as caught:
        this.decode((tmp_path / "new.aei").read_bytes())
    assert f"model {model}" in str(caught.value)
    assert "pip install -U aei-codec" in str(caught.value)


def test_the_command_line_says_what_to_do(run_aei, tmp_path):
    data = Codec(NEW).encode(synthetic_photo(40, 48))
    (tmp_path / "new.aei").write_bytes(data)
    result = run_aei("decode", tmp_path / "new.aei", "-o", tmp_path / "out.png")
    assert result.code == 1
    assert "install the newest one" in result.err
    assert "--model" in result.err
    assert result.err.count("\n") == 1
    opened = run_aei("decode", tmp_path / "new.aei", "-o", tmp_path / "out.png", "--model", NEW)
    assert opened.code == 0
