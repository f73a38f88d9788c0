"""Runs on Ray: the same bytes as on one machine, workers and drivers that are killed, S3."""

import functools
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("ray", reason="needs the [ray] extra")
pytest.importorskip("pyarrow", reason="needs the [ray] extra")

from aei import codec as face
from aei.codec.cluster import engine, manifest, objects
from aei.codec.files.convert import EncodeOptions
from aei.codec.files.job import Job
from cluster_fixtures import Busy, ray_here, s3, s3_port

IMAGES = 40


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    top = tmp_path_factory.mktemp("many") / "photos"
    for i in range(IMAGES):
        path = top / f"{i % 3}" / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_photo(24, 32, seed=i)).save(path)
    return top


def files_of(folder) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.aei") if p.is_file()
    }


@pytest.fixture(scope="module")
def wanted(photos, tmp_path_factory):
    """What one machine makes of them."""
    out = tmp_path_factory.mktemp("local")
    command = [sys.executable, "-m", "aei.cli.main", "encode", str(photos), "-o", str(out), "-r"]
    subprocess.run([*command, "--jobs", "2"], check=True)
    return files_of(out)


def summary(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def test_the_same_bytes_as_one_machine_and_only_once(ray_here, photos, wanted, tmp_path, run_aei):
    out = tmp_path / "out"
    command = ("encode", photos, "-o", out, "--engine", "ray", "-j", "2", "--json")
    result = run_aei(*command)
    assert result.code == 0, result.err
    assert files_of(out) == wanted
    rows = manifest.read(str(out)).to_pylist()
    assert Counter(row["status"] for row in rows) == {"done": IMAGES}
    assert len({row["source"] for row in rows}) == IMAGES
    assert summary(result.out)["summary"] == {"done": IMAGES}

    again = summary(run_aei(*command).out)
    assert (again["done_before"], again["summary"]) == (IMAGES, {})
    changed = photos / "0" / "000.png"
    kept = changed.read_bytes()
    try:
        Image.fromarray(synthetic_photo(24, 32, seed=99)).save(changed)
        assert summary(run_aei(*command).out)["summary"] == {"done": 1}
        assert len(files_of(out)) == IMAGES
    finally:
        changed.write_bytes(kept)
    other = summary(run_aei(*command, "-q", "50").out)
    assert other["summary"] == {"done": IMAGES}

    back = run_aei("decode", out, "-o", tmp_path / "back", "--engine", "ray", "--json", "-j", "2")
    assert back.code == 0, back.err
    pixels = np.asarray(Image.open(tmp_path / "back" / "1" / "001.png"))
    assert np.array_equal(pixels, np.asarray(face.decode(out / "1" / "001.aei")))


def test_a_worker_that_is_killed_costs_nothing(ray_here, photos, wanted, tmp_path):
    killed: list[int] = []

    def told(row) -> None:
        if not killed:
            killed.append(int(row["worker"].rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)

    job = Job(EncodeOptions(), ".aei", frozenset({".png"}))
    run = engine.Run(job, str(tmp_path), told=told)
    into = manifest.Manifest(str(tmp_path), run.name)
    with engine.Ray(None, 2) as ray:
        run.over(ray, objects.find(str(photos), job.suffixes), into)
    into.close()
    rows = manifest.read(str(tmp_path)).to_pylist()
    assert sorted(row["source"] for row in rows) == sorted(map(str, photos.rglob("*.png")))
    assert {row["status"] for row in rows} == {"done"}
    assert len({row["worker"] for row in rows}) > 1
    assert files_of(tmp_path) == wanted


def test_a_driver_that_is_killed_goes_on_where_it_was(ray_here, photos, wanted, tmp_path, run_aei):
    command = ["encode", str(photos), "-o", str(tmp_path), "--engine", "ray", "-j", "1", "--json"]
    driver = subprocess.Popen(
        [sys.executable, "-m", "aei.cli.main", *command], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    while not list(tmp_path.glob(".aei/part-*.parquet")):
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    driver.stdout.close()
    before = manifest.read(str(tmp_path)).to_pylist()
    result = summary(run_aei(*command).out)
    assert result["done_before"] == len(before)
    assert result["summary"] == ({"done": IMAGES - len(before)} if len(before) < IMAGES else {})
    rows = manifest.read(str(tmp_path)).to_pylist()
    assert Counter(row["source"] for row in rows) == Counter(map(str, photos.rglob("*.png")))
    assert files_of(tmp_path) == wanted


OWN = {"target", "seconds", "finished", "run", "worker"}  # of a run, in its rows


def rows_of(where) -> list[dict]:
    """The rows of a manifest in order, but for what differs from run to run."""
    rows = manifest.read(str(where)).to_pylist()
    kept = [{name: value for name, value in row.items() if name not in OWN} for row in rows]
    return sorted(kept, key=lambda row: row["source"])


def test_begun_on_one_engine_and_finished_on_the_other(ray_here, photos, wanted, tmp_path, run_aei):
    """Half by threads and the rest by Ray, and the other way round, is the same as all by one."""
    half = [str(path) for path in sorted(photos.rglob("*.png"))[::2]]
    here, ray = ("--jobs", "2"), ("--engine", "ray", "-j", "2")
    for first, second in ((here, ray), (ray, here)):
        out, table = tmp_path / f"by-{len(first)}", tmp_path / f"by-{len(first)}.parquet"
        # files that are named one by one have no folders below the target
        for sources, how in ((half, first), ([str(photos)], second)):
            options = ("-o", out, "--manifest", table, "--json", *how)
            deep = ["-r"] if how == here else []
            result = run_aei("encode", *sources, *deep, *options)
            assert result.code == 0, result.err
        found = summary(result.out)
        left = IMAGES - len(half)
        assert found["summary"]["done"] == left
        assert found.get("done_before", found["summary"].get("skipped")) == len(half)
        rows = rows_of(table)
        assert len(rows) == len({row["source"] for row in rows}) == IMAGES
    alone = tmp_path / "alone.parquet"
    assert run_aei("encode", photos, "-r", "-o", tmp_path / "a", "--manifest", alone).code == 0
    both = tmp_path / "both.parquet"
    assert run_aei("encode", photos, "-o", tmp_path / "b", "--manifest", both, *ray).code == 0
    assert rows_of(alone) == rows_of(both)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b") == wanted


def test_shards_there_and_back(ray_here, photos, wanted, tmp_path, run_aei):
    """Files to shards of 16 and to files again."""
    ray = ("--engine", "ray", "-j", "2", "--json")
    pack = ("encode", photos, "-o", tmp_path / "shards", "--pack", "16", *ray)
    result = run_aei(*pack)
    assert result.code == 0, result.err
    assert summary(result.out)["summary"] == {"done": IMAGES, "shard": 3}
    assert sorted(p.name for p in (tmp_path / "shards").glob("*.tar")) == [
        "000000.tar", "000001.tar", "000002.tar",
    ]  # fmt: skip
    assert summary(run_aei(*pack).out)["done_before"] == 3
    back = ("decode", tmp_path / "shards", "-o", tmp_path / "back", "--unpack", "--to", "ppm")
    result = run_aei(*back, *ray)
    assert result.code == 0, result.err
    made = {str(p.relative_to(tmp_path / "back")) for p in (tmp_path / "back").rglob("*.ppm")}
    assert {name.partition("/")[2] for name in made} == {n[:-4] + ".ppm" for n in wanted}
    pixels = np.asarray(Image.open(tmp_path / "back" / "000000" / "0" / "000.ppm"))
    assert np.array_equal(pixels, np.asarray(face.decode(wanted["0/000.aei"])))


def test_pages_of_the_web(ray_here, photos, wanted, tmp_path, run_aei):
    """From a server of HTTP to a folder."""
    pytest.importorskip("aiohttp", reason="needs aiohttp, for http")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(photos))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        result = run_aei("encode", url, "-o", tmp_path, "--engine", "ray", "-j", "2")
        server.shutdown()
    assert result.code == 0, result.err
    assert files_of(tmp_path) == wanted


def test_failures(ray_here, photos, tmp_path, run_aei):
    source = tmp_path / "photos"
    source.mkdir()
    for i in range(6):
        (source / f"bad{i}.png").write_bytes(b"no picture")
    Image.fromarray(synthetic_photo(24, 32)).save(source / "good.png")
    command = ("encode", source, "-o", tmp_path / "out", "--engine", "ray", "-j", "1")
    result = run_aei(*command)
    assert result.code == 2
    assert "bad3.png: not an image that Pillow can read" in result.err
    assert "encoded 1 images, 6 failed" in result.err
    few = run_aei(*command, "--max-failures", "2")
    assert few.code == 1
    assert "over the limit of 2" in few.err
    (source / "good.jpg").write_bytes((source / "good.png").read_bytes())
    clash = run_aei(*command)
    assert clash.code == 1
    assert "--keep-extension" in clash.err


def test_an_estimate_before_it_starts(ray_here, photos, tmp_path, run_aei):
    command = ("encode", photos, "-o", tmp_path / "out", "--engine", "ray", "--json", "-j", "2")
    lines = run_aei(*command, "--sample", "0.2", "--dry-run").out.splitlines()
    (estimate,) = [json.loads(x)["estimate"] for x in lines if "estimate" in json.loads(x)]
    assert estimate["objects"] == IMAGES
    assert 2 <= estimate["sample"] <= 20
    assert len(files_of(tmp_path / "out")) == estimate["sample"]
    rest = summary(run_aei(*command).out)
    assert rest["done_before"] == estimate["sample"]
    sizes = sum(len(data) for data in files_of(tmp_path / "out").values())
    assert estimate["bytes_out"] == pytest.approx(sizes, rel=0.4)
    plan = run_aei(*command, "--force", "--dry-run").out.splitlines()
    assert len(plan) == IMAGES


def test_usage(photos, tmp_path, run_aei):
    base = ("encode", photos, "--engine", "ray")
    for arguments, words in (
        (base, "name it with -o"),
        ((*base, "-o", tmp_path, "--skip-existing"), "the manifest says what is done"),
        (("encode", "-", "--engine", "ray", "-o", tmp_path), "without --engine ray"),
        (("encode", photos, "--sample", "0.1"), "are for --engine ray"),
        ((*base, "-o", tmp_path, "--manifest"), "give --manifest its name"),
    ):
        result = run_aei(*arguments)
        assert result.code == 2
        assert words in result.err
    (tmp_path / "mine.txt").write_text("here before")
    result = run_aei(*base, "-o", tmp_path)
    assert result.code == 1
    assert "has files that no run has made: choose another name with -o, or --force" in result.err


def test_a_busy_store(ray_here, s3, photos, wanted, run_aei, monkeypatch):
    """From S3 to S3, where every seventh request is refused or broken off."""
    for path in photos.rglob("*.png"):
        s3.put_file(str(path), f"pictures/photos/{path.relative_to(photos)}")
    monkeypatch.setattr(Busy, "every", 7)
    before = Busy.refused
    command = (
        "encode",
        "s3://pictures/photos",
        "-o",
        "s3://pictures/small",
        "--engine",
        "ray",
        "--json",
    )
    result = run_aei(*command, "-j", "2")
    assert result.code == 0, result.out[-2000:] + result.err
    assert Busy.refused - before > 5
    Busy.every = 0
    s3.invalidate_cache()
    names = [name for name in s3.find("pictures/small") if name.endswith(".aei")]
    found = {name.removeprefix("pictures/small/"): s3.cat_file(name) for name in names}
    assert found == wanted
    rows = manifest.read("s3://pictures/small").to_pylist()
    assert Counter(row["status"] for row in rows) == {"done": IMAGES}
    assert summary(run_aei(*command).out)["done_before"] == IMAGES


def test_read_aei(ray_here, photos, wanted, tmp_path):
    """What `read_images` is for other formats."""
    from aei.codec.loaders import read_aei

    names = sorted(wanted)[:3]
    for name in names:
        (tmp_path / os.path.basename(name)).write_bytes(wanted[name])
    (tmp_path / "notes.txt").write_text("no picture")
    rows = read_aei(str(tmp_path), include_paths=True, override_num_blocks=1).take_all()
    found = {os.path.basename(row["path"]): row["image"] for row in rows}
    assert sorted(found) == [os.path.basename(name) for name in names]
    image = np.asarray(face.decode(wanted[names[1]]))
    assert np.array_equal(found[os.path.basename(names[1])], np.moveaxis(image, 2, 0))


def test_verify(ray_here, photos, tmp_path, run_aei):
    """Damage is found, and a whole file that is not the one that was written."""
    out = tmp_path / "out"
    run_aei("encode", photos / "0", "-o", out, "--engine", "ray", "-j", "1")
    check = ("verify", out, "--engine", "ray", "-j", "1")
    good = run_aei(*check)
    assert good.code == 0, good.err
    assert "verified 14 images, 0 failed" in good.err
    (out / "000.aei").write_bytes((out / "000.aei").read_bytes()[:-2])
    (out / "003.aei").write_bytes((out / "006.aei").read_bytes())
    result = run_aei(*check, "--resume", tmp_path / "check")
    assert result.code == 2
    assert "000.aei: " in result.err
    assert "003.aei: is not the file that the manifest lists" in result.err
    again = run_aei(*check, "--resume", tmp_path / "check", "--json")
    assert json.loads(again.out.splitlines()[-1])["done_before"] == 12
