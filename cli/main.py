"""The `aei` command: its subcommands are read from disk only when they are called."""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import importlib
import os
import signal
import sys
import warnings

import click

from . import output

COMMANDS = {
    "encode": "Compress an image to an .aei file.",
    "decode": "Turn an .aei file back into an image.",
    "info": "Show what .aei files hold, and check them.",
    "verify": "Check .aei files: every checksum, and every payload decoded.",
    "view": "Show an .aei file and where its bits went, or a folder of them, as web pages.",
    "gallery": "Make static pages of a folder of .aei files, sorted by date.",
    "inspect": "Look inside a coded image: bits, channels, errors, what a region depends on.",
    "compare": "Make a page that shows a photo by aei and others at the same bytes.",
    "restore": "Take noise, JPEG blocks or blur out of an image.",
    "enhance": "Mend the light, contrast or colour of an image.",
    "serve": "Serve a folder's pictures to web pages (needs the [serve] extra).",
    "thumbnail": "Write small PNGs of .aei files, for file managers.",
    "bench": "Compare image codecs on real files: bytes, quality, speed.",
    "plot": "Draw the curves of benchmark results or of a training run.",
    "report": "Make an interactive page of benchmark results.",
    "train": "Train a model (needs the [train] extra).",
    "study": "Measure which training choices matter (needs [train]).",
    "export": "Turn a training checkpoint into a model bundle (needs [train]).",
    "model": "Look into a model bundle, and make smaller ones (needs [train]).",
    "completion": "Print the script that completes aei's commands in your shell.",
}


class LazyGroup(click.Group):
    """A group whose commands live in `aei.cli.<name>` and are imported on use, so that `aei --help`
    and small commands start at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command = importlib.import_module(f"aei.cli.{name}").command
        for one in command.commands.values() if isinstance(command, click.Group) else [command]:
            if not any(option.name == "quiet" for option in one.params):
                one.params += output.common_options()
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]):
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            hint = f"did you mean `aei {near[0]}`?" if near else "`aei --help` lists them"
            ctx.fail(f"no such command: {args[0]}; {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """The version; behind it the core that works here (native or NumPy) and its instruction set."""
    if not value or ctx.resilient_parsing:
        return
    from .. import codec
    from ..codec.exact.native import describe

    click.echo(f"aei, version {codec.__version__} (core: {describe()})")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=print_version,
    help="Show the version and which core does the exact arithmetic, and exit.",
)  # fmt: skip
def cli() -> None:
    """A learned image codec: photographs in, small .aei files out, and back.

    \b
    Examples:
      aei encode photo.png                 writes photo.aei
      aei encode photo.jpg -q 30 -o s.aei
      aei encode photos/ -o small/ --recursive
      aei decode photo.aei -o back.png
      aei info photo.aei --check
    """


def process() -> None:
    """Entry point of a process that is this command and nothing else: `main`, and then no more of
    Python's end than others have asked for. Taking apart all that was imported, module by module,
    is a thirtieth of a short command."""
    code: list[int] = []
    # What is registered first is called last: threads have ended by then, other exits were called.
    atexit.register(_leave, code)
    try:
        main()
    except SystemExit as end:
        if isinstance(end.code, int):
            code.append(end.code)
        raise


def _leave(code: list[int]) -> None:
    """End the process here, unless it ends by an error that Python has to say something about."""
    if not code:
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            stream.flush()
    os._exit(code[0] & 0xFF)


def main() -> None:
    """Run the command: mistakes and bad files end in one sentence and exit code 1, not in a
    traceback."""
    # What a command imports and loads lives as long as it does: looking for garbage in it, every
    # 700 objects as Python does, is a twentieth of a start.
    gc.set_threshold(20_000, 10, 10)
    _settle_streams()
    _end_on_sigterm()
    output.reset()
    code = _run()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone: quiet, but no success
        code = code or 1
        _forget_stdout()
    except OSError as error:
        output.complain(f"stdout: {error.strerror or error}", type(error).__name__)
        code = code or 1
        _forget_stdout()
    sys.exit(code)


def _run() -> int:
    """Run the command that was named; its exit code."""
    from ..formats import AeiError

    # what Pillow thinks of damaged metadata is said by us, in a sentence
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        if any("\0" in argument for argument in sys.argv):
            raise AeiError("an argument holds a zero byte, which is in no name of a file")
        return cli.main(standalone_mode=False) or 0  # the code of Exit, if a command raised it
    except click.exceptions.Abort:
        output.complain("interrupted", "Interrupt")
        return 130
    except click.ClickException as error:
        if output.MODE.json:
            output.complain(error.format_message(), "UsageError")
        else:
            error.show()
        return error.exit_code
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except AeiError as error:
        output.complain(output.advised(str(error), error.reason), type(error).__name__)
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        output.complain(f"{name}{error.strerror or error}", type(error).__name__)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            _forget_stdout()  # what is left in its buffer fails again when Python ends
    except ImportError as error:
        output.complain(
            f"{error.name or error} is not installed{_extra(error.name)}", "ImportError"
        )
    return 1


def _settle_streams() -> None:
    """Give file descriptors 0 to 2 that are closed to the null device: else the next file that is
    opened has their number, and what is said on stderr lands in it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
                if null != number:
                    os.dup2(null, number)
                    os.close(null)
            setattr(sys, name, None)  # as it is: commands say so where they need it
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  for as long as the process runs


def _end_on_sigterm() -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does: files half written go."""

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # the end has begun
        raise SystemExit(128 + number)

    with contextlib.suppress(ValueError):  # not in the main thread
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # no nohup
                signal.signal(number, end)


def _forget_stdout() -> None:
    """Let what is left for stdout go to the null device when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _extra(module: str | None) -> str:
    train = {"torch", "pytorch_optimizer", "pytorch_msssim", "onnx"}
    bench = {"matplotlib", "bjontegaard", "scipy"}
    serve = {"starlette", "uvicorn", "prometheus_client"}
    extras = {"train": train, "bench": bench, "serve": serve, "ray": {"ray"},
              "manifest": {"fsspec", "pyarrow"}}  # fmt: skip
    from ..codec.settings import install

    for extra, names in extras.items():
        if module in names:
            return f": {install(extra)}"
    return ""


if __name__ == "__main__":
    process()
