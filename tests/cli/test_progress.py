"""How far a command is: within a file, in words, and at Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from aei.cli import output
from aei.cli import progress as module
from aei.cli.progress import Progress, clock
from aei.codec.files.plan import DONE, Outcome, Task
from aei.codec.settings import EncodeSettings
from PIL import Image

A, B = (Task(Path(name), Path(name + ".aei")) for name in ("a.jpg", "b.jpg"))


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still: now[0]."""
    moment = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: moment[0])
    monkeypatch.setattr(output, "MODE", output.Mode())  # commands of other tests left theirs
    return moment


def test_a_file_counts_as_it_grows(now):
    told = Progress({(A.source, None): 3000, (B.source, None): 1000}, "encode")
    assert told.share() == 0
    assert told.facts()["left"] == ""
    told.tick(A, 4_000_000, 12_000_000)
    now[0] += 10
    assert told.share() == 0.25
    facts = told.facts()
    assert (facts["files"], facts["share"]) == ("0/2 files", "25 %")
    assert (facts["speed"], facts["left"]) == ("0.40 MP/s", "0:30 left")
    told.tick(B, 1_000_000, 2_000_000)
    assert told.under_way() == "a.jpg (33 %), b.jpg (50 %)"
    told.advance(Outcome(A.source, A.target, DONE, 3000, 600, 4000, 3000))
    assert told.share() == 0.875
    assert told.facts()["amounts"] == "3.0 kB -> 0.6 kB (20.0 %)"
    assert told.facts()["speed"] == "1.30 MP/s"
    told.advance(Outcome(B.source, B.target, "failed"))
    assert (told.share(), told.files, told.under_way()) == (1, 2, "")


def test_lines_in_a_log_grow_fewer(now, capsys):
    told = Progress({(A.source, None): 1}, "encode")
    with told.displayed():
        for second in range(3600):
            now[0] += 1
            told.tick(A, second, 3600)
    lines = capsys.readouterr().err.splitlines()
    assert 100 < len(lines) < 200
    assert lines[0] == "aei: encode: 0 %" or lines[1].startswith("aei: encode: 0 %, 0.00 MP/s, ")
    assert lines[-1].endswith(" left")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (65, "1:05"), (3599.7, "1:00:00"), (36061, "10:01:01")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text


@pytest.fixture
def wide(tmp_path, photo) -> Path:
    """A picture of three tiles."""
    path = tmp_path / "wide.png"
    Image.fromarray(np.tile(photo[:40], (1, 15, 1))).save(path)
    return path


@pytest.mark.parametrize("options", [[], ["--verify"], ["--target-psnr", "30"]])
def test_within_a_file(run_aei, wide, tmp_path, monkeypatch, options):
    monkeypatch.setattr(module, "EVERY", 0)
    monkeypatch.setattr(module, "SHARE", 0)
    result = run_aei("encode", wide, "-f", *options)
    assert result.code == 0, result.err
    shares = [
        int(s) for s in re.findall(r"aei: encode: (\d+) %, [\d.]+ MP/s, \S+ left", result.err)
    ]
    assert len(shares) >= 2
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 100
    if not options:
        assert 34 in shares  # a tile of three: 1024 of 3045 pixels
        assert shares[0] < 33
    for command in ("decode", "verify"):
        extra = ["-f"] if command == "decode" else []
        result = run_aei(command, wide.with_suffix(".aei"), *extra)
        assert result.code == 0
        assert re.search(rf"aei: {command}: \d\d %, [\d.]+ MP/s, \S+ left", result.err)


def test_quiet_and_json_are_without(run_aei, wide, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0)
    assert run_aei("encode", wide, "--quiet").err == ""
    assert "MP/s" not in run_aei("encode", wide, "-f", "--json").err


def test_the_library_tells_too(codec, photo):
    told = []
    data = codec.encode_with(photo, module_settings(64), lambda *x: told.append(x))
    pixels = photo.shape[0] * photo.shape[1]
    assert len(told) == 12 * 3
    assert told[-1] == (pixels, pixels)
    assert told == sorted(told)
    for options in ({}, {"region": (10, 20, 90, 70)}, {"scale": 4}):
        told.clear()
        codec.decode(data, progress=lambda *x: told.append(x), **options)
        total = 90 * 70 if "region" in options else pixels
        assert told[-1] == (total, total)
        assert told == sorted(told)
        assert len(set(told)) >= 4


@pytest.mark.parametrize(("effort", "times"), [(1, 3), (3, 4)])
def test_within_the_only_tile(codec, photo, effort, times):
    told = []
    settings = EncodeSettings(40, tile_side=0, effort=effort)
    codec.encode_with(photo[:64, :64], settings, lambda *x: told.append(x))
    assert len(set(told)) == times
    assert (told[-1], told) == ((64 * 64, 64 * 64), sorted(told))


def module_settings(side: int) -> EncodeSettings:
    return EncodeSettings(40, tile_side=side)


def on_a_terminal(*args: str, until: str) -> tuple[int, str]:
    """Run `aei` on a terminal, press Ctrl-C once `until` is seen; exit code, and what was shown."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aei.cli.main", *args], stderr=other, stdin=other,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(other)
    seen, sent, end = "", False, time.monotonic() + 100
    while time.monotonic() < end:
        if select.select([main], [], [], 0.05)[0]:
            try:
                seen += os.read(main, 65536).decode(errors="replace")
            except OSError:
                break
        if not sent and re.search(until, seen):
            process.send_signal(signal.SIGINT)
            sent = True
    os.close(main)
    return process.wait(30), seen


def test_ctrl_c_names_what_it_finishes_and_counts_right(tmp_path, photo):
    folder, out = tmp_path / "photos", tmp_path / "small"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(np.tile(photo[:, : 203 - i], (5, 15, 1))).save(folder / f"{i:02d}.png")
    code, seen = on_a_terminal(
        "encode", str(folder), "-o", str(out), "-j", "1", until=r"[1-9]\d? %"
    )
    assert code == 130, seen
    said = r"stopping; finishing \d\d\.png \(\d+ %\) first \(again to stop at once\)"
    assert re.search(said, seen), seen
    done = len(list(out.glob("*.aei")))
    assert 0 < done < 12
    assert re.search(rf"(?<!\d){done} encoded", seen), seen
    assert f"stopped with {12 - done} files to do" in seen
    assert not list(out.glob(".*"))
