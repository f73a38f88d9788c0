"""Many files in one command: what is found, where outputs go, bad files, and that nothing is
lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from aei.cli.many import read_list
from aei.codec.files import batch, storage
from aei.codec.files import plan as planning
from aei.codec.files.writing import Converted
from PIL import Image

SMALL = (40, 56)


def save(path: Path, photo: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photo[: SMALL[0], : SMALL[1]]).save(path, **options)
    return path


@pytest.fixture
def photos(tmp_path, photo) -> Path:
    """photos/a.jpg, b.PNG, note.txt, .hidden.jpg, trip/c.jpg, trip/day 2/d.webp"""
    folder = tmp_path / "photos"
    for name in ("a.jpg", ".hidden.jpg", "trip/c.jpg", "trip/day 2/d.webp"):
        save(folder / name, photo)
    save(folder / "b.PNG", photo, format="PNG")
    (folder / "note.txt").write_text("no image")
    return folder


def below(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.out.splitlines()]


def test_a_folder_keeps_its_structure_and_times(run_aei, photos, tmp_path):
    os.utime(photos / "a.jpg", ns=(10**18, 10**18 + 5 * 10**6))
    out = tmp_path / "small"
    result = run_aei("encode", photos, "-o", out, "--recursive", "--jobs", 2)
    assert result.code == 0, result.err
    assert below(out) == ["a.aei", "b.aei", "trip/c.aei", "trip/day 2/d.aei"]
    assert (out / "a.aei").stat().st_mtime_ns == 10**18 + 5 * 10**6
    assert "4 encoded" in result.err
    assert "2 files of other kinds ignored" in result.err
    back = tmp_path / "back"
    result = run_aei("decode", out, "-o", back, "-r", "--to", "jpg")
    assert result.code == 0, result.err
    assert below(back) == ["a.jpg", "b.jpg", "trip/c.jpg", "trip/day 2/d.jpg"]
    assert (back / "a.jpg").stat().st_mtime_ns == 10**18 + 5 * 10**6
    assert Image.open(back / "trip/c.jpg").size == (SMALL[1], SMALL[0])


def test_subfolders_need_recursive(run_aei, photos, tmp_path):
    result = run_aei("encode", photos, "-o", tmp_path / "small")
    assert below(tmp_path / "small") == ["a.aei", "b.aei"]
    assert "1 subfolders not entered (--recursive)" in result.err


def test_beside_their_sources(run_aei, photos):
    assert run_aei("encode", photos, "-r").code == 0
    assert (photos / "trip/day 2/d.aei").is_file()
    assert run_aei("decode", photos, "-r", "--to", "tif").code == 0
    assert (photos / "trip/day 2/d.tif").is_file()


def test_several_folders_get_one_each(run_aei, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "more")
    result = run_aei("encode", photos, tmp_path / "more", "-o", tmp_path / "small")
    assert result.code == 0, result.err
    assert below(tmp_path / "small") == ["more/a.aei", "more/b.aei", "photos/a.aei", "photos/b.aei"]


def test_patterns(run_aei, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run_aei("encode", "photos/**/*.jpg", "-o", "small")
    assert result.code == 0, result.err
    assert below(tmp_path / "small") == ["a.aei", "trip/c.aei"]
    result = run_aei("encode", "photos/*.gif", "-o", "small")
    assert result.code == 2
    assert "no file matches" in result.err


def test_a_name_with_brackets_is_a_name(run_aei, tmp_path, photo):
    source = save(tmp_path / "a[1].png", photo)
    assert run_aei("encode", source).code == 0
    assert (tmp_path / "a[1].aei").is_file()


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\0"])
def test_lists_keep_relative_folders(run_aei, photos, tmp_path, monkeypatch, ending):
    monkeypatch.chdir(tmp_path)
    names = [b"photos/trip/c.jpg", os.fsencode(photos / "a.jpg"), b""]
    result = run_aei("encode", "--from-list", "-", "-o", "small", stdin=ending.join(names))
    assert result.code == 0, result.err
    assert below(tmp_path / "small") == ["a.aei", "photos/trip/c.aei"]


def test_lists_from_a_file(tmp_path):
    (tmp_path / "list").write_bytes(b"a b\xff\nc")
    assert read_list(str(tmp_path / "list")) == [os.fsdecode(b"a b\xff"), "c"]


def test_bad_files_are_listed_and_the_others_done(run_aei, photos, tmp_path):
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "broken.jpg").write_bytes((photos / "a.jpg").read_bytes()[:300])
    (photos / "text.png").write_text("hello")
    Image.new("CMYK", (9, 9)).save(photos / "print.jpg")
    frames = [Image.new("RGB", (9, 9), c) for c in ("red", "blue")]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    result = run_aei("encode", photos, "-o", tmp_path / "small", "--jobs", 2)
    assert result.code == 2
    assert below(tmp_path / "small") == ["a.aei", "b.aei"]
    errors = [line for line in result.err.splitlines() if line.startswith("aei: ")]
    assert len(errors) == 5
    for name, reason in {
        "empty.jpg": "not an image", "broken.jpg": "cannot be read", "text.png": "not an image",
        "print.jpg": "CMYK", "moving.gif": "2 frames",
    }.items():  # fmt: skip
        assert any(name in error and reason in error for error in errors), (name, errors)


def test_bad_aei_files_are_listed_and_the_others_done(run_aei, aei_file, tmp_path):
    (tmp_path / "good.aei").write_bytes(aei_file)
    (tmp_path / "cut.aei").write_bytes(aei_file[:-5])
    result = run_aei("decode", tmp_path, "-o", tmp_path / "back")
    assert result.code == 2
    assert below(tmp_path / "back") == ["good.png"]
    assert "cut.aei: the checksum does not match" in result.err


def test_existing_outputs(run_aei, photos, tmp_path):
    out = tmp_path / "small"
    out.mkdir()
    (out / "a.aei").write_bytes(b"precious")
    result = run_aei("encode", photos, "-o", out)
    assert result.code == 2
    assert "--skip-existing" in result.err
    assert (out / "a.aei").read_bytes() == b"precious"
    assert (out / "b.aei").is_file()
    result = run_aei("encode", photos, "-o", out, "--skip-existing")
    assert result.code == 0
    assert "0 encoded, 2 skipped" in result.err
    assert (out / "a.aei").read_bytes() == b"precious"
    assert run_aei("encode", photos, "-o", out, "--force").code == 0
    assert (out / "a.aei").read_bytes() != b"precious"
    assert run_aei("encode", photos, "-o", out, "--force", "--skip-existing").code == 2


def test_dry_run_writes_nothing(run_aei, photos, tmp_path):
    before = below(tmp_path)
    result = run_aei("encode", photos, "-o", tmp_path / "small", "-r", "--dry-run")
    assert result.code == 0
    assert result.out.count("would encode") == 4
    assert below(tmp_path) == before
    result = run_aei("encode", photos / "a.jpg", "--dry-run")
    assert "would encode" in result.out
    assert below(tmp_path) == before


def test_json_lines(run_aei, photos, tmp_path):
    (photos / "bad.jpg").write_bytes(b"bad")
    result = run_aei("encode", photos, "-o", tmp_path / "small", "--json")
    assert result.code == 2
    *files, summary = lines(result)
    assert sorted(f["status"] for f in files) == ["done", "done", "failed"]
    assert all(f["bytes_out"] and f["width"] == SMALL[1] for f in files if f["status"] == "done")
    assert summary["summary"] == {"done": 2, "kept": 0, "skipped": 0, "failed": 1}
    assert summary["bytes_out"] == sum(f.get("bytes_out", 0) for f in files)


def test_quiet_says_errors_only(run_aei, photos, tmp_path):
    result = run_aei("encode", photos, "-o", tmp_path / "small", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    (photos / "bad.jpg").write_bytes(b"bad")
    result = run_aei("encode", photos, "-o", tmp_path / "small", "--quiet", "--force")
    assert len(result.err.splitlines()) == 1


def test_two_inputs_for_one_output_are_both_refused(run_aei, tmp_path, photo):
    folder = tmp_path / "photos"
    for name in ("x.jpg", "x.png", "y.jpg"):
        save(folder / name, photo)
    result = run_aei("encode", folder, "-o", tmp_path / "small")
    assert result.code == 2
    assert below(tmp_path / "small") == ["y.aei"]
    assert result.err.count("--keep-extension") == 2
    result = run_aei("encode", folder, "-o", tmp_path / "all", "--keep-extension")
    assert result.code == 0
    assert below(tmp_path / "all") == ["x.jpg.aei", "x.png.aei", "y.jpg.aei"]


def test_the_same_file_twice_is_done_once(run_aei, tmp_path, photo, monkeypatch):
    save(tmp_path / "x.jpg", photo)
    monkeypatch.chdir(tmp_path)
    result = run_aei("encode", "x.jpg", "./x.jpg", "-o", "small")
    assert result.code == 0
    assert "1 encoded" in result.err


def test_odd_names(run_aei, tmp_path, photo):
    folder = tmp_path / "photos"
    names = ["with space.png", "new\nline.png", "-dash.png", "a.b.png", "é.png", "x" * 240 + ".png"]
    for name in names:
        save(folder / name, photo)
    odd = os.fsdecode(b"not utf8 \xff\xfe.png")
    try:
        save(folder / "tmp.png", photo).rename(folder / odd)
        names.append(odd)
    except OSError:  # a file system that insists on Unicode
        (folder / "tmp.png").unlink()
    result = run_aei("encode", folder, "-o", tmp_path / "small", "--json")
    assert result.code == 0, result.err
    assert {f["file"] for f in lines(result)[:-1]} == {str(folder / name) for name in names}
    result = run_aei("decode", tmp_path / "small", "-o", tmp_path / "back")
    assert result.code == 0, result.err
    assert below(tmp_path / "back") == sorted(names)


def test_odd_names_in_messages_stay_on_one_line(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "bad\n\x1b[31m.png").write_bytes(b"bad")
    result = subprocess.run(
        [sys.executable, "-m", "aei.cli.main", "encode", os.fsencode(folder), "-v"],
        capture_output=True,
        check=False,
    )
    assert result.returncode == 2
    assert b"\x1b" not in result.stderr
    assert rb"bad\n\x1b[31m.png" in result.stderr


def test_a_folder_named_like_an_image(run_aei, tmp_path, photo):
    folder = tmp_path / "photos"
    save(folder / "album.jpg" / "x.png", photo)
    result = run_aei("encode", folder, "-o", tmp_path / "small", "-r")
    assert result.code == 0, result.err
    assert below(tmp_path / "small") == ["album.jpg/x.aei"]
    (tmp_path / "list").write_text(str(folder / "album.jpg"))
    result = run_aei("encode", "--from-list", tmp_path / "list", "-o", tmp_path / "more")
    assert result.code == 2
    assert "is a folder" in result.err


def test_an_output_that_is_a_folder(run_aei, photos, tmp_path):
    (tmp_path / "small" / "a.aei").mkdir(parents=True)
    result = run_aei("encode", photos, "-o", tmp_path / "small", "--force")
    assert result.code == 2
    assert "is a directory" in result.err
    assert below(tmp_path / "small") == ["b.aei"]


def test_outputs_inside_the_input_folder_are_not_inputs(run_aei, photos):
    for _ in range(2):
        result = run_aei(
            "encode", photos, "-r", "-o", photos / "small", "-q", 90, "--keep-smaller", "--force"
        )
        assert result.code == 0
    assert not (photos / "small" / "small").exists()


def test_links(run_aei, tmp_path, photo):
    real = save(tmp_path / "elsewhere" / "real.png", photo)
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "link.png").symlink_to(real)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "loop").symlink_to(folder)
    result = run_aei("encode", folder, "-o", tmp_path / "small", "-r")
    assert result.code == 2
    assert "gone.png: No such file" in result.err
    assert "loop: a link to a folder, not followed" in result.err
    assert below(tmp_path / "small") == ["link.aei"]
    assert not (tmp_path / "small" / "link.aei").is_symlink()
    # an output that is a link is replaced, what it points to is left alone
    (tmp_path / "small" / "link.aei").unlink()
    (tmp_path / "small" / "link.aei").symlink_to(real)
    before = real.read_bytes()
    assert run_aei("encode", folder / "link.png", "-o", tmp_path / "small", "-f").code == 2
    assert real.read_bytes() == before


def test_pipes_in_folders_do_not_hang(run_aei, photos, tmp_path):
    os.mkfifo(photos / "pipe.jpg")
    result = run_aei("encode", photos, "-o", tmp_path / "small")
    assert result.code == 2
    assert "not a regular file" in result.err
    assert below(tmp_path / "small") == ["a.aei", "b.aei"]


def without_privileges() -> list[str] | None:
    """A prefix that takes root's power over permissions away; [] for ordinary users."""
    if os.geteuid() != 0:
        return []
    prefix = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--inh-caps=-dac_override,-dac_read_search",
    ]
    try:
        ok = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return None
    return prefix if ok else None


