"""Pictures are made in threads, as many at a time as there are processors for; others wait for
their turn, and no longer than a request may take."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from .metrics import Metrics
from .render import stopper

if TYPE_CHECKING:
    from starlette.requests import Request

Out = TypeVar("Out")


class BusyError(Exception):
    """Too many requests wait already, or this one has waited too long."""


class GoneError(Exception):
    """The client has closed its connection."""


class Workers:
    """jobs: pictures at a time; waiting: requests beside those; seconds: for one request."""

    def __init__(self, jobs: int, waiting: int, seconds: float, metrics: Metrics):
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="picture")
        self._free = asyncio.Semaphore(jobs)
        self._most, self._seconds, self._metrics = waiting, seconds, metrics
        self._waiting = 0

    async def run(
        self, request: Request, work: Callable[[Callable[[], bool]], Out], started: float
    ) -> Out:
        """What `work` gives. It is called in a thread, with a function that says True once the
        client has gone or the time since `started` (time.monotonic()) is over.

        Raises BusyError, GoneError, and what `work` raises.
        """
        until = started + self._seconds
        event = threading.Event()
        if self._waiting >= self._most:
            self._metrics.gone.labels("busy").inc()
            raise BusyError("too many requests wait already")
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await self._turn(gone, until)
            try:
                loop = asyncio.get_running_loop()
                task = loop.run_in_executor(self._pool, work, stopper(event, until))
                # a thread that still works holds its place, whether anyone waits for it or not
                task.add_done_callback(lambda done: self._done(done))
            except BaseException:
                self._done(None)
                raise
            await self._either(task, gone, until, event)
            return task.result()
        finally:
            event.set()
            gone.cancel()

    async def _turn(self, gone: asyncio.Future[None], until: float) -> None:
        self._waiting += 1
        self._metrics.waiting.inc()
        turn = asyncio.ensure_future(self._free.acquire())
        try:
            either: set[asyncio.Future[Any]] = {turn, gone}
            await asyncio.wait(
                either, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
            )
            if not turn.done() or gone.done():
                if turn.done():
                    self._free.release()
                self._give_up(gone)
            self._metrics.working.inc()
        finally:
            self._waiting -= 1
            self._metrics.waiting.dec()
            if not turn.done():
                turn.cancel()

    def _done(self, task: asyncio.Future[Any] | None) -> None:
        self._metrics.working.dec()
        self._free.release()
        if task is not None and not task.cancelled():
            task.exception()  # seen, where nobody waits any more

    async def _either(
        self,
        task: asyncio.Future[Any],
        gone: asyncio.Future[None],
        until: float,
        event: threading.Event,
    ) -> None:
        either: set[asyncio.Future[Any]] = {task, gone}
        await asyncio.wait(
            either, timeout=until - time.monotonic(), return_when=asyncio.FIRST_COMPLETED
        )
        if not task.done():
            event.set()
            self._give_up(gone)

    def _give_up(self, gone: asyncio.Future[None]) -> None:
        if gone.done():
            self._metrics.gone.labels("gone").inc()
            raise GoneError
        self._metrics.gone.labels("slow").inc()
        raise BusyError("it took too long")


async def _disconnected(request: Request) -> None:
    """Ends when the client goes away; the body has been read before."""
    receive: Callable[[], Awaitable[Any]] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass
