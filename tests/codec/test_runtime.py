"""ONNX Runtime as we use it: no telemetry, nothing written beside our outputs, and processes that
fork."""

import os
import shutil
import subprocess
import sys
import textwrap

import pytest
from golden_files import GOLDEN

USE = """
import numpy as np
from aei import codec
data = codec.encode(np.zeros((48, 64, 3), np.uint8), effort=2)
codec.decode(data)
"""


def _run(code: str, folder, *before: str, **environment: str) -> str:
    """What a program prints that runs with a home of its own."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    environment = {**kept, "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [*before, sys.executable, "-c", textwrap.dedent(code)],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_coding_writes_nothing_into_a_fresh_home(tmp_path):
    _run(USE, tmp_path)
    assert list(tmp_path.rglob("*")) == []


def test_the_command_writes_its_output_only(tmp_path, aei_file):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (work / "a.aei").write_bytes(aei_file)
    code = f"import sys; sys.argv = ['aei', 'decode', {str(work / 'a.aei')!r}]\n"
    code += "from aei.cli.main import main\nmain()"
    _run(code, home)
    assert list(home.rglob("*")) == []
    assert sorted(p.name for p in work.iterdir()) == ["a.aei", "a.png"]


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_coding_opens_no_sockets(tmp_path):
    log = tmp_path / "log"
    home = tmp_path / "home"
    home.mkdir()
    trace = ["strace", "-f", "-qq", "-e", "trace=socket,connect", "-o", str(log)]
    if subprocess.run([*trace, "true"]).returncode:
        pytest.skip("strace may not trace here")
    _run(USE, home, *trace)
    assert "AF_INET" not in log.read_text()


def test_what_the_user_set_is_left_alone(tmp_path):
    code = """
    import os
    from aei.codec.models.runtime import onnxruntime
    onnxruntime()
    print(os.environ["ORT_DISABLE_TELEMETRY"])
    """
    assert _run(code, tmp_path).strip() == "1"
    assert _run(code, tmp_path, ORT_DISABLE_TELEMETRY="0").strip() == "0"


# How a child ends: its status, or that it hangs.
ENDING = """
import os, time
def ending(child):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.05)
    os.kill(child, 9)
    return "hangs"
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("threads", [None, 4])
@pytest.mark.parametrize("used", [False, True])
def test_a_forked_child_ends_and_can_code(tmp_path, threads, used):
    pytest.importorskip("onnxruntime")
    bundle = str(GOLDEN / "offset.bundle")  # one without integers, which opens sessions
    code = f"""
    import os, sys
    import numpy as np
    from aei.codec import Codec
    codec = Codec({bundle!r}, {threads})
    image = np.zeros((64, 64, 3), np.uint8)
    data = codec.encode(image, effort=0)
    codec.decode(data)
    child = os.fork()
    if child == 0:
        if {used}:
            assert codec.encode(image, effort=0) == data
            codec.decode(data)
        sys.exit(0)
    print(ending(child))
    """
    assert _run(ENDING + textwrap.dedent(code), tmp_path).strip() == "0"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_waits_for_no_thread_of_its_parent(tmp_path):
    """Another thread loads a model and codes with one thread of NumPy's while this one forks."""
    pytest.importorskip("onnxruntime")
    code = """
    import os, threading
    from functools import cached_property
    import numpy as np
    from aei.codec import Codec, cpus
    from aei.codec.models import runtime
    from aei.codec.models.bundle import Bundle
    codec, decoders = Codec(), Codec()
    calls = cpus._openblas()
    before = calls and calls[0]()
    held, done = threading.Event(), threading.Event()
    def hold():
        lock = getattr(vars(Bundle)["prior"], "lock", codec._lock)  # until Python 3.11
        with codec._lock, decoders._lock, runtime._lock, codec.restorers._lock, lock:
            with cpus.blas_threads(1), cpus._lock:
                held.set()
                done.wait(100)
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        assert not calls or calls[0]() == before
        data = codec.encode(np.zeros((64, 64, 3), np.uint8), effort=2)
        decoders.decode(data)
        codec.restorers.kinds()
        os._exit(0)
    print(ending(child))
    done.set()
    thread.join()
    assert not calls or calls[0]() == before
    """
    assert _run(ENDING + textwrap.dedent(code), tmp_path).strip() == "0"
