"""Everything that can go wrong with an image or a file, under one base class."""


class AeiError(Exception):
    """Base of all errors that aei raises on purpose; the message is one sentence for a person.

    reason: a word for what programs can do something about, else empty: `exists` (an output does),
    `clash` (two inputs have one output), `input` (the output is the input), `pipe` (an input is no
    regular file), `model` (another one is needed), `metadata` (too much of it), `large` (an image
    is), `restorer` (a bundle is none), `convert` (an image is no 8-bit RGB or grey), `frames` (it
    has several), `tiles` (some are damaged, the others can be had).
    """

    def __init__(self, *args: object, reason: str = "") -> None:
        super().__init__(*args)
        self.reason = reason


class NotAnAeiFileError(AeiError):
    """The data does not begin with the .aei signature."""


class DamagedFileError(AeiError):
    """The data began as an .aei file but is truncated, corrupt or inconsistent."""


class UnsupportedError(AeiError):
    """A well-formed request or file that this release cannot serve (version, size, image mode)."""


class LimitError(AeiError):
    """The file asks for more pixels or memory than the caller's Limits allow."""


class UnknownModelError(AeiError):
    """The file was written with a model that is not installed."""


class ModelError(AeiError):
    """A model bundle is missing, damaged, or fails its known-answer test on this machine."""


def shown(name: object) -> str:
    """A file name fit for a message: control characters and undecodable bytes escaped, so that it
    stays on its line and cannot steer the terminal."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(name)
    )
