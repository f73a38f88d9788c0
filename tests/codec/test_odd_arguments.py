"""Arguments of every kind: errors of ours that say what to give, or made to work."""

import copy
import io
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from aei import codec as face
from aei.codec import AeiError, Codec, UnsupportedError, cpus, decode_many, encode_many
from PIL import Image

IMAGE = np.full((32, 48, 3), 90, np.uint8)


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))]
)
def test_a_codec_can_be_copied_and_pickled(twin):
    codec = Codec(threads=1)
    data = codec.encode(IMAGE)
    other = twin(codec)
    assert other.threads == 1
    assert other.encode(IMAGE) == data
    assert other.decode(data).tobytes() == codec.decode(data).tobytes()


@pytest.mark.parametrize(
    "quality", ["keep", "50", float("nan"), float("inf"), 0, 101, True, [50], b"5"]
)
def test_odd_qualities(quality):
    with pytest.raises(UnsupportedError, match="from 1 to 100"):
        face.encode(IMAGE, quality)


def test_no_quality_is_the_default():
    assert face.encode(IMAGE, None) == face.encode(IMAGE)
    assert face.encode(IMAGE, np.int64(30)) == face.encode(IMAGE, 30)


@pytest.mark.parametrize("effort", ["1", float("nan"), True, 10, -1])
def test_odd_efforts(effort):
    with pytest.raises(UnsupportedError, match="from 0 to 9"):
        face.encode(IMAGE, effort=effort)


@pytest.mark.parametrize(
    "region",
    [(float("nan"), 0, 4, 4), (0, 0, float("inf"), 4), (0.5, 0, 4, 4), (0, 0, 4), "0,0,4,4", 7,
     (None, 0, 4, 4), ("a", "b", "c", "d"), (0, 0, 10**30, 4), (-1, 0, 4, 4)],
)  # fmt: skip
def test_odd_regions(aei_file, region):
    with pytest.raises(UnsupportedError, match="left, top, width, height"):
        face.decode(aei_file, region=region)


def test_regions_of_any_whole_numbers(aei_file):
    assert face.decode(aei_file, region=np.array([1, 2, 8, 4])).size == (8, 4)
    assert face.decode(aei_file, region=(1.0, 2.0, 8.0, 4.0)).size == (8, 4)


@pytest.mark.parametrize("scale", [0, 3, "2", float("nan"), None, True, [1]])
def test_odd_scales(aei_file, scale):
    with pytest.raises(UnsupportedError, match="1, 2, 4 or 8"):
        face.decode(aei_file, scale=scale)


@pytest.mark.parametrize(
    "image", [np.array(5, np.uint8), np.uint8(5), 7, "photo.png", None, [[1, 2]], b"bytes",
              np.zeros((0, 4, 3), np.uint8), np.zeros((4, 0), np.uint8), object()],
)  # fmt: skip
def test_odd_images(image):
    with pytest.raises(AeiError) as caught:
        face.encode(image)
    assert "\n" not in str(caught.value)


def test_files_by_path_by_buffer_and_open(tmp_path, aei_file):
    path = tmp_path / "a.aei"
    path.write_bytes(aei_file)
    wanted = face.decode(aei_file).tobytes()
    for given in (path, str(path), bytearray(aei_file), memoryview(aei_file), io.BytesIO(aei_file),
                  np.frombuffer(aei_file, np.uint8)):  # fmt: skip
        assert face.decode(given).tobytes() == wanted
    assert Codec().decode(path).tobytes() == wanted
    assert [image.tobytes() for image in decode_many([path, aei_file])] == [wanted, wanted]
    with pytest.raises(FileNotFoundError):
        face.decode("none.aei")
    with pytest.raises(AeiError, match="is a folder"):
        face.decode(tmp_path)


@pytest.mark.parametrize("data", [7, None, [1], Image.new("L", (2, 2))])
def test_what_is_no_file(data):
    with pytest.raises(UnsupportedError, match="give the bytes of an"):
        face.decode(data)


@pytest.mark.parametrize("value", ["9", None, float("nan"), True, -1])
def test_odd_targets(value):
    from aei.codec import Target

    with pytest.raises(UnsupportedError, match="give a number above 0"):
        Target("size", value)


def test_results_that_are_finished_are_given_before_the_sources_error():
    def source():
        yield IMAGE
        yield IMAGE
        raise RuntimeError("source")

    results = encode_many(source(), jobs=2)
    assert next(results) == next(results)
    with pytest.raises(RuntimeError, match="source"):
        next(results)


