"""What people and programs look for in a project: one version everywhere, forms, a README for an
index."""

import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from release_tools import tool

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
if not (ROOT / "setup.py").is_file():
    pytest.skip("needs the source tree", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_everywhere():
    other = tomllib.loads((ROOT / "restore" / "pyproject.toml").read_text(encoding="utf-8"))
    web = json.loads((ROOT / "web" / "package.json").read_text(encoding="utf-8"))
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.M)
    assert {PROJECT["version"], other["project"]["version"], web["version"], cited} == {
        PROJECT["version"]
    }
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_supported_versions_are_named():
    named = {c.split(" :: ")[-1] for c in PROJECT["classifiers"] if "Python :: 3." in c}
    oldest = int(PROJECT["requires-python"].removeprefix(">=3."))
    assert named == {f"3.{minor}" for minor in range(oldest, oldest + len(named))}
    assert f"3.{sys.version_info.minor}" in named


def test_python_m_aei():
    done = subprocess.run(
        [sys.executable, "-m", "aei", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("aei, version ")


def setup_module_of(monkeypatch):
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    monkeypatch.chdir(ROOT)
    spec = importlib.util.spec_from_file_location("setup_of_aei", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_for_an_index(monkeypatch):
    """Links lead to the repository where its address is known, and nowhere else; never to files
    that an index does not have."""
    pytest.importorskip("setuptools.command.bdist_wheel", reason="needs a newer setuptools")
    setup = setup_module_of(monkeypatch)
    text = "[a](docs/a.md#x) ![b](docs/b.png) [c](https://c) [d](docs/) [e](#e)"
    assert setup.for_an_index(text, "") == "a  [c](https://c) d [e](#e)"
    assert setup.for_an_index(text, "https://h/o/r/") == (
        "[a](https://h/o/r/blob/main/docs/a.md#x) ![b](https://h/o/r/raw/main/docs/b.png) "
        "[c](https://c) [d](https://h/o/r/tree/main/docs/) [e](#e)"
    )
    shown = setup.readme()
    assert len(shown) > 5000
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", shown)


def test_forms_can_be_read():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) >= 3
    for form in forms:
        content = yaml.safe_load(form.read_text(encoding="utf-8"))
        if form.name == "config.yml":
            continue
        assert {"name", "description", "body"} == set(content), form
        for part in content["body"]:
            assert part["type"] in ("markdown", "textarea", "input", "checkboxes"), form
            assert part["type"] == "markdown" or part["id"], form


def test_a_wheel_is_told_from_that_of_the_restoring_networks(tmp_path, monkeypatch):
    wheels = tool("wheels")
    sdist = tmp_path / "aei_codec-9.tar.gz"
    with tarfile.open(sdist, "w:gz") as packed:
        packed.add(ROOT / "LICENSE", "aei_codec-9/LICENSE")

    def build(*arguments, **_variables):
        with zipfile.ZipFile(Path(arguments[0]) / "aei_codec-9-py3-none-any.whl", "w") as made:
            made.writestr("aei/__main__.py", "")

    (tmp_path / "aei_codec_restore-9-py3-none-any.whl").touch()
    monkeypatch.setattr(wheels, "build", build)
    made = wheels.wheel("any", sdist, tmp_path)
    assert made.name == "aei_codec-9-py3-none-any.whl"


def test_platforms_of_wheels_are_known():
    wheels = tool("wheels")
    assert "any" in wheels.PLATFORMS
    assert len(wheels.PLATFORMS) == 9
    asked = [sys.executable, str(ROOT / "release" / "wheels.py"), "amiga"]
    done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such platform: amiga" in done.stderr


def test_an_environment_is_named_as_its_python_names_it(tmp_path):
    """Below another system's root, paths lose it; and what fails says what it was."""
    matrix = tool("matrix")
    inside = matrix.Environment("python3.14", tmp_path / "tmp" / "x", tmp_path)
    assert inside.seen(inside.folder / "venv") == "/tmp/x/venv"
    here = matrix.Environment(sys.executable, tmp_path, None)
    assert here.seen(tmp_path) == str(tmp_path)
    if sys.platform != "win32":
        assert here.run(sys.executable, "-c", "print(5)", where=tmp_path) == "5\n"
        with pytest.raises(SystemExit, match=r"(?s)raise.*ZeroDivisionError"):
            here.run(sys.executable, "-c", "raise ZeroDivisionError", where=tmp_path)
    assert matrix.first_command(ROOT).startswith("pip install . scikit-image\n")


def test_the_tests_that_the_matrix_runs_are_there():
    for name in tool("matrix").LIGHT:
        assert (ROOT / name).exists(), name
