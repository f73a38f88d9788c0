"""What the tests of web/ share: Node, weights of the bundles, files of photographs."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from aei.codec.models.bundle import Bundle, default_bundle
from aei.codec.training.export.web import file_name, pack_weights

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def node() -> str:
    """The command of Node."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node (Debian: apt-get install nodejs)")
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """A folder with the weights of the golden bundles and of the one that ships."""
    folder = tmp_path_factory.mktemp("models")
    for bundle in [default_bundle(), *map(Bundle, sorted(GOLDEN.glob("*.bundle")))]:
        (folder / file_name(bundle)).write_bytes(pack_weights(bundle))
    return folder


@pytest.fixture(scope="session")
def dist(tmp_path_factory) -> Path:
    """dist/ as who installs the packed tarball has it; the one of the tree where npm is not."""
    if not shutil.which("npm"):
        return WEB / "dist"
    folder = tmp_path_factory.mktemp("packed")
    packed = subprocess.run(
        ["npm", "pack", "--silent", "--pack-destination", str(folder)], cwd=WEB,
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run(["tar", "xzf", str(folder / packed), "-C", str(folder)], check=True)
    return folder / "package" / "dist"


@pytest.fixture(scope="session")
def verdicts(node, models, dist):
    """How cases end in Node, see web/test/verdicts.mjs; data of cases are bytes here."""

    own = (dist / "node.js").as_uri()

    def ask(cases: list[dict], library: str = own, timeout: float = 280) -> dict:
        text = [case | {"data": base64.b64encode(case["data"]).decode()} for case in cases]
        command = [node, str(WEB / "test" / "verdicts.mjs"), str(models)]
        made = subprocess.run(
            [*command, library], input=json.dumps(text).encode(), capture_output=True,
            timeout=timeout, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr.decode()[-2000:]
        return json.loads(made.stdout)

    return ask


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> dict[str, bytes]:
    """Twelve Kodak images, each at one of three qualities, as .aei files, by name."""
    data = os.environ.get("AEI_DATA")
    images = sorted(Path(data, "kodak").glob("*.png"))[:12] if data else []
    if not images:
        pytest.skip("needs the Kodak images ($AEI_DATA/kodak)")
    from aei.codec import Codec
    from PIL import Image

    codec = Codec(threads=2)
    out = {}
    for i, path in enumerate(images):
        with Image.open(path) as image:
            out[path.stem] = codec.encode(image, (15, 50, 85)[i % 3], effort=0)
    return out