def test_wrong_usage_of_a_target_is_exit_2(run_aei, tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    done = run_aei("encode", tmp_path / "a.png", "--target-ssim", "90")
    assert done.code == 2
    assert "below 1" in done.err


def test_whole_qualities_of_a_bench_are_whole_numbers():
    bench = pytest.importorskip("aei.benchmarks.bench")
    found = bench.parse_qualities(("JPEG=30,50", "mine=0.5,2"))
    assert found == {"JPEG": (30, 50), "mine": (0.5, 2)}
    assert [type(v) for v in found["JPEG"]] == [int, int]


def test_bench_asks_for_scipy_first(run_aei, tmp_path, monkeypatch):
    bench = pytest.importorskip("aei.benchmarks.bench")
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    done = run_aei("bench", tmp_path, "-o", tmp_path / "x.json", "--no-cache")
    assert done.code == 1
    assert "aei-codec[bench]" in done.err


# ---- threads


def test_commands_load_no_numpy_before_its_threads_can_be_set():
    code = """
    import importlib, sys
    from aei.cli.main import COMMANDS
    for name in COMMANDS:
        importlib.import_module("aei.cli." + name)
    assert "numpy" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


@pytest.mark.skipif(cpus._openblas() is None, reason="another BLAS")
def test_threads_of_numpy_are_limited_meanwhile():
    get, _ = cpus._openblas()
    before = get()
    with cpus.blas_threads(None):
        assert get() == before
    inside, go = threading.Event(), threading.Event()

    def other():
        with cpus.blas_threads(1):
            inside.set()
            go.wait(10)

    with cpus.blas_threads(before):
        assert get() == before
        thread = threading.Thread(target=other)
        thread.start()
        inside.wait(10)
        assert get() == 1
        with cpus.blas_threads(before):
            assert get() == 1
        go.set()
        thread.join()
        assert get() == before
    assert get() == before


@pytest.mark.skipif(cpus._openblas() is None, reason="another BLAS")
def test_a_codec_of_one_thread_has_numpy_on_one(monkeypatch):
    from aei.codec import api

    get, _ = cpus._openblas()
    seen = []
    parse = api.parse
    codec = Codec(threads=1)
    data = codec.encode(IMAGE)
    real = codec.decode_contents.__wrapped__

    def look(self, *arguments, **options):
        seen.append(get())
        return real(self, *arguments, **options)

    monkeypatch.setattr(Codec, "decode_contents", api._few_threads(look))
    codec.decode(data)
    assert seen == [1]
    assert parse is api.parse


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_answered_at_once_and_what_was_finished_is_counted(tmp_path, name, code):
    for i in range(5):
        Image.fromarray(IMAGE).save(tmp_path / f"{i}.png")
    program = f"""
    import os, signal, sys, threading, time
    from aei.codec.files import convert
    real = convert.encode_file
    def slow(*arguments, **options):
        if not hasattr(slow, "begun"):
            slow.begun = True
            os.kill(os.getpid(), signal.{name})
        time.sleep(1)
        return real(*arguments, **options)
    convert.encode_file = slow
    sys.argv = ["aei", "encode", sys.argv[1], "-o", sys.argv[1] + "/out", "--jobs", "2"]
    from aei.cli.main import main
    main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = [process.stderr.readline(), process.stderr.readline()]
    at = time.monotonic()
    rest = process.stderr.read()
    assert time.monotonic() - at > 0.3  # it was said before the files were finished
    assert process.wait(60) == code
    assert "stopping" in "".join(lines)
    made = len(list((tmp_path / "out").glob("*.aei")))
    assert f"{made} encoded" in rest
    assert f"stopped with {5 - made} files to do" in rest


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_second_signal_ends_at_once_without_half_a_file(tmp_path, name, code):
    for i in range(3):
        Image.fromarray(IMAGE).save(tmp_path / f"{i}.png")
    program = f"""
    import os, signal, sys, time
    from aei.codec.files import storage
    def slow(temporary, path, overwrite):
        print(temporary.exists(), flush=True)
        os.kill(os.getpid(), signal.{name})
        time.sleep(1)
        os.kill(os.getpid(), signal.{name})
        time.sleep(100)
    storage._give_name = slow
    sys.argv = ["aei", "encode", sys.argv[1], "-o", sys.argv[1] + "/out", "--jobs", "1"]
    from aei.cli.main import main
    main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "True\n"
    assert done.returncode == code
    assert "stopping" in done.stderr
    assert "stopped: files under way are lost" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_signals_that_are_ignored_stay_ignored(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    program = """
    import os, signal, sys
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    from aei.codec.files import convert
    real = convert.encode_file
    def encode(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGHUP)
        return real(*arguments, **options)
    convert.encode_file = encode
    sys.argv = ["aei", "encode", sys.argv[1], "-o", sys.argv[1] + "/out"]
    from aei.cli.main import main
    main()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.aei").exists()
