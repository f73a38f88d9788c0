"""-v, --quiet and --json, the logging behind them, and shell completion."""

import ast
import json
import logging
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from aei.cli import output
from aei.cli.files import ByteCount, naming
from aei.cli.main import COMMANDS, cli
from aei.codec import UnknownModelError
from PIL import Image


@pytest.mark.parametrize("name", [n for n in COMMANDS])
def test_every_command_has_the_common_options_and_an_example(name):
    command = cli.get_command(click.Context(cli), name)
    within = command.commands.values() if isinstance(command, click.Group) else [command]
    for one in within:
        options = {option for parameter in one.params for option in parameter.opts}
        assert {"-v", "--verbose", "--quiet", "--json"} <= options
        assert "Example" in one.help


@pytest.fixture
def file(tmp_path, aei_file):
    path = tmp_path / "x.aei"
    path.write_bytes(aei_file)
    return path


def test_json_of_a_single_file(run_aei, file, tmp_path):
    result = run_aei("decode", file, "--json")
    facts = json.loads(result.out)
    assert facts["status"] == "done"
    assert facts["output"] == str(tmp_path / "x.png")
    assert facts["bytes_out"] == (tmp_path / "x.png").stat().st_size
    assert json.loads(run_aei("info", file, "--json").out)["width"] == 48


def test_json_of_a_comparison(run_aei, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "p.png")
    result = run_aei("compare", tmp_path / "p.png", "--codecs", "JPEG", "--json")
    facts = json.loads(result.out)
    assert facts["output"] == str(tmp_path / "p.html")
    assert set(facts["codecs"]) == {"aei", "JPEG"}
    assert facts["codecs"]["aei"]["bytes"] > 0


@pytest.mark.parametrize(
    ("args", "kind"),
    [
        (["decode", "none.aei"], "FileNotFoundError"),
        (["decode", "-"], "NotAnAeiFileError"),
        (["encode", "-q", "900", "x"], "UsageError"),
        (["encode", "-", "-o", "-"], "UsageError"),
    ],
)
def test_errors_as_json(run_aei, args, kind):
    result = run_aei(*args, "--json", stdin=b"bad")
    assert result.code in (1, 2)
    lines = result.err.strip().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["error"]
    if kind != "NotAnAeiFileError" or "stdout" not in lines[0]:
        assert json.loads(lines[0])["kind"] == kind


def test_verbose_tells_what_was_done(run_aei, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "x.png")
    result = run_aei("encode", tmp_path / "x.png")
    assert (result.code, result.out, result.err) == (0, "", "")
    result = run_aei("encode", tmp_path / "x.png", "-v", "-f")
    assert "203x150" in result.err
    assert result.out == ""
    result = run_aei("encode", tmp_path / "x.png", "-f", "-vv", "--target-bpp", "0.5")
    assert "gain index" in result.err


def test_quiet_hides_warnings_but_not_errors(run_aei, tmp_path, photo):
    Image.fromarray(photo).save(tmp_path / "x.jpg", quality=3)
    assert "not smaller" in run_aei("encode", tmp_path / "x.jpg", "-q", 95).err
    assert run_aei("encode", tmp_path / "x.jpg", "-q", 95, "--quiet", "-f").err == ""
    assert "exists" in run_aei("encode", tmp_path / "x.jpg", "--quiet").err


def test_the_library_logs_without_printing(codec, photo, capsys, caplog):
    from aei.codec.targets import Target, encode_to_target

    logger = logging.getLogger("aei")
    before = logger.propagate, list(logger.handlers)
    logger.propagate, logger.handlers = True, []
    try:
        with caplog.at_level(logging.DEBUG, logger="aei"):
            encode_to_target(codec, photo, Target("bpp", 0.3))
    finally:
        logger.propagate, logger.handlers = before
    assert "gain index" in caplog.text
    assert capsys.readouterr().err == ""