@pytest.mark.skipif(without_privileges() is None, reason="root here, and setpriv cannot help")
def test_unreadable_files_and_unwritable_folders(photos, tmp_path):
    (photos / "a.jpg").chmod(0)
    (photos / "trip").chmod(0)
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    command = [*without_privileges(), sys.executable, "-m", "aei.cli.main", "encode", str(photos)]
    try:
        result = subprocess.run([*command, "-r", "-o", str(tmp_path / "small")],
                                capture_output=True, text=True, check=False)  # fmt: skip
        assert result.returncode == 2
        assert "a.jpg: Permission denied" in result.stderr
        assert "trip: cannot be read: Permission denied" in result.stderr
        assert below(tmp_path / "small") == ["b.aei"]
        result = subprocess.run(
            [*command, "-o", str(closed)], capture_output=True, text=True, check=False
        )
        assert result.returncode == 2
        assert "cannot be written: Permission denied" in result.stderr
    finally:
        (photos / "trip").chmod(0o755)
        closed.chmod(0o755)


def tiny_disk(folder: Path) -> bool:
    folder.mkdir()
    try:
        return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", folder],
                              capture_output=True, check=False).returncode == 0  # fmt: skip
    except FileNotFoundError:
        return False


def test_full_disk_stops_the_batch_and_leaves_nothing_half_done(run_aei, tmp_path, photo, codec):
    for i in range(12):
        Image.fromarray(photo[i:, i:]).save(tmp_path / f"{i:02d}.png")
    disk = tmp_path / "disk"
    if not tiny_disk(disk):
        pytest.skip("mounting a small tmpfs is not allowed here")
    try:
        result = run_aei("encode", tmp_path, "-o", disk, "-q", 60, "--json", "--jobs", 1)
        assert result.code == 2
        *files, summary = lines(result)
        statuses = [f["status"] for f in files]
        assert len(files) == 12
        assert statuses.count("failed") == 1
        assert statuses.count("left") >= 1
        assert "No space left" in next(f["message"] for f in files if f["status"] == "failed")
        for path in disk.iterdir():
            codec.decode(path.read_bytes())
        assert len(below(disk)) == summary["summary"]["done"] == statuses.count("done")
    finally:
        subprocess.run(["umount", disk], check=False)


