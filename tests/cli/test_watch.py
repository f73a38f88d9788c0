"""`aei encode --watch`: what arrives is encoded once it is complete; it ends cleanly."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aei.codec.files.arrivals import Arrivals
from aei.codec.files.plan import Task
from PIL import Image


def png(photo, left: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo[:40, left : left + 56]).save(file, "PNG")
    return file.getvalue()


def test_a_file_is_taken_once_it_does_not_change(tmp_path):
    path = tmp_path / "a"
    task, gone = Task(path, path), Task(tmp_path / "b", path)
    path.write_bytes(b"1")
    arrivals = Arrivals(settled=2)
    assert arrivals.take([task, gone], 10) == []
    assert arrivals.waiting
    path.write_bytes(b"12")
    assert arrivals.take([task], 12.5) == []  # it has grown
    assert arrivals.take([task], 14) == []
    assert arrivals.take([task], 14.5) == [task]
    assert not arrivals.waiting
    assert arrivals.take([task], 20) == []  # taken, though it may have failed
    path.write_bytes(b"123")
    assert arrivals.take([task], 21) == []
    assert arrivals.take([task], 23) == [task]
    pages = [Task(path, path, frame) for frame in range(2)]
    assert arrivals.take(pages, 30) == []
    assert arrivals.take(pages, 32) == pages


@pytest.fixture
def watching(tmp_path):
    """Start `aei encode --watch`; ended whatever happens."""
    pytest.importorskip("watchfiles")
    processes = []

    def start(folder: Path, *options: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-m", "aei.cli.main", "encode", "--watch", str(folder), *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 150
    while time.monotonic() < end and not path.exists():
        time.sleep(0.05)
    assert path.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_there_and_what_arrives(watching, tmp_path, photo, codec, number):
    folder, out = tmp_path / "incoming", tmp_path / "small"
    (folder / "trip").mkdir(parents=True)
    (folder / "there.png").write_bytes(png(photo))
    process = watching(folder, "-r", "-o", str(out), "--manifest", "--json")
    wait_for(out / "there.aei")
    data = png(photo, 20)
    with (folder / "trip" / "slow.png").open("wb") as file:  # a copy that takes its time
        for at in range(0, len(data), len(data) // 5 + 1):
            file.write(data[at : at + len(data) // 5 + 1])
            file.flush()
            time.sleep(0.5)
            assert not (out / "trip" / "slow.aei").exists()
    wait_for(out / "trip" / "slow.aei")
    (folder / "moved.tmp").write_bytes(png(photo, 40))
    (folder / "moved.tmp").rename(folder / "moved.png")
    (folder / "bad.png").write_bytes(b"no image")
    wait_for(out / "moved.aei")
    end = time.monotonic() + 60
    while time.monotonic() < end and len((out / "SHA256SUMS").read_text().splitlines()) < 3:
        time.sleep(0.1)
    process.send_signal(number)
    said, err = process.communicate(timeout=60)
    assert process.returncode == 2, err  # for the bad one
    *files, summary = (json.loads(line) for line in said.splitlines())
    assert {os.path.basename(f["file"]): f["status"] for f in files} == {
        "there.png": "done", "slow.png": "done", "moved.png": "done", "bad.png": "failed",
    }  # fmt: skip
    assert summary["summary"] == {"done": 3, "failed": 1}
    assert "Traceback" not in err
    for path in out.rglob("*.aei"):
        codec.decode(path)
    assert len((out / "SHA256SUMS").read_text().splitlines()) == 3


def test_it_ends_well_with_nothing_to_do(watching, tmp_path):
    process = watching(tmp_path)
    assert "watching" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    said, err = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert "stopping\n" in err
    assert "0 encoded, 0 failed" in err


def test_usage(run_aei, tmp_path, monkeypatch):
    assert run_aei("encode", "--watch", tmp_path, "x.png").code == 2
    assert run_aei("encode", "--watch", tmp_path, "--force").code == 2
    assert run_aei("encode", "--watch", tmp_path / "nowhere").code == 2
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = run_aei("encode", "--watch", tmp_path)
    assert result.code == 1
    assert "pip install 'aei-codec[watch]'" in result.err