def test_log_lines_as_json(capsys):
    output.reset()
    output.MODE.json = True
    logging.getLogger("aei.test").warning("careful: %d", 3)
    assert json.loads(capsys.readouterr().err) == {"log": "warning", "message": "careful: 3"}
    output.reset()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(run_aei, shell):
    result = run_aei("completion", shell)
    assert result.code == 0
    assert "_AEI_COMPLETE" in result.out


def test_completion_completes():
    env = os.environ | {"COMP_WORDS": "aei encode --target-", "COMP_CWORD": "2",
                        "_AEI_COMPLETE": "bash_complete"}  # fmt: skip
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'aei'; from aei.cli.main import main; main()",
        ],
        capture_output=True,
        text=True,
        env=env,
        check=False,
    )
    assert "plain,--target-size" in result.stdout.splitlines(), result.stderr


def test_a_misspelt_command_gets_a_hint(run_aei):
    result = run_aei("encoode", "x.png")
    assert result.code == 2
    assert "did you mean `aei encode`?" in result.err
    assert "`aei --help` lists them" in run_aei("transmogrify").err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_on_a_terminal(tmp_path, photo):
    import pty

    for i in range(3):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aei.cli.main", "encode", tmp_path, "-o", tmp_path / "small"],
        stderr=slave,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "120", "TERM": "xterm"},
    )
    os.close(slave)
    shown = b""
    try:
        while chunk := os.read(master, 4096):
            shown += chunk
    except OSError:  # Linux: the other end is closed
        pass
    os.close(master)
    assert process.wait() == 0
    text = shown.decode(errors="replace")
    assert "3/3 files" in text
    assert "%)" in text
    assert "3 encoded" in text


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("30000", 30_000), ("30k", 30_000), ("30KB", 30_000), ("30kb", 30_000), ("1.5M", 1_500_000),
        ("1.5 MB", 1_500_000), ("64KiB", 65_536), (".5k", 500), ("2g", 2_000_000_000), (" 7 ", 7),
    ],
)  # fmt: skip
def test_sizes(text, size):
    assert ByteCount().convert(text, None, None) == size


@pytest.mark.parametrize(
    "text", ["", "k", "0", "0.2", "-3", "3 0", "1e3", "30kk", "30 bytes", "1.2.3", "9" * 400, "inf"]
)
def test_no_sizes(text):
    with pytest.raises(click.BadParameter, match="give a size like"):
        ByteCount().convert(text, None, None)


@pytest.mark.parametrize(("name", "option"), [("encode", "target_size"), ("compare", "size")])
def test_commands_read_sizes_alike(name, option):
    command = cli.get_command(click.Context(cli), name)
    (found,) = (parameter for parameter in command.params if parameter.name == option)
    assert isinstance(found.type, ByteCount)


def test_the_library_names_no_options():
    """What a user can do is the command line's to say, by the error's reason."""
    folder = Path(output.__file__).parent.parent
    named = [
        f"{path.name}: {node.value}"
        for top in ("formats", "codec")
        for path in (folder / top).rglob("*.py")
        if "training" not in path.parts
        for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(statement, (ast.Raise, ast.Assign))
        for node in ast.walk(statement)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.search(r"(?<![\w-])--[a-z]", node.value)
    ]
    assert not named, "\n".join(named)


def test_advice_keeps_reasons_through_a_name():
    with pytest.raises(UnknownModelError, match=r"^photo: missing$") as caught, naming("photo"):
        raise UnknownModelError("missing", reason="model")
    assert caught.value.reason == "model"
    assert pickle.loads(pickle.dumps(caught.value)).reason == "model"
    assert "--model" in output.advised(str(caught.value), "model")
    assert output.advised("as it is", "") == "as it is"
    alone, of_many = (output.advised("x exists", "exists", many) for many in (False, True))
    assert "-o" in alone
    assert "--skip-existing" in of_many
