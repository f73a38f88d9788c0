"""Listing, reading and writing by URL, the manifest, and the work on one object: without Ray."""

import dataclasses
import functools
import hashlib
import http.server
import io
import tarfile
import threading

import pytest
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("fsspec", reason="needs the [ray] extra")
pytest.importorskip("pyarrow", reason="needs the [ray] extra")

from aei import codec as face
from aei.codec.cluster import engine, manifest, objects
from aei.codec.cluster.work import done
from aei.codec.files.convert import DecodeOptions, EncodeOptions
from aei.codec.files.job import Job, VerifyOptions
from aei.codec.targets import Target
from cluster_fixtures import Busy, free_port, s3, s3_port

SUFFIXES = frozenset({".png", ".jpg"})


def job(**options) -> Job:
    kept = {"metrics": options.pop("metrics", False), "keep_extension": options.pop("keep", False)}
    return Job(EncodeOptions(**options), ".aei", SUFFIXES, **kept)


@pytest.fixture
def photos(tmp_path):
    for i, name in enumerate(("a.png", "trip/b.JPG", "trip/c.png", ".hidden/d.png", "notes.txt")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no picture")
        else:
            format_ = "JPEG" if path.suffix == ".JPG" else None
            Image.fromarray(synthetic_photo(24, 32, seed=i)).save(path, format_)
    return tmp_path / "photos"


def test_what_is_found(photos):
    found = list(objects.find(str(photos), SUFFIXES))
    assert [s.place for s in found] == ["a.png", "trip/b.JPG", "trip/c.png"]
    assert found[0].url == str(photos / "a.png")
    assert found[0].size == (photos / "a.png").stat().st_size
    (one,) = objects.find(str(photos / "trip" / "c.png"), SUFFIXES)
    assert one.place == "c.png"
    assert one.version == found[2].version
    urls = [s.url for s in objects.find(f"file://{photos}", SUFFIXES)]
    assert urls == [f"file://{s.url}" for s in found]
    with pytest.raises(face.AeiError, match="no such file or folder"):
        list(objects.find(str(photos / "nothing"), SUFFIXES))
    with pytest.raises(face.AeiError, match="no such kind of place"):
        list(objects.find("nonsense://x/y", SUFFIXES))


def test_pages_that_list_a_folder(photos):
    pytest.importorskip("aiohttp", reason="needs aiohttp, for http")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(photos))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        handler.log_message = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        found = list(objects.find(url, SUFFIXES))
        assert [s.place for s in found] == ["a.png", "trip/b.JPG", "trip/c.png"]
        assert objects.read(found[2].url) == (photos / "trip/c.png").read_bytes()
        (row,) = done(job(), job().load(), found[2], str(photos.parent / "out"))
        assert (row["source"], row["status"]) == (f"{url}trip/c.png", "done")
        assert (photos.parent / "out" / "trip" / "c.aei").exists()
        server.shutdown()


def test_patience(monkeypatch):
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.001)
    calls = []

    def busy(error: Exception, times: int) -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    assert objects.patient(lambda: busy(TimeoutError(), 4), "x") == "done"
    assert len(calls) == 5
    calls.clear()
    with pytest.raises(TimeoutError):
        objects.patient(lambda: busy(TimeoutError(), 99), "x")
    assert len(calls) == objects.ATTEMPTS
    calls.clear()
    with pytest.raises(FileNotFoundError):
        objects.patient(lambda: busy(FileNotFoundError(), 99), "x")
    assert len(calls) == 1


def test_one_object_and_its_row(photos, tmp_path):
    this = job(quality=60, metrics=True)
    codec = this.load()
    source = next(objects.find(str(photos / "a.png"), SUFFIXES))
    (row,) = done(this, codec, source, str(tmp_path / "out"))
    file = (tmp_path / "out" / "a.aei").read_bytes()
    assert file == codec.encode(Image.open(photos / "a.png"), 60)
    assert row["target"] == str(tmp_path / "out" / "a.aei")
    assert (row["status"], row["asked"], row["width"]) == ("done", "quality 60", 32)
    assert row["file_sha256"] == hashlib.sha256(file).hexdigest()
    assert row["latents_sha256"] == codec.latents_sha256(file)
    assert row["bytes_out"] == len(file)
    assert 15 < row["psnr"] < 60
    assert 20 < row["ssimulacra2"] < 100
    assert set(row) <= set(manifest.COLUMNS)


