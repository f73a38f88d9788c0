"""The command line as a user meets it: files, pipes, exit codes, one-line errors."""

import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image


def aei(*args, stdin: bytes = b"", env=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "aei.cli.main", *map(str, args)],
        input=stdin, capture_output=True, env=env, check=False,
    )  # fmt: skip


@pytest.fixture
def png(tmp_path, photo):
    path = tmp_path / "a photo.png"
    Image.fromarray(photo).save(path)
    return path


def test_there_and_back(png, tmp_path, photo):
    assert aei("encode", png, "-q", 80).returncode == 0
    file = png.with_suffix(".aei")
    assert file.stat().st_size < png.stat().st_size / 4
    assert aei("decode", file, "-o", tmp_path / "back.png").returncode == 0
    back = np.asarray(Image.open(tmp_path / "back.png"))
    assert np.mean((back.astype(float) - photo) ** 2) < 60
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a photo.aei", "a photo.png", "back.png"]


def test_pipes(png):
    encoded = aei("encode", "-", stdin=png.read_bytes())
    assert encoded.returncode == 0
    decoded = aei("decode", "-", stdin=encoded.stdout)
    assert Image.open(io.BytesIO(decoded.stdout)).format == "PNG"
    assert aei("encode", png, "-o", "-").stdout == encoded.stdout


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tif", "bmp"])
def test_output_format_follows_the_suffix(aei_file, tmp_path, suffix):
    out = tmp_path / f"x.{suffix}"
    assert aei("decode", "-", "-o", out, stdin=aei_file).returncode == 0
    assert Image.open(out).size == (48, 40)


