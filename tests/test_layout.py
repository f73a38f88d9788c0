"""The house keeps its order: arrows only down, no circles, packages as pyproject lists them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
TOPS = ("formats", "codec", "benchmarks", "serve", "cli")
AS_MODULE = Path("cli/as_module")  # of `python -m aei`
if not (ROOT / "codec").is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)

# Which rooms a room may import from; its own modules always. Rooms are folders of codec, modules
# right in codec by their own names, and the top-level folders.
EXACT = {"formats"}
GROUND = {"formats", "codec.settings", "codec.reading", "codec.cpus", "codec.forks"}
PIXELS = {*GROUND, "codec.exact"}
MODELS = {*GROUND, "codec.exact", "codec.pixels"}
SEARCH = {*GROUND, "codec.exact", "codec.metrics", "codec.models", "codec.pixels"}
RESTORE = {*GROUND, "codec.pixels", "codec.models"}
WINDOWS = MODELS | {"codec.models"}
DECODER = WINDOWS | {"codec.windows"}
PREVIEW = {*GROUND, "codec.pixels"}
ENCODER = SEARCH | RESTORE | {"codec.search", "codec.restore", "codec.preview"}
API = ENCODER | DECODER | {"codec.encoder", "codec.decoder"}
FILES = API | {"codec.api", "codec.targets", "codec.pillow"}
ALLOWED = {
    "formats": set(),
    "codec.settings": {"formats"},
    "codec.reading": {"formats"},
    "codec.cpus": {"formats", "codec.forks"},
    "codec.forks": set(),
    "codec.exact": EXACT,
    "codec.metrics": set(),
    "codec.pixels": PIXELS,
    "codec.models": MODELS,
    "codec.search": SEARCH,
    "codec.restore": RESTORE,
    "codec.windows": WINDOWS,
    "codec.preview": PREVIEW,
    "codec.encoder": ENCODER,
    "codec.decoder": DECODER,
    "codec.api": API,
    "codec.targets": API | {"codec.api"},
    "codec.pillow": API | {"codec.api", "codec.targets"},
    "codec.files": FILES,
    "codec.streams": FILES | {"codec.files"},
    "codec.cluster": FILES | {"codec.files"},
    "codec.loaders": FILES | {"codec.files", "codec.streams"},
    "codec.inspect": FILES | {"codec.files", "codec.training"},  # relevance needs the torch model
    "codec.training": FILES | {"codec.files"},  # bundles are written as all files are
    "codec": {"formats", "codec.api", "codec.restore", "codec.streams", "codec.targets"},
    "serve": {"formats", "codec.api", "codec.files", "codec.pixels"},
    "benchmarks": FILES | {"codec", "codec.training", "codec.inspect", "codec.loaders"},
}


def modules() -> dict[str, Path]:
    """Every module of the package by its name below `aei`."""
    found = {}
    for top in TOPS:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, at_import: bool) -> set[str]:
    """Modules of ours that a module imports: all, or those loaded with it. What only type checkers
    see does not count."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            return
        if at_import and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            target = ".".join(part for part in base if part)
            for alias in node.names:
                full = f"{target}.{alias.name}"
                found.add(full if full in MODULES else target)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return {m for m in found if m in MODULES} - {name}


def test_relative_imports_lead_somewhere():
    """Those inside functions too, which no test may reach."""
    gone = []
    for name, path in MODULES.items():
        package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = package[: len(package) - node.level + 1]
                target = ROOT.joinpath(*base, *(node.module or "").split("."))
                if not (target.is_dir() or target.with_suffix(".py").is_file()):
                    gone.append(f"{name}, line {node.lineno}")
    assert not gone, gone


def room(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "codec" else parts[0]


def test_arrows_point_down():
    up = []
    for name in MODULES:
        allowed = ALLOWED.get(room(name))
        for target in imports(name, at_import=False):
            if allowed is not None and room(target) != room(name) and room(target) not in allowed:
                up.append(f"{name} -> {target}")
    assert not up, "\n".join(up)


def test_no_circle_of_imports():
    graph = {name: imports(name, at_import=True) for name in MODULES}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in graph[name]:
                walk(target, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())


def test_packages_are_the_folders():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    folders = {p.parent.relative_to(ROOT) for top in TOPS for p in (ROOT / top).rglob("*.py")}
    folders -= {AS_MODULE}
    wanted = {f"aei.{'.'.join(folder.parts)}": folder.as_posix() for folder in folders}
    # with the project's own folder for aei, an editable install finds no subpackage
    wanted["aei"] = AS_MODULE.as_posix()
    setuptools = project["setuptools"]
    assert setuptools["package-dir"] == wanted
    assert set(setuptools["packages"]) == set(wanted)


def test_lines_are_within_100_columns():
    """Python is ruff's to check, prose test_docs.py's; what is built is exempt."""
    asked = ["*.c", "*.h", "*.js", "*.mjs", "*.ts", "*.css", "*.html", "*.toml", "*.py"]
    listed = subprocess.run(
        ["git", "ls-files", "--", *asked], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("needs a git checkout")
    wide = [
        f"{name}:{number}"
        for name in listed.stdout.splitlines()
        if not name.startswith("web/dist/")
        and name not in ("cli/pages/web/viewer.html", "cli/pages/web/aei-image.js")
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").split("\n"), 1)
        if len(line) > 100
    ]
    assert listed.stdout
    assert not wide, wide


def test_types_are_shipped():
    """Type checkers look for py.typed in the packages below the namespace, and in the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    for top in TOPS:
        assert (ROOT / top / "py.typed").exists()
        assert "py.typed" in project["setuptools"]["package-data"][f"aei.{top}"]


@pytest.mark.parametrize("command", sorted(m for m in MODULES if m.startswith("cli.")))
def test_commands_load_no_numpy(command):
    """`OPENBLAS_NUM_THREADS` counts only before NumPy is loaded, and `--help` should be light."""
    if command.startswith("cli.pages"):
        pytest.skip("pages are loaded when they are written")
    command = command.replace("cli.as_module.", "")  # the package `aei` itself
    code = f"import sys, aei.{command}; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_folders_are_small():
    for folder in {p.parent for p in MODULES.values()}:
        if "training" not in folder.parts and "codec" in folder.parts:
            assert len(list(folder.glob("*.py"))) <= 14, folder
        if "benchmarks" in folder.parts:
            assert len(list(folder.glob("*.py"))) <= 16, folder
