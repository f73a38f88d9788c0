"""Two nodes of a cluster on loopback: the same bytes, also where one of them dies on the way."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("ray", reason="needs the [ray] extra")
pytest.importorskip("pyarrow", reason="needs the [ray] extra")

from aei.codec.cluster import manifest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Ray's tests are of POSIX systems")
IMAGES = 96


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    top = tmp_path_factory.mktemp("many") / "photos"
    top.mkdir()
    for i in range(IMAGES):
        Image.fromarray(synthetic_photo(120, 160, seed=i)).save(top / f"{i:03}.png")
    return top


def files_of(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.glob("*.aei") if p.is_file()}


@pytest.fixture(scope="module")
def cluster():
    """A head that does no work; nodes are processes of their own, and killed where one is left."""
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 0, "object_store_memory": 150_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, connect=False, head_node_args=options)
    yield made
    made.shutdown()


def raylet_of(node) -> int:
    return node.all_processes["raylet"][0].process.pid


def parent_of(pid: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)]))


def test_a_node_that_dies(cluster, photos, tmp_path):
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=150_000_000) for _ in range(2)]
    cluster.wait_for_nodes(60)
    command = [sys.executable, "-m", "aei.cli.main", "encode", str(photos)]
    far = [*command, "-o", str(tmp_path / "far"), "--engine", "ray", "--json"]
    driver = subprocess.Popen(
        [*far, "--address", cluster.address], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    lines, dead = [], None
    for line in driver.stdout:
        lines.append(json.loads(line))
        if dead is None:  # the node that had the first image
            worker = int(lines[0]["worker"].rpartition(":")[2])
            (dead,) = [node for node in nodes if raylet_of(node) == parent_of(worker)]
            cluster.remove_node(dead, allow_graceful=False)
    assert driver.wait(60) == 0
    driver.stdout.close()
    assert len({row.get("worker") for row in lines[:-1]}) > 1
    assert lines[-1]["summary"] == {"done": IMAGES}
    rows = manifest.read(str(tmp_path / "far")).to_pylist()
    assert Counter(row["source"] for row in rows) == Counter(map(str, photos.glob("*.png")))
    subprocess.run([*command, "-o", str(tmp_path / "near"), "--jobs", "1"], check=True)
    assert files_of(tmp_path / "far") == files_of(tmp_path / "near")