def test_what_is_written_is_read_again(photos, tmp_path, monkeypatch):
    """With `verify`, a store that changes bytes is found out."""
    this = job(quality=60, verify=True)
    (source,) = objects.find(str(photos / "a.png"), SUFFIXES)
    (row,) = done(this, this.load(), source, str(tmp_path / "out"))
    assert row["status"] == "done"
    write = objects.write
    monkeypatch.setattr(objects, "write", lambda url, data: write(url, data[:-1] + b"x"))
    (row,) = done(this, this.load(), source, str(tmp_path / "out"))
    assert row["status"] == "failed"


def test_what_was_to_be_met_is_noted(photos, tmp_path):
    this = job(target=Target("size", 500))
    source = next(objects.find(str(photos / "a.png"), SUFFIXES))
    (row,) = done(this, this.load(), source, str(tmp_path))
    assert row["asked"] == "size 500"
    assert row["reached"] == row["bytes_out"]
    assert 400 < row["reached"] <= 500


def test_what_goes_wrong_stands_in_the_row(photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no picture")
    this = job()
    codec = this.load()
    gone = objects.Source(str(photos / "gone.png"), "gone.png", 1, "")
    found = {s.place: s for s in objects.find(str(photos), SUFFIXES)}
    for source, words in ((found["bad.png"], "not an image"), (gone, "No such file")):
        (row,) = done(this, codec, source, str(tmp_path / "out"))
        assert row["status"] == "failed"
        assert words in row["error"]
    assert not list(tmp_path.glob("out/*.aei"))


def tar_of(path, members) -> None:
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def test_a_shard_becomes_a_shard(photos, tmp_path):
    """Samples stay together: labels are copied, and what fails is left out and noted."""
    picture = (photos / "a.png").read_bytes()
    members = [("0.png", picture), ("0.cls", b"5"), ("1.png", b"bad"), ("1.cls", b"6")]
    tar_of(tmp_path / "s.tar", members)
    this = job(quality=60)
    (source,) = objects.find(str(tmp_path / "s.tar"), {".tar"})
    rows = done(this, this.load(), source, str(tmp_path / "out"))
    statuses = [(row["source"].rpartition("/")[2], row["status"]) for row in rows]
    assert statuses == [
        ("0.png", "done"), ("0.cls", "copied"), ("1.png", "failed"), ("1.cls", "copied"),
        ("s.tar", "shard"),
    ]  # fmt: skip
    with tarfile.open(tmp_path / "out" / "s.tar") as tar:
        assert tar.getnames() == ["0.aei", "0.cls", "1.cls"]
        file = tar.extractfile("0.aei").read()
    assert file == face.encode(Image.open(photos / "a.png"), 60)
    back = Job(DecodeOptions(), ".png", frozenset({".aei"}), "PNG")
    (source,) = objects.find(str(tmp_path / "out" / "s.tar"), {".tar"})
    rows = done(back, back.load(), source, str(tmp_path / "back"))
    assert [row["status"] for row in rows] == ["done", "copied", "copied", "shard"]


def names_and_data(path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar}


def test_a_shard_becomes_files(photos, tmp_path):
    """Labels too, and nothing outside the folder, whatever members are called."""
    picture = (photos / "a.png").read_bytes()
    members = [
        ("0.png", picture), ("0.cls", b"5"), ("in/1.png", picture), ("0.jpg", picture),
        ("../2.png", picture), ("/3.png", picture), ("in/../../4.cls", b"4"),
        ("x\\..\\5.cls", b"5"),
    ]  # fmt: skip
    tar_of(tmp_path / "in" / "s.tar", members)
    this = dataclasses.replace(job(quality=60), unpack=True)
    (source,) = objects.find(str(tmp_path / "in"), {".tar"})
    rows = done(this, this.load(), source, str(tmp_path / "out"))
    assert [row["status"] for row in rows] == ["done", "copied", "done", *["failed"] * 5, "shard"]
    assert rows[3]["reason"] == "clash"
    assert "leads out of the folder" in rows[4]["error"]
    out = tmp_path / "out" / "s"
    files = {str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*")}
    assert files == {"s/0.aei", "s/0.cls", "s/in/1.aei"}
    assert (out / "0.aei").read_bytes() == face.encode(Image.open(photos / "a.png"), 60)
    assert rows[0]["target"] == str(out / "0.aei")
    assert rows[0]["place"] == "s/0.aei"


def test_files_become_shards(photos, tmp_path):
    """In order, so many in each, and the same groups when it is done again."""
    (photos / "trip" / "d.png").write_bytes(b"no picture")
    this = dataclasses.replace(job(quality=60), pack=3)
    out = str(tmp_path / "out")

    def groups():
        return list(engine.placed(this, objects.find(str(photos), SUFFIXES), out))

    found = groups()
    assert [(g.place, len(g.members)) for g in found] == [("000000.tar", 3), ("000001.tar", 1)]
    assert found[0].url == f"{out}/000000.tar"
    assert found[0].size == sum(m.size for m in found[0].members)
    codec = this.load()
    rows = [row for group in found for row in done(this, codec, group, out)]
    assert [(row["place"], row["status"]) for row in rows] == [
        ("000000.tar/a.aei", "done"), ("000000.tar/trip/b.aei", "done"),
        ("000000.tar/trip/c.aei", "done"), ("000000.tar", "shard"),
        ("000001.tar/trip/d.aei", "failed"), ("000001.tar", "shard"),
    ]  # fmt: skip
    made = names_and_data(tmp_path / "out" / "000000.tar")
    assert list(made) == ["a.aei", "trip/b.aei", "trip/c.aei"]
    assert made["a.aei"] == face.encode(Image.open(photos / "a.png"), 60)
    assert rows[0]["file_sha256"] == hashlib.sha256(made["a.aei"]).hexdigest()
    keys = {manifest.key_of(r["source"], r["version"], r["job"]) for r in rows}
    assert list(manifest.left_of(iter(groups()), keys, this.digest)) == []
    (photos / "aa.png").write_bytes((photos / "a.png").read_bytes())
    left = list(manifest.left_of(iter(groups()), keys, this.digest))
    assert [g.place for g in left] == ["000000.tar", "000001.tar"]  # both have other members now
    webdataset = pytest.importorskip("webdataset", reason="needs webdataset")
    from aei.codec.loaders import WebDecoder

    shard = webdataset.WebDataset(f"{out}/000000.tar", shardshuffle=False).decode(WebDecoder())
    assert [sample["aei"].shape for sample in shard] == [(3, 24, 32)] * 3


def test_other_places(photos):
    """Whatever fsspec opens: here the memory of this process."""
    import fsspec

    fs = fsspec.filesystem("memory")
    for path in photos.rglob("*.png"):
        fs.pipe_file(f"/in/{path.relative_to(photos)}", path.read_bytes())
    this = job(quality=60)
    found = list(objects.find("memory://in", SUFFIXES))
    assert [s.place for s in found] == ["a.png", "trip/c.png"]
    codec = this.load()
    rows = [row for source in found for row in done(this, codec, source, "memory://out")]
    assert [row["status"] for row in rows] == ["done", "done"]
    assert fs.cat_file("/out/a.aei") == face.encode(Image.open(photos / "a.png"), 60)
    into = manifest.Manifest("memory://out/rows.parquet", "1")
    into.add(manifest.table(rows))
    into.close()
    assert manifest.listed("memory://out/rows.parquet").keys() == {"a.aei", "trip/c.aei"}
    assert list(objects.find("memory://out", {".aei"})) != []
    fs.rm("/in", recursive=True)
    fs.rm("/out", recursive=True)


def test_google_cloud_storage(photos, monkeypatch):
    """An emulator on loopback: lists, versions, reading, whole writes, the manifest."""
    emulator = pytest.importorskip("gcp_storage_emulator.server", reason="needs the emulator")
    # the emulator speaks JSON; gcsfs asks by gRPC for what kind a bucket is, unless told not to
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    gcsfs = pytest.importorskip("gcsfs", reason="needs gcsfs")
    port = free_port()
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    try:
        fs = gcsfs.GCSFileSystem(token="anon", project="here")
        fs.mkdir("pictures")
        for path in photos.rglob("*.png"):
            fs.pipe_file(f"pictures/in/{path.relative_to(photos)}", path.read_bytes())
        found = list(objects.find("gs://pictures/in", SUFFIXES))
        assert [s.place for s in found] == ["a.png", "trip/c.png"]
        assert all(s.version and s.size for s in found)
        this = job(quality=60)
        rows = done(this, this.load(), found[0], "gs://pictures/out")
        assert rows[0]["status"] == "done", rows
        assert fs.cat_file("pictures/out/a.aei") == face.encode(Image.open(photos / "a.png"), 60)
        into = manifest.Manifest("gs://pictures/out", "1")
        into.add(manifest.table(rows))
        into.close()
        left = manifest.left_of(iter(found), manifest.finished("gs://pictures/out", this.digest),
                                this.digest)  # fmt: skip
        assert [s.place for s in left] == ["trip/c.png"]
    finally:
        server.stop()
        gcsfs.GCSFileSystem.clear_instance_cache()


def test_places_and_digests():
    assert job().place("trip/a.b.png") == "trip/a.b.aei"
    assert job(keep=True).place("a.png") == "a.png.aei"
    assert job().place("x/s.tar") == "x/s.tar"
    assert job().digest == job().digest
    assert len({job().digest, job(quality=50).digest, job(effort=2).digest,
                job(target=Target("size", 9)).digest, job(metrics=True).digest}) == 5  # fmt: skip
    twice = [objects.Source(f"/x/{n}", n, 1, "") for n in ("a.jpg", "a.png")]
    with pytest.raises(face.AeiError, match="the same target"):
        list(engine.placed(job(), twice, ""))
    assert len(list(engine.placed(job(keep=True), twice, ""))) == 2


def test_a_sample_is_the_same_each_time():
    sources = [objects.Source(f"s3://pictures/{i}.png", f"{i}.png", 1, "") for i in range(2000)]
    sample = [s for s in sources if engine.in_sample(s, 0.1)]
    assert 140 < len(sample) < 260
    assert sample == [s for s in sources if engine.in_sample(s, 0.1)]
    assert all(engine.in_sample(s, 1) for s in sources)


def rows_of(*names, status="done"):
    return manifest.table(
        [{"source": n, "version": "1", "status": status, "job": "j"} for n in names]
    )


def test_a_manifest_is_whole_whenever_its_writer_stops(tmp_path):
    first = manifest.Manifest(str(tmp_path), "1")
    first.add(rows_of("a", "b"))
    first.flush()
    first.add(rows_of("c", status="failed"))
    first.flush()  # and here it is killed
    second = manifest.Manifest(str(tmp_path), "2")
    second.add(rows_of("c"))
    url = second.close()
    assert sorted(p.name for p in (tmp_path / ".aei").iterdir()) == [
        "part-1-000000.parquet", "part-1-000001.parquet", "run-2.parquet",
    ]  # fmt: skip
    assert url.endswith("run-2.parquet")
    assert manifest.read(str(tmp_path)).column("source").to_pylist() == ["a", "b", "c", "c"]
    keys = manifest.finished(str(tmp_path), "j")
    assert keys == {manifest.key_of(n, "1", "j") for n in "abc"}
    assert manifest.finished(str(tmp_path), "other") == set()
    changed = objects.Source("a", "a", 1, "2")
    assert list(manifest.left_of(iter([changed]), keys, "j")) == [changed]
    assert manifest.Manifest(str(tmp_path / "none"), "3").close() is None


def test_a_busy_store(s3, monkeypatch):
    """Every third request is refused or broken off; nothing is lost."""
    monkeypatch.setattr(objects, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(Busy, "every", 3)
    before = Busy.refused
    for i in range(20):
        objects.write(f"s3://pictures/busy/{i}.png", b"%d" % i * 100)
    found = list(objects.find("s3://pictures/busy", SUFFIXES))
    assert len(found) == 20
    assert {s.url for s in found} == {f"s3://pictures/busy/{i}.png" for i in range(20)}
    assert all(s.version and s.size for s in found)
    assert objects.read("s3://pictures/busy/7.png") == b"7" * 100
    assert Busy.refused - before >= 10


def test_verifying_one_object(photos, tmp_path):
    this = job(quality=60)
    (source,) = objects.find(str(photos / "a.png"), SUFFIXES)
    done(this, this.load(), source, str(tmp_path / "out"))
    check = Job(VerifyOptions(), ".aei", frozenset({".aei"}))
    codec = check.load()
    (source,) = objects.find(str(tmp_path / "out"), check.suffixes)
    (row,) = done(check, codec, source, "")
    assert (row["status"], row["place"], row["target"]) == ("good", "a.aei", None)
    data = (tmp_path / "out" / "a.aei").read_bytes()
    assert row["file_sha256"] == hashlib.sha256(data).hexdigest()
    tar_of(tmp_path / "s.tar", [("x.aei", data), ("x.cls", b"1"), ("y.aei", data[:-3])])
    (source,) = objects.find(str(tmp_path / "s.tar"), {".tar"})
    statuses = [row["status"] for row in done(check, codec, source, "")]
    assert statuses == ["good", "copied", "failed", "shard"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "photos", "s.tar"]
