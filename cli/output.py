"""What every command says and how: -v, --quiet, --json, and the logging module behind them.

Results for machines go to stdout, words for people to stderr, so that both can be had at once.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import dataclass
from typing import TextIO

import click

WORKER = "aei: "  # as in codec.files.batch, which loads more than a command may


@dataclass
class Mode:
    """What the user asked for. verbose: 0, 1 (-v) or more. results: where results go while stdout
    is another's."""

    verbose: int = 0
    quiet: bool = False
    json: bool = False
    results: TextIO | None = None


MODE = Mode()


class _Handler(logging.Handler):
    """To today's sys.stderr, which a progress bar replaces while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        thread = record.threadName or ""
        if thread.startswith(WORKER):  # one of many files
            message = f"{thread.removeprefix(WORKER)}: {message}"
        if MODE.json:
            line = json.dumps({"log": record.levelname.lower(), "message": message})
        else:
            line = f"aei: {message}"
        print(line, file=sys.stderr)


def reset() -> None:
    """Back to what no option at all means."""
    MODE.verbose, MODE.quiet, MODE.json = 0, False, False
    configure()


def configure() -> None:
    """Send the log of aei to stderr: warnings, more with -v (INFO) and -vv (DEBUG), errors only
    with --quiet."""
    log = logging.getLogger("aei")
    if not any(isinstance(handler, _Handler) for handler in log.handlers):
        log.addHandler(_Handler())
        log.propagate = False
    if MODE.quiet:
        log.setLevel(logging.ERROR)
    else:
        log.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(MODE.verbose, 2)])


def _set(context: click.Context, option: click.Parameter, value: int | bool) -> None:
    if value:
        setattr(MODE, str(option.name), value)
        configure()


def common_options() -> list[click.Option]:
    """Options that every command has."""
    return [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            is_eager=True,
            callback=_set,
            help="Say more; -vv for everything.",
        ),
        click.Option(
            ["--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set,
            help="Say nothing but errors.",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_set,
            help="Results as JSON, one object a line, on stdout; messages too on stderr.",
        ),
    ]


def emit(**facts: object) -> None:
    """One JSON object on a line of stdout, with --json only."""
    if MODE.json:
        print(json.dumps(facts), flush=True, file=MODE.results or sys.stdout)


def say(text: str) -> None:
    """A result in words on stdout; nothing with --json or --quiet."""
    if not MODE.json and not MODE.quiet:
        click.echo(text)


def tell(text: str) -> None:
    """News in words on stderr; nothing with --json or --quiet."""
    if not MODE.json and not MODE.quiet:
        click.echo(text, err=True)


# What a user can do about an error, by its reason (see AeiError): the library names no options.
ADVICE = {
    "exists": "choose another name with -o, or --force to replace it",
    "filled": "choose another name with -o, or --force to replace what is in it",
    "clash": "--keep-extension names them apart",
    "input": "name another folder with -o",
    "pipe": "pipe it in with -",
    "model": "--model takes the folder of the bundle that it needs",
    "metadata": "--strip leaves metadata out",
    "large": "decode a --region of it and look at that",
    "convert": "--convert makes 8-bit RGB or grey of it",
    "frames": "--first-frame takes the first, --all-frames each as a file of its own",
    "tiles": "`aei decode --salvage` decodes the others",
    "restorer": "`aei export` makes one of a run with --restore",
}
OF_MANY = {"exists": "--skip-existing leaves it, --force replaces it"}


def advised(message: str, reason: str, many: bool = False) -> str:
    """An error's sentence, with what its user can do about it. many: it is one of many files."""
    advice = (many and OF_MANY.get(reason)) or ADVICE.get(reason)
    return f"{message}: {advice}" if advice else message


def complain(message: str, kind: str = "error") -> None:
    """The one line of an error, on stderr, whatever was asked for."""
    if MODE.json:
        print(json.dumps({"error": message, "kind": kind}), file=sys.stderr)
    else:
        from ..formats.errors import shown

        print(f"aei: {shown(message)}", file=sys.stderr)
