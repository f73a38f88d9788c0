"""ONNX Runtime: the one place that imports it and opens its sessions.

It comes with the extra `effort`. Decoding, and encoding at efforts 0 and 1, need none.

It is imported without its telemetry, which from release 1.29 on keeps a database and a device id
under `~/.cache`, queues events and looks up a host: `ORT_DISABLE_TELEMETRY` is read when the module
is imported, and calls made later come too late. A value that the user has set is left as it is.

Sessions have threads, which a forked child does not inherit: running one there, or only giving it
back, waits for them for ever. So a child leaves its parent's sessions alone and opens its own when
it needs them.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from pathlib import Path
from typing import Any

from ...formats import ModelError, UnsupportedError
from ..forks import Lock
from ..settings import install
from .parts import check_parts

MISSING = (
    "efforts from 2 on, restoration and models without integer transforms need ONNX Runtime: "
    + install("effort")
)
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"

_lock = Lock()
_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def onnxruntime() -> Any:
    """The module, imported without telemetry. Raises UnsupportedError where it is not installed."""
    with _lock:
        os.environ.setdefault(NO_TELEMETRY, "1")
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise UnsupportedError(MISSING if error.name == "onnxruntime" else str(error)) from None
        return ort


class Session:
    """A graph to run on the CPU, opened when it is first needed. Safe to use from several threads,
    and after a fork.

    threads: by default one per core; what: the graph is, for people. Its methods raise ModelError
    where it cannot be loaded.
    """

    def __init__(self, file: Path, threads: int | None, what: str):
        self.file, self.threads, self.what = file, threads, what
        self._session: Any = None
        _sessions.add(self)

    def opened(self) -> Any:
        """The session of ONNX Runtime."""
        session = self._session
        if session is None:
            with _lock:
                if self._session is None:
                    self._session = _open(self.file, self.threads, self.what)
                session = self._session
        return session

    def get_inputs(self) -> list:
        """Descriptions of the graph's inputs, with `name` and `shape`."""
        return self.opened().get_inputs()

    def run(self, outputs: list[str] | None, inputs: dict, options: Any = None) -> list:
        """Arrays of the outputs named, by default of all."""
        session = self.opened()
        try:
            return session.run(outputs, inputs, options)
        except MemoryError:
            raise
        except Exception as error:  # whatever the library raises at a graph of another kind
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ModelError(f"{self.file}: the {self.what} cannot be run ({said})") from None

    def abandon(self) -> None:
        """Forget the session without giving it back: its threads are not there."""
        if self._session is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._session))
            inner = getattr(self._session, "_sess", None)
            if inner is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(inner))
            self._session = None


def _open(file: Path, threads: int | None, what: str) -> Any:
    check_parts(file.parent, file.name)
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is wrong comes as an exception too
    options.intra_op_num_threads = threads or 0
    # Threads that wait for the next run in a loop take the cores from another session's, and from
    # NumPy's: g_s and its end took 107 ms one after the other instead of 54.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the library raises at a bad file
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{file}: the {what} cannot be loaded ({said})") from None


def _after_fork() -> None:
    for session in list(_sessions):
        session.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
