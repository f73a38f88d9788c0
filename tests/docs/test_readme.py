"""The README's Python examples run, and its commands name options that exist."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_python_snippet_runs(number, tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", SNIPPETS[number]], cwd=tmp_path, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()


def test_there_are_snippets():
    assert len(SNIPPETS) == 2


def test_docstring_examples_run():
    code = (
        "import doctest, aei.codec, aei.codec.pillow\n"
        "for module in (aei.codec, aei.codec.pillow):\n"
        "    result = doctest.testmod(module)\n"
        "    assert result.attempted and not result.failed\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, (result.stdout + result.stderr).decode()


def test_shell_examples_use_real_commands(tmp_path, photo):
    """Every line of the command-line section but the benchmark, in a folder with a photograph."""
    from PIL import Image

    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    (tmp_path / "photos").mkdir()
    Image.fromarray(photo).save(tmp_path / "photos" / "one.jpg")
    section = README.split("## Command line")[1].split("```")[1]
    left_out = ["bench"] if find_spec("onnx") else ["bench", "aei model"]  # that needs [train]
    lines = [x for x in section.strip().splitlines() if not any(word in x for word in left_out)]
    aei = f'aei() {{ "{sys.executable}" -m aei.cli.main "$@"; }}\n'
    script = aei + "set -e -o pipefail\n" + "\n".join(lines)
    result = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert {
        "photo.aei",
        "s.aei",
        "back.png",
        "same.png",
        "back/one.jpg",
        "photo.html",
        "part.png",
    } <= made
