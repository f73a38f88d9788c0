"""`aei verify`, `aei encode --verify` and `--manifest`, salvage of folders: what is bad is named,
and nothing else."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def archive(tmp_path, codec, photo, aei_file):
    """archive/ with 0.aei, 1.aei, of one tile, trip/tiled.aei of nine, and note.txt."""
    folder = tmp_path / "archive"
    (folder / "trip").mkdir(parents=True)
    (folder / "0.aei").write_bytes(aei_file)
    (folder / "1.aei").write_bytes(aei_file)
    (folder / "trip" / "tiled.aei").write_bytes(codec.encode(photo, 40, tile_side=64))
    (folder / "note.txt").write_text("no image")
    return folder


def flip(path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def test_a_good_archive_says_nothing_but_a_summary(run_aei, archive):
    result = run_aei("verify", archive)
    assert (result.code, result.out) == (0, ""), result
    assert "3 good, 0 bad" in result.err
    assert "2 good" in run_aei("verify", archive, "--no-recursive").err


def test_a_bit_in_each_of_100_files(run_aei, archive, codec, photo):
    """Every bit is under a checksum: of one in each of 100 files none is missed, and none of the
    good ones is named."""
    rng = np.random.default_rng(7)
    kinds = [archive / "0.aei", archive / "trip" / "tiled.aei"]
    alpha = np.dstack([photo, np.tile(np.arange(photo.shape[1], dtype=np.uint8), (150, 1))])
    (archive / "alpha.aei").write_bytes(codec.encode(alpha, 40, tile_side=64))
    kinds.append(archive / "alpha.aei")
    for i in range(100):
        bad = archive / f"bad {i:03d}.aei"
        shutil.copy(kinds[i % 3], bad)
        flip(bad, int(rng.integers(8 * bad.stat().st_size)))
        shutil.copy(kinds[i % 3], archive / f"good {i:03d}.aei")
    for options in ([], ["--quick"], ["--jobs", 1]):
        result = run_aei("verify", archive, *options)
        assert result.code == 2
        named = sorted(line.split(": ")[0] for line in result.out.splitlines())
        assert named == sorted(str(archive / f"bad {i:03d}.aei") for i in range(100))
        assert "104 good, 100 bad" in result.err


def test_a_payload_is_decoded_not_only_summed(run_aei, archive, aei_file):
    """A checksum that suits a wrong payload is not enough."""
    import zlib

    data = bytearray(aei_file[:-4])
    data[-3] ^= 16
    data += zlib.crc32(data).to_bytes(4, "little")
    (archive / "1.aei").write_bytes(bytes(data))
    assert run_aei("verify", archive, "--quick").code == 0
    result = run_aei("verify", archive)
    assert result.code == 2
    assert result.out.count("\n") == 1
    assert "1.aei: the " in result.out


def test_tiles_are_named(run_aei, archive):
    path = archive / "trip" / "tiled.aei"
    path.write_bytes(path.read_bytes()[:-200])
    result = run_aei("verify", path)
    assert result.code == 2
    assert "tiles are truncated or damaged (" in result.out
    assert "12)" in result.out


def test_json(run_aei, archive):
    flip(archive / "1.aei", 900)
    result = run_aei("verify", archive, "--json")
    assert result.code == 2
    *files, summary = lines(result.out)
    status = {os.path.basename(f["file"]): f["status"] for f in files}
    assert status == {"0.aei": "good", "1.aei": "bad", "tiled.aei": "good"}
    assert summary["summary"] == {"good": 2, "bad": 1, "skipped": 0}
    assert summary["finished"]


def test_inputs_of_all_kinds(run_aei, archive, tmp_path, monkeypatch):
    monkeypatch.chdir(archive)
    assert "2 good" in run_aei("verify", "*.aei").err
    assert "2 good" in run_aei("verify", "0.aei", "trip/tiled.aei", "./0.aei").err
    names = b"0.aei\0trip/tiled.aei\0"
    assert "2 good" in run_aei("verify", "--stdin-list0", stdin=names).err
    result = run_aei("verify", "gone.aei")
    assert (result.code, result.out) == (2, "gone.aei: No such file or directory\n")
    assert run_aei("verify", tmp_path / "archive" / "note.txt").code == 2
    (tmp_path / "empty").mkdir()
    assert "no .aei files" in run_aei("verify", tmp_path / "empty").err


def test_list0_takes_line_ends_for_what_they_are(run_aei, tmp_path, aei_file):
    (tmp_path / "a\nb.aei").write_bytes(aei_file)
    name = os.fsencode(tmp_path / "a\nb.aei")
    assert "1 good" in run_aei("verify", "--stdin-list0", stdin=name).err
    result = run_aei("verify", "--stdin-list0", stdin=b"a.aei\nb.aei\n")
    assert (result.code, "end with newlines, not NULs: --from-list -" in result.err) == (1, True)


def test_a_check_that_was_stopped_goes_on(run_aei, archive, tmp_path):
    journal = tmp_path / "checked"
    one = archive / "0.aei"
    found = one.stat()
    key = [str(one), found.st_size, found.st_mtime_ns]
    journal.write_text(json.dumps([*key, False]) + '\n["half a li')
    flip(archive / "1.aei", 900)
    result = run_aei("verify", archive, "--resume", journal)
    assert result.code == 2
    assert "1 good, 1 bad, 1 checked before" in result.err
    assert not journal.exists()  # the next check is of all
    journal.write_text(json.dumps([*key, True]) + "\n")  # of a quick check
    assert "2 good, 1 bad:" in run_aei("verify", archive, "--resume", journal).err
    os.utime(one, ns=(0, 1))
    journal.write_text(json.dumps([*key, False]) + "\n")
    assert "2 good, 1 bad:" in run_aei("verify", archive, "--resume", journal).err
    result = run_aei("verify", archive, "--resume", archive / "note.txt")
    assert result.code == 1
    assert "no list of checked files" in result.err


def test_ctrl_c_keeps_the_notes(run_aei, tmp_path, codec, photo):
    folder, journal = tmp_path / "many", tmp_path / "checked"
    folder.mkdir()
    data = codec.encode(np.tile(photo, (4, 4, 1)), 60)
    for i in range(60):
        (folder / f"{i}.aei").write_bytes(data)
    command = ["verify", str(folder), "--resume", str(journal), "-j", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "aei.cli.main", *command], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 100
    while time.monotonic() < end and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    good = len(journal.read_text().splitlines())
    assert 0 < good < 60
    assert f"stopped with {60 - good} files to do: the same command does them" in err
    result = run_aei(*command)
    assert result.code == 0
    assert f"{60 - good} good, 0 bad, {good} checked before" in result.err
    assert not journal.exists()


@pytest.fixture
def photos(tmp_path, photo):
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    for name in ("a.png", "trip/b\nc.png"):
        Image.fromarray(photo[:40, :56]).save(folder / name)
    return folder


def test_a_manifest_is_what_sha256sum_reads(run_aei, photos, tmp_path):
    out = tmp_path / "small"
    result = run_aei("encode", photos, "-r", "-o", out, "--manifest", "--json")
    assert result.code == 0, result.err
    hashes = {os.path.basename(f["output"]): f["sha256"] for f in lines(result.out)[:-1]}
    for path in out.rglob("*.aei"):
        assert hashes[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    if shutil.which("sha256sum"):
        found = subprocess.run(
            ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=out, capture_output=True, check=False
        )
        assert found.returncode == 0, found.stderr
        assert found.stdout.count(b": OK") == 2
    assert run_aei("verify", out, "--manifest").code == 0


def test_verify_uses_the_manifest(run_aei, photos, tmp_path, aei_file):
    out = tmp_path / "small"
    (out).mkdir()
    (out / "kept.jpg").write_bytes(b"whatever it is")
    digest = hashlib.sha256(b"whatever it is").hexdigest()
    (out / "SHA256SUMS").write_text(f"{digest} *./kept.jpg\n")
    assert run_aei("encode", photos, "-r", "-o", out, "--manifest").code == 0
    assert "3 good" in run_aei("verify", out).err
    (out / "kept.jpg").write_bytes(b"something else")
    (out / "a.aei").write_bytes(aei_file)  # whole, but not that one
    (out / "trip" / "b\nc.aei").unlink()
    result = run_aei("verify", out)
    assert result.code == 2
    found = dict(line.removeprefix(str(out) + os.sep).split(": ", 1)
                 for line in result.out.splitlines())  # fmt: skip
    assert set(found) == {"kept.jpg", "a.aei", r"trip/b\nc.aei"}
    assert "missing" in found[r"trip/b\nc.aei"]
    assert "another" in found["a.aei"]
    assert run_aei("verify", out, "--no-manifest").code == 0
    (out / "SHA256SUMS").write_text("hello\n")
    assert "line 1 is none of a list" in run_aei("verify", out).err
    assert run_aei("encode", photos, "-o", out, "--manifest").code == 1


def test_a_manifest_grows_with_what_was_there(run_aei, photos, tmp_path):
    out = tmp_path / "small"
    assert run_aei("encode", photos, "-o", out).code == 0
    assert run_aei("encode", photos, "-r", "-o", out, "--skip-existing", "--manifest").code == 0
    assert len((out / "SHA256SUMS").read_text().splitlines()) == 2
    assert run_aei("verify", out, "--manifest").code == 0
    result = run_aei("encode", photos / "a.png", "--manifest")
    assert result.code == 2
    assert "of a folder" in result.err


def test_encode_verify_compares_what_is_on_disk(run_aei, photos, tmp_path, monkeypatch):
    out = tmp_path / "small"
    result = run_aei("encode", photos, "-r", "-o", out, "--verify", "--json")
    assert result.code == 0, result.err
    assert all(20 < f["psnr"] < 60 for f in lines(result.out)[:-1])
    from pathlib import Path

    real = Path.read_bytes

    def rotten(self):
        data = bytearray(real(self))
        data[len(data) // 2] ^= self.suffix == ".part"
        return bytes(data)

    monkeypatch.setattr(Path, "read_bytes", rotten)
    result = run_aei("encode", photos, "-o", tmp_path / "more", "--verify")
    assert result.code == 2
    assert "not what was written" in result.err
    assert list((tmp_path / "more").iterdir()) == []


def test_encode_verify_finds_a_coder_that_errs(run_aei, photos, tmp_path, monkeypatch):
    from aei.codec import encoder

    real = encoder.decode_latents

    def wrong(*arguments):
        latents = real(*arguments)
        latents.y_hat[0, 0, 0] += 1
        return latents

    monkeypatch.setattr(encoder, "decode_latents", wrong)
    result = run_aei("encode", photos / "a.png", "-o", tmp_path / "a.aei", "--verify")
    assert result.code == 1
    assert "does not decode to what was coded" in result.err
    assert not (tmp_path / "a.aei").exists()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_encode_verify_of_every_mode(run_aei, tmp_path, photo, mode):
    image = Image.fromarray(photo[:40, :56]).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    exif = Image.Exif()
    exif[274] = 6
    image.convert(mode).save(tmp_path / "x.png", exif=exif)
    for options in ([], ["--strip"], ["--keep-smaller", "-q", 100]):
        result = run_aei("encode", tmp_path / "x.png", "-f", "--verify", *options)
        assert result.code == 0, result.err


def test_salvage_of_a_folder_tells_what_is_lost(run_aei, archive, tmp_path):
    path = archive / "trip" / "tiled.aei"
    path.write_bytes(path.read_bytes()[:-200])
    result = run_aei("decode", archive, "-r", "--salvage", "-o", tmp_path / "back", "--json")
    assert result.code == 2
    *files, summary = lines(result.out)
    lost = {os.path.basename(f["file"]): f.get("lost") for f in files}
    assert lost["0.aei"] is None
    assert lost["tiled.aei"][-1] == [192, 128, 11, 22]
    assert summary["summary"]["failed"] == 0
    result = run_aei("decode", archive, "-r", "--salvage", "-o", tmp_path / "more")
    assert "tiled.aei: " in result.err
    assert "tiles lost" in result.err
    assert (tmp_path / "more" / "trip" / "tiled.png").is_file()
    result = run_aei("decode", path, "--salvage", "-o", tmp_path / "x.png", "--quiet")
    assert (result.code, result.out) == (2, "")
    assert "tiles are lost" in result.err
    assert run_aei("decode", archive / "0.aei", "--salvage", "-o", tmp_path / "y.png").code == 0