def test_info_check(aei_file, tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(aei_file)
    facts = json.loads(aei("info", file, "--json", "--check").stdout)
    assert (facts["width"], facts["height"], facts["mode"]) == (48, 40, "RGB")
    assert facts["bytes"] == len(aei_file)
    assert facts["bytes"] - facts["payload_bytes"] == 16
    assert len(facts["latents_sha256"]) == 64
    assert b"latents_sha256" not in aei("info", file).stdout


def test_metadata_is_kept_or_stripped(tmp_path, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    source = tmp_path / "turned.jpg"
    Image.fromarray(photo).save(source, exif=exif, icc_profile=b"profile")
    assert aei("encode", source).returncode == 0
    facts = json.loads(aei("info", tmp_path / "turned.aei", "--json").stdout)
    assert (facts["width"], facts["height"]) == (203, 150)
    assert set(facts["section_bytes"]) - {"filter"} == {"icc_profile", "exif"}
    for suffix in ("png", "jpg", "webp"):
        out = tmp_path / f"back.{suffix}"
        assert aei("decode", tmp_path / "turned.aei", "-o", out).returncode == 0
        with Image.open(out) as back:
            assert back.getexif()[0x0112] == 6
            assert back.info["icc_profile"] == b"profile"
    assert aei("encode", source, "--strip", "-f").returncode == 0
    facts = json.loads(aei("info", tmp_path / "turned.aei", "--json").stdout)
    assert (facts["width"], facts["height"]) == (150, 203)
    assert set(facts["section_bytes"]) <= {"filter"}


def one_line_error(result, *words):
    assert result.returncode >= 1
    lines = result.stderr.decode().strip().splitlines()
    # a machine under load takes more than the second after which progress is told
    lines = [line for line in lines if not re.match(r"aei: (encode|decode): .* left$", line)]
    assert len(lines) == 1, lines
    assert "Traceback" not in lines[0]
    for word in words:
        assert word in lines[0]


def test_never_overwrites_without_force(png):
    file = png.with_suffix(".aei")
    file.write_bytes(b"precious")
    one_line_error(aei("encode", png), "exists", "--force")
    assert file.read_bytes() == b"precious"
    assert aei("encode", png, "--force").returncode == 0
    assert file.read_bytes() != b"precious"


def test_the_input_is_never_the_output(png):
    before = png.read_bytes()
    one_line_error(aei("encode", png, "-o", png, "--force"), "input itself")
    assert png.read_bytes() == before


def bad_files(good: bytes):
    import zlib

    def sealed(body):
        return body + zlib.crc32(body).to_bytes(4, "little")

    middle = len(good) // 2
    return {
        "empty": b"",
        "truncated": good[:-7],
        "flipped": good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        "jpeg": b"\xff\xd8\xff\xe0" + bytes(50),
        "version": sealed(good[:4] + b"\xf0" + good[5:-4]),
        "model": sealed(good[:5] + b"\0\0\0\0" + good[9:-4]),
        "dimensions": sealed(good[:10] + b"\xff\xff\x7f\xff\xff\x7f" + good[12:-4]),
        "payload": sealed(good[:20] + bytes(200)),
    }


@pytest.mark.parametrize(
    "kind", ["empty", "truncated", "flipped", "jpeg", "version", "model", "dimensions", "payload"]
)
def test_bad_files_give_one_line_and_no_output(aei_file, tmp_path, kind):
    file = tmp_path / f"{kind}.aei"
    file.write_bytes(bad_files(aei_file)[kind])
    one_line_error(aei("decode", file), file.name)
    one_line_error(aei("info", file, "--check"), file.name)
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


def test_bad_images_give_one_line(tmp_path, png):
    one_line_error(aei("encode", tmp_path / "none.png"), "none.png")
    one_line_error(aei("encode", "-", stdin=b"not an image"), "stdin")
    one_line_error(aei("encode", "-", stdin=png.read_bytes()[:3000]), "stdin")
    (tmp_path / "folder").mkdir()
    one_line_error(aei("encode", tmp_path / "folder"), "no images found")
    one_line_error(
        aei("encode", png, "-o", tmp_path / "no folder" / "x.aei"), "no folder", "No such"
    )
    one_line_error(aei("encode", png, "--model", tmp_path), "not a model bundle")
    one_line_error(aei("decode", png, "-o", tmp_path / "x.xyz"))


def test_usage_errors_exit_with_2(png):
    assert aei("encode", png, "-q", 101).returncode == 2
    assert aei("encode").returncode == 2
    assert aei("transmogrify").returncode == 2


@pytest.mark.parametrize("args", [["--help"], ["encode", "--help"], ["info", "FILE"]])
def test_light_commands_load_little(args, aei_file, tmp_path):
    file = tmp_path / "x.aei"
    file.write_bytes(aei_file)
    args = [str(file) if a == "FILE" else a for a in args]
    code = (
        "import sys\nfrom aei.cli.main import main\n"
        f"sys.argv = ['aei', *{args!r}]\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'onnxruntime', 'torch', 'matplotlib', 'scipy', 'rich'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()


# What decoding has no use for; each would take milliseconds of every `aei decode`.
NOT_TO_DECODE = [
    *("onnxruntime", "torch", "rich", "concurrent", "multiprocessing", "asyncio", "tempfile"),
    *("shutil", "importlib.metadata", "xml", "email", "http", "socket", "aei.serve"),
    *("aei.benchmarks", "aei.codec.encoder", "aei.codec.search", "aei.codec.restore"),
    *("aei.codec.exact.quantise", "aei.codec.exact.analysis_program", "aei.codec.files.convert"),
    *("aei.codec.files.verify", "aei.codec.training", "PIL.JpegImagePlugin", "PIL.GifImagePlugin"),
]


@pytest.mark.parametrize("suffix", ["png", "ppm"])
def test_decoding_loads_what_it_needs(aei_file, tmp_path, suffix):
    file = tmp_path / "x.aei"
    file.write_bytes(aei_file)
    # an older Pillow loads tempfile; a PNG takes none
    loaded, names = ("numpy", "PIL") if suffix == "png" else ("numpy, PIL.Image", "")
    code = (
        f"import sys\nbefore = set(sys.modules)\nimport {loaded}\n"
        "before |= set(sys.modules)\n"
        "from aei.cli.main import main\n"
        f"sys.argv = ['aei', 'decode', {str(file)!r}, '-o', {str(tmp_path / f'x.{suffix}')!r}]\n"
        "try:\n    main()\nfinally:\n"
        f"    names = {[*NOT_TO_DECODE, *names.split()]!r}\n"
        "    more = {m for m in set(sys.modules) - before for n in names\n"
        "            if m == n or m.startswith(n + '.')}\n"
        "    assert not more, more\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode()
    assert (tmp_path / f"x.{suffix}").exists()


def test_a_process_ends_as_others_have_asked():
    """Python's own end is left out, but what was registered meanwhile is called, threads are waited
    for, and what was said comes out."""
    code = (
        "import atexit, sys, threading, time\nfrom aei.cli import main\n"
        "def said():\n    time.sleep(0.2)\n    print('thread')\n"
        "def command():\n    atexit.register(print, 'registered')\n"
        "    threading.Thread(target=said).start()\n    print('ran')\n    sys.exit(47)\n"
        "main.main = command\nmain.process()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (47, b"")
    assert result.stdout.split() == [b"ran", b"thread", b"registered"]


def test_an_error_of_ours_is_still_a_traceback():
    code = (
        "from aei.cli import main\n"
        "def command():\n    raise RuntimeError('a mistake of ours')\n"
        "main.main = command\nmain.process()\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert result.returncode == 1
    assert b"a mistake of ours" in result.stderr


def test_check_does_not_load_onnxruntime(aei_file):
    code = (
        "import sys\nfrom aei.cli.main import main\nsys.argv = ['aei', 'info', '-', '--check']\n"
        "try:\n    main()\nfinally:\n    assert 'onnxruntime' not in sys.modules\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], input=aei_file, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
