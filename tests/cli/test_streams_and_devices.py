"""The command beside pipes, devices, links, closed streams and full disks."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest
from aei.codec.files import storage

pytestmark = pytest.mark.skipif(os.name != "posix", reason="of POSIX systems")
AEI = [sys.executable, "-c", "from aei.cli.main import main; main()"]


def aei(*arguments, **options) -> subprocess.CompletedProcess:
    options.setdefault("stderr", subprocess.PIPE)
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run([*AEI, *map(str, arguments)], timeout=120, **options)


def shell(line: str, **environment) -> subprocess.CompletedProcess:
    """Run a line in which $AEI is the command."""
    command = f"{sys.executable} -c 'from aei.cli.main import main; main()'"
    line = line.replace("$AEI", command)
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, timeout=120, env={**os.environ, **environment}
    )


@pytest.fixture
def file(tmp_path, aei_file):
    path = tmp_path / "a.aei"
    path.write_bytes(aei_file)
    return path


def test_devices_stay_devices(tmp_path):
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        node.write_bytes(b"")
    except OSError:
        pytest.skip("may not make devices here")
    storage.write_atomic(node, b"data", overwrite=True)
    storage.write_atomic(node, b"data")
    assert stat.S_ISCHR(os.stat(node).st_mode)


def test_decoding_to_devices_and_pipes_needs_no_force_and_no_suffix(file, tmp_path):
    for arguments in (["decode", file], ["view", file]):
        assert aei(*arguments, "-o", "/dev/null").returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    done = shell(f"$AEI decode {file} --to jpg -o >(cat > {tmp_path}/x); sleep 0.5")
    assert done.returncode == 0
    assert (tmp_path / "x").read_bytes().startswith(b"\xff\xd8")


def test_pipes_are_written_through(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = os.urandom(300_000)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    storage.write_atomic(pipe, data, overwrite=True)
    reader.join()
    assert got == [data]
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)


def test_links_stay_and_what_they_point_at_is_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "x", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("folder/x")
    with pytest.raises(storage.OutputError, match="exists"):
        storage.write_atomic(link, b"new")
    storage.write_atomic(link, b"new", overwrite=True)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    target.unlink()
    storage.write_atomic(link, b"again", overwrite=True)  # one that pointed at nothing
    assert link.is_symlink()
    assert target.read_bytes() == b"again"
    assert sorted(p.name for p in (tmp_path / "folder").iterdir()) == ["x"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(mode)
    storage.write_atomic(path, b"new", overwrite=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


class Slow:
    """A file that takes at most 7 bytes at a time."""

    def __init__(self):
        self.data = b""

    def write(self, data) -> int:
        self.data += bytes(data[:7])
        return min(7, len(data))

    def flush(self) -> None:
        pass


def test_all_bytes_are_written_to_what_takes_few():
    slow = Slow()
    storage.write_all(slow, bytes(range(256)))
    assert slow.data == bytes(range(256))


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_that_is_closed_is_quiet_and_no_success(file, unbuffered):
    line = f"set -o pipefail; $AEI decode --scale 1 {file} -o - | head -c 5 | wc -c"
    big = file.with_name("big.aei")
    from aei import codec
    from conftest import synthetic_photo

    big.write_bytes(codec.encode(synthetic_photo(400, 500)))
    done = shell(line.replace(str(file), str(big)), PYTHONUNBUFFERED=unbuffered)
    assert done.returncode != 0
    assert done.stderr == b""
    whole = shell(f"$AEI decode {big} -o - | cat", PYTHONUNBUFFERED=unbuffered)
    assert len(whole.stdout) > 2 * 65536
    assert whole.stdout.endswith(b"IEND\xaeB`\x82")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["decode {} -o -", "info {}", "info {} --json"])
def test_a_full_disk_is_no_success(file, unbuffered, command):
    done = shell(f"$AEI {command.format(file)} > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"No space left" in done.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [("encode - <&-", b"stdin is closed"), ("decode {} -o - >&-", b"stdout is closed"),
     ("encode ''", b"no name of a file"), ("info ''", b"No such file"),
     ("decode {} -o ''", b"no name of a file"), ("info /dev/zero", b"not a regular file"),
     ("info $PIPE", b"not a regular file"), ("view $PIPE -o x.html", b"not a regular file")],
)  # fmt: skip
def test_closed_streams_and_odd_names_are_one_sentence(file, tmp_path, line, message):
    os.mkfifo(tmp_path / "pipe")
    line = line.format(file).replace("$PIPE", str(tmp_path / "pipe"))
    done = shell(f"cd {tmp_path} && $AEI {line}")
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_nul_in_a_name(run_aei, tmp_path):
    for arguments in (["encode", "a\0b"], ["decode", "a\0b", "-o", str(tmp_path / "x.png")]):
        done = run_aei(*arguments)
        assert done.code == 1
        assert "in no name of a file" in done.err


def test_closed_stderr_is_kept_out_of_the_data(file, tmp_path):
    out = tmp_path / "out.png"
    done = shell(f"$AEI decode {file} -o - 2>&- > {out}")
    assert done.returncode == 0
    assert out.read_bytes() == shell(f"$AEI decode {file} -o -").stdout
    done = shell(f"$AEI decode {tmp_path / 'none.aei'} -o - 2>&-")
    assert done.returncode == 1
    assert done.stdout == b""


def test_one_bad_name_does_not_cost_the_others(run_aei, tmp_path, photo):
    from PIL import Image

    Image.fromarray(photo[:16, :16]).save(tmp_path / "good.png")
    odd = [str(tmp_path / ("x" * 300)), str(tmp_path / "no" / "file.png"), ""]
    done = run_aei("encode", *odd, tmp_path / "good.png", "-o", tmp_path / "out")
    assert done.code == 2
    assert (tmp_path / "out" / "good.aei").exists()
    assert "3 failed" in done.err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_leaves_no_parts(tmp_path, name):
    code = """
    import signal, sys, time
    from aei.cli import main as m
    from aei.codec.files import storage
    real = storage._give_name
    def slow(*a):
        print("now", flush=True)
        time.sleep(60)
    storage._give_name = slow
    for number in (signal.SIGTERM, signal.SIGHUP):  # under nohup one of them is ignored
        signal.signal(number, signal.SIG_DFL)
    m._end_on_sigterm()
    from pathlib import Path
    storage.write_atomic(Path(sys.argv[1]) / "x", b"data")
    """
    import textwrap

    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"now\n"
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    number = getattr(signal, name)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("line", [
    "inspect {} -o inside --original {}", "report {}", "plot {}", "encode --from-list /dev/zero",
])  # fmt: skip
@pytest.mark.parametrize("source", ["$PIPE", "/dev/zero"])
def test_what_else_is_read_is_regular_too(file, tmp_path, line, source):
    if "plot" in line:
        pytest.importorskip("matplotlib")
    os.mkfifo(tmp_path / "pipe")
    name = source.replace("$PIPE", str(tmp_path / "pipe"))
    line = line.format(file, name) if "inspect" in line else line.format(name)
    done = shell(f"cd {tmp_path} && ulimit -v 8000000 && timeout -k 5 60 $AEI {line} -f")
    assert done.returncode in (1, 2)
    assert b"regular file" in done.stderr or b"no list of names" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_list_may_come_from_a_pipe(tmp_path, photo):
    from PIL import Image

    Image.fromarray(photo[:16, :16]).save(tmp_path / "a.png")
    done = shell(f"cd {tmp_path} && $AEI encode --from-list <(echo a.png) -o out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.aei").exists()


def test_pipes_in_a_folder_of_images_are_no_images(tmp_path, photo):
    from aei.benchmarks.datasets import load_dataset
    from PIL import Image

    Image.fromarray(photo[:16, :16]).save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert [path.name for path in load_dataset(str(tmp_path)).paths] == ["a.png"]


def test_two_signals_at_once_are_one(tmp_path, file):
    code = """
    import os, signal, sys, time
    from aei.cli import main as m
    m._end_on_sigterm()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
    """
    import textwrap

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, timeout=60
    )
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == b""