def test_a_full_disk_is_told_from_a_bad_file(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(storage.DiskError, match="No space left"):
        storage.write_atomic(tmp_path / "x", b"data")
    assert list(tmp_path.iterdir()) == []


def test_write_atomic_never_replaces_unasked(tmp_path):
    storage.write_atomic(tmp_path / "x", b"one")
    with pytest.raises(storage.OutputError, match="exists"):
        storage.write_atomic(tmp_path / "x", b"two")
    storage.write_atomic(tmp_path / "x", b"three", overwrite=True)
    assert below(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"three"


def test_write_atomic_without_hard_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(storage.os, "link", refuse)
    storage.write_atomic(tmp_path / "x", b"one")
    with pytest.raises(storage.OutputError, match="exists"):
        storage.write_atomic(tmp_path / "x", b"two")
    assert (tmp_path / "x").read_bytes() == b"one"


def test_outputs_have_ordinary_permissions(tmp_path):
    before = os.umask(0o027)
    try:
        storage.write_atomic(tmp_path / "x", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_stale_parts_are_removed(tmp_path, monkeypatch):
    part = tmp_path / f"{storage.PART_PREFIX}0{storage.PART_SUFFIX}"
    part.write_bytes(b"half")
    assert storage.remove_stale_parts(tmp_path) == 0
    monkeypatch.setattr(storage, "STALE_SECONDS", -1)
    assert storage.remove_stale_parts(tmp_path) == 1
    assert not part.exists()


def test_a_fault_of_ours_costs_one_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())

    def convert(data):
        if data == b"a":
            raise ZeroDivisionError("oops")
        return Converted(data, 1, 1)

    tasks = [planning.Task(tmp_path / n, tmp_path / "out" / n) for n in ("a", "b")]
    outcomes = {o.source.name: o for o in batch.run(tasks, convert, 2)}
    assert outcomes["a"].status == planning.FAILED
    assert "ZeroDivisionError" in outcomes["a"].message
    assert outcomes["b"].status == planning.DONE


def test_ctrl_c_leaves_whole_files_only(tmp_path, photo, codec):
    folder, out = tmp_path / "photos", tmp_path / "small"
    for i in range(300):
        save(folder / f"{i:03d}.png", photo)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "aei.cli.main",
            "encode",
            str(folder),
            "-o",
            str(out),
            "--jobs",
            "2",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while time.monotonic() < end and not (out.is_dir() and any(out.glob("*.aei"))):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--skip-existing" in err
    assert "Traceback" not in err
    done = below(out)
    assert 0 < len(done) < 300
    for name in done:
        codec.decode((out / name).read_bytes())


def test_camera_jpegs_with_previews_keep_the_photograph(run_aei, tmp_path, photo):
    first, second = Image.fromarray(photo), Image.fromarray(photo[:20, :30])
    first.save(tmp_path / "x.mpo", format="MPO", save_all=True, append_images=[second])
    (tmp_path / "x.mpo").rename(tmp_path / "x.jpg")
    result = run_aei("encode", tmp_path / "x.jpg", "-v")
    assert result.code == 0, result.err
    assert "not kept" in result.err
    assert run_aei("decode", tmp_path / "x.aei").code == 0
    assert Image.open(tmp_path / "x.png").size == first.size


def test_sigkill_leaves_whole_files_only(tmp_path, photo, codec):
    """$AEI_KILLS kills (3 by default) at random moments; then a rerun does the rest."""
    kills = int(os.environ.get("AEI_KILLS", "3"))
    folder, out = tmp_path / "photos", tmp_path / "small"
    count = 30 * kills
    for i in range(count):
        save(folder / f"{i % 5}" / f"{i:03d}.png", photo)
    command = [sys.executable, "-m", "aei.cli.main", "encode", str(folder), "-o", str(out), "-r",
               "--skip-existing", "--quiet", "--jobs", "2"]  # fmt: skip
    rng = np.random.default_rng()
    begun = 0
    for _ in range(kills):
        had = len(below(out)) if out.is_dir() else 0
        process = subprocess.Popen(command)
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            if out.is_dir() and len(list(out.rglob("*.aei"))) > had:
                break
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        begun += process.wait() == -signal.SIGKILL
        for path in out.rglob("*"):
            if path.suffix == ".aei":
                codec.decode(path.read_bytes())
            else:
                assert path.is_dir() or path.suffix == storage.PART_SUFFIX
    assert begun
    assert subprocess.run(command, check=False).returncode == 0
    assert len(list(out.rglob("*.aei"))) == count
