"""The manifest in Parquet of a single machine: the rows of any engine, by which runs go on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("fsspec", reason="needs the [manifest] extra")
pytest.importorskip("pyarrow", reason="needs the [manifest] extra")

from aei.codec.cluster import manifest, objects
from aei.codec.cluster.work import done
from aei.codec.files.convert import DecodeOptions, EncodeOptions, image_suffixes
from aei.codec.files.job import Job, VerifyOptions
from aei.codec.targets import Target

OWN = {"target", "seconds", "finished", "run", "worker"}  # of a run, in its rows


@pytest.fixture
def photos(tmp_path):
    top = tmp_path / "photos"
    for i in range(6):
        path = top / f"{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(synthetic_photo(24, 32, seed=i)).save(path)
    (top / "bad.png").write_bytes(b"no picture")
    return top


def rows_of(rows) -> list[dict]:
    """Rows in order, but for what differs from run to run."""
    kept = [{k: v for k, v in row.items() if k not in OWN and v is not None} for row in rows]
    return sorted(kept, key=lambda row: row["source"])


def by_a_worker(job: Job, folder, target) -> list[dict]:
    """The rows that a worker of a cluster makes."""
    codec = job.load()
    found = [done(job, codec, s, str(target)) for s in objects.find(str(folder), job.suffixes)]
    return manifest.table([row for rows in found for row in rows]).to_pylist()


def last(text: str) -> dict:
    return json.loads(text.splitlines()[-1])


def test_the_same_rows_as_a_cluster(photos, tmp_path, run_aei):
    small, table = tmp_path / "small", str(tmp_path / "small.parquet")
    options = ("--target-psnr", "24", "--metrics", "--jobs", "2")
    result = run_aei("encode", photos, "-r", "-o", small, "--manifest", table, *options)
    assert result.code == 2
    job = Job(
        EncodeOptions(75.0, target=Target("psnr", 24.0)), ".aei", image_suffixes(), metrics=True
    )
    rows = manifest.read(table).to_pylist()
    assert rows_of(rows) == rows_of(by_a_worker(job, photos, tmp_path / "other"))
    assert Counter(row["status"] for row in rows) == {"done": 6, "failed": 1}
    assert {row["target"] for row in rows if row["status"] == "done"} == {
        str(p) for p in small.rglob("*.aei")
    }
    good = next(row for row in rows if row["status"] == "done")
    assert good["reached"] >= 24
    assert good["psnr"] == pytest.approx(good["reached"], abs=0.01)

    back = ("decode", small, "-r", "-o", tmp_path / "back", "--to", "ppm")
    assert run_aei(*back, "--manifest", str(tmp_path / "back.parquet")).code == 0
    job = Job(DecodeOptions(), ".ppm", frozenset({".aei"}), "PPM")
    found = manifest.read(str(tmp_path / "back.parquet")).to_pylist()
    assert rows_of(found) == rows_of(by_a_worker(job, small, tmp_path / "back2"))

    check = str(tmp_path / "check.parquet")
    assert run_aei("verify", small, "--resume", check).code == 0
    job = Job(VerifyOptions(), ".aei", frozenset({".aei"}))
    found = manifest.read(check).to_pylist()
    assert rows_of(found) == rows_of(by_a_worker(job, small, ""))
    assert last(run_aei("verify", small, "--resume", check, "--json").out)["summary"] == {
        "good": 0, "bad": 0, "skipped": 6,
    }  # fmt: skip


def test_only_what_is_left_is_done(photos, tmp_path, run_aei):
    small = tmp_path / "small"
    command = ("encode", photos, "-r", "-o", small, "--manifest", small / ".aei", "--json")
    (photos / "bad.png").unlink()
    assert last(run_aei(*command).out)["summary"]["done"] == 6
    assert last(run_aei(*command).out)["summary"] == {
        "done": 0, "kept": 0, "skipped": 6, "failed": 0,
    }  # fmt: skip
    Image.fromarray(synthetic_photo(24, 32, seed=99)).save(photos / "0" / "0.png")
    Image.fromarray(synthetic_photo(24, 32, seed=98)).save(photos / "0" / "new.png")
    assert last(run_aei(*command).out)["summary"]["done"] == 2  # one of them is replaced
    other = last(run_aei(*command, "-q", "50").out)
    assert other["summary"]["done"] == 7
    assert last(run_aei(*command, "--force").out)["summary"]["done"] == 7


def test_stopped_and_gone_on(photos, tmp_path, run_aei):
    """Killed in the middle, what was noted is not done again."""
    for i in range(60):
        Image.fromarray(synthetic_photo(48, 64, seed=i)).save(photos / f"{i}.png")
    (photos / "bad.png").unlink()
    small, table = tmp_path / "small", tmp_path / "small.parquet"
    command = ["encode", photos, "-r", "-o", small, "--manifest", table, "-j", "1", "--json"]
    command = [str(part) for part in command]
    code = (
        "from aei.codec.cluster import manifest; manifest.FLUSH_ROWS = 5\n"
        "from aei.cli.main import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.DEVNULL)
    until = time.monotonic() + 100
    while not list(table.glob("part-*.parquet")) and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    process.wait()
    before = manifest.read(str(table)).num_rows
    assert 1 <= before < 66
    counts = last(run_aei(*command).out)["summary"]
    assert (counts["done"], counts["skipped"]) == (66 - before, before)
    rows = manifest.read(str(table)).to_pylist()
    assert len({row["source"] for row in rows}) == len(rows) == 66
    assert len(list(small.rglob("*.aei"))) == 66


def test_files_against_their_manifest(photos, tmp_path, run_aei):
    small, table = tmp_path / "small", tmp_path / "small.parquet"
    assert run_aei("encode", photos, "-r", "-o", small, "--manifest", table).code == 2
    check = ("verify", small, "--manifest", table)
    assert run_aei(*check).code == 0
    (small / "0" / "0.aei").write_bytes((small / "0" / "2.aei").read_bytes())
    (small / "1" / "1.aei").unlink()
    result = run_aei(*check)
    assert result.code == 2
    assert "0.aei: is not the file that the manifest lists" in result.out
    assert "1.aei: is listed in the manifest, and missing" in result.out
    assert "is no manifest" in run_aei("verify", small, "--manifest", "none.parquet").err


def test_usage(photos, tmp_path, run_aei, monkeypatch):
    table = tmp_path / "x.parquet"
    for arguments, words in (
        (("encode", "--manifest", photos, "-o", tmp_path / "out"), "name it NAME.parquet"),
        (("encode", photos, "--manifest", table), "one for the results with -o"),
        (("encode", photos, "-o", tmp_path / "out", "--metrics"), "--manifest NAME.parquet"),
        (("encode", photos, "-o", tmp_path, "--manifest", table, "--skip-existing"), "leave it"),
        (("encode", photos, "-o", tmp_path, "--manifest", table, "--all-frames"), "without"),
        (("decode", photos / "bad.png", "--manifest", table), "of a folder"),
        (("verify", photos, photos / "bad.png", "--resume", table), "name it alone"),
        (("encode", photos, "-o", tmp_path / "out", "--pack", "9"), "are for --engine ray"),
    ):
        result = run_aei(*arguments)
        assert result.code == 2, arguments
        assert words in result.err
    result = run_aei("encode", photos, "-o", photos, "--manifest", table)
    assert result.code == 1
    assert "has files that no run has made" in result.err
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run_aei("encode", photos, "-o", tmp_path / "out", "--manifest", table)
    assert result.code == 1
    assert "pip install 'aei-codec[manifest]'" in result.err
