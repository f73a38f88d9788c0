"""The packed tarball in a project of Vite, as docs/guide/web.md has it: built and served."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aei.codec.training.export.web import file_name, pack_weights
from browsers import command_of, opened
from serving import serve
from web_fixtures import node

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
if not WEB.is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
import golden_files

NAME = "finish-rgb-150x120"
VITE = "vite@8.4.0"
# The policy of the guide, without a word more.
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src blob:; connect-src 'self'"
}
PAGE = """<!doctype html><meta charset="utf-8"><script type="module" src="/main.js"></script>
<aei-image src="photo.aei" alt="A red door"></aei-image>"""
SCRIPT = """import "aei-decode/element";
import { decode } from "aei-decode";
const element = document.querySelector("aei-image");
const shown = new Promise((resolve) => {
  element.addEventListener("load", () => resolve([element.naturalWidth, element.naturalHeight]));
  element.addEventListener("error", ({ message }) => resolve(message));
});
const told = {};
try {
  const { data } = await decode(await fetch("photo.aei"));
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  told.pixels = Array.from(hash, (b) => b.toString(16).padStart(2, "0")).join("");
  told.shown = await shown;
} catch (error) {
  told.error = String(error);
}
await fetch("../report", { method: "POST", body: JSON.stringify(told) });
"""


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture(scope="module")
def project(node, tmp_path_factory) -> Path:
    """What `vite build` makes of a page with the package."""
    if not shutil.which("npm"):
        pytest.skip("needs npm (Debian: apt-get install npm)")
    command_of("chromium")  # before anything is fetched
    folder = tmp_path_factory.mktemp("vite")
    packed = run(["npm", "pack", "--silent", "--pack-destination", str(folder)], WEB).stdout.strip()
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ["--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0"]
    made = run(["npm", "install", *quiet, VITE, f"./{packed}"], folder)
    if made.returncode:
        pytest.skip(f"npm cannot install {VITE} here: {made.stderr.strip().splitlines()[-1]}")
    (folder / "index.html").write_text(PAGE)
    (folder / "main.js").write_text(SCRIPT)
    bundle, weights = golden_files.codec_of("finish").bundle, folder / "public" / "aei-models"
    weights.mkdir(parents=True)
    (weights / file_name(bundle)).write_bytes(pack_weights(bundle))
    (folder / "public" / "photo.aei").write_bytes(golden_files.read(NAME))
    made = run(["npx", "vite", "build", "--base=./"], folder)
    assert made.returncode == 0, made.stderr
    return folder / "dist"


def test_a_page_that_vite_built_shows_the_exact_pixels(project):
    image = golden_files.codec_of("finish").decode(golden_files.read(NAME))
    wanted = hashlib.sha256(image.convert("RGBA").tobytes()).hexdigest()
    folders = {"/below/": project}
    with serve(folders, {}, POLICY) as site, opened("chromium", site.address + "/below/index.html"):
        told = site.report(100)
    assert told == {"pixels": wanted, "shown": [150, 120]}, json.dumps(told)
    weights = file_name(golden_files.codec_of("finish").bundle)
    assert f"/below/aei-models/{weights}" in site.asked  # beside the page, in its subpath
