"""The ASGI application: `make_app(ServeSettings(folder))` for any server, `aei serve` with
uvicorn."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from ..codec.api import Codec
from ..formats import AeiError, LimitError, UnsupportedError
from ..formats.errors import shown
from .metrics import Metrics
from .negotiate import AEI, BY_NAME, chosen
from .openapi import document
from .render import Wanted, has_alpha, render
from .settings import ServeSettings
from .store import MissingError, Stored, find
from .work import BusyError, GoneError, Workers

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

ETAG_VERSION = b"1"  # of how answers are made: another one lets caches forget
RETRY_AFTER = "2"  # seconds
PARAMETERS = {"width", "region", "format"}
NUMBER = re.compile(r"[0-9]{1,9}")
GONE = 499  # for logs: nobody reads the answer


class _Refused(Exception):
    """An answer that is an error: its status and one sentence."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def make_app(settings: ServeSettings) -> Starlette:
    """The application of a folder; nothing is loaded before the first request."""
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    server = _Server(settings)
    routes = [
        Route("/images/{name:path}", server.counted("images", server.image), methods=["GET"]),
        Route("/health", server.counted("health", server.health), methods=["GET"]),
        Route("/metrics", server.counted("metrics", server.prometheus), methods=["GET"]),
        Route("/openapi.json", server.counted("openapi", server.openapi), methods=["GET"]),
    ]
    if settings.uploads:
        routes.append(
            Route("/convert", server.counted("convert", server.convert), methods=["POST"])
        )
    return Starlette(routes=routes, exception_handlers={HTTPException: _unrouted})


async def _unrouted(request: Request, error: Exception) -> Response:
    """No such address, or another method."""
    status = getattr(error, "status_code", 404)
    return _error(status, getattr(error, "detail", ""), getattr(error, "headers", None) or {})


def from_environment() -> Starlette:
    """The application of the settings that `aei serve` leaves to its worker processes."""
    return make_app(ServeSettings.from_environment())


class _Server:
    def __init__(self, settings: ServeSettings):
        self._settings = settings
        self._codec = Codec(threads=1)
        self._metrics = Metrics()

    @functools.cached_property
    def _workers(self) -> Workers:
        s = self._settings
        return Workers(s.jobs, s.waiting, s.seconds, self._metrics)

    def counted(
        self, route: str, handler: Callable[[Request], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """A handler whose errors become answers, and whose answers are counted."""

        async def answer(request: Request) -> Response:
            start = time.perf_counter()
            response = await self._answered(handler, request)
            response.headers["X-Content-Type-Options"] = "nosniff"
            self._metrics.requests.labels(route, str(response.status_code)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
            if request.method != "HEAD":
                kind = response.headers.get("content-type", "").partition(";")[0]
                self._metrics.sent.labels(kind).inc(len(response.body))
            return response

        return answer

    async def _answered(
        self, handler: Callable[[Request], Awaitable[Response]], request: Request
    ) -> Response:
        try:
            return await handler(request)
        except _Refused as error:
            return _error(error.status, str(error))
        except MissingError as error:
            return _error(404, str(error))
        except BusyError as error:
            return _error(503, f"{error}: try again later", {"Retry-After": RETRY_AFTER})
        except GoneError:
            return _error(GONE, "the client has gone")
        except MemoryError:
            return _error(503, "not enough memory for this picture", {"Retry-After": RETRY_AFTER})

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def prometheus(self, request: Request) -> Response:
        from starlette.responses import Response

        text, kind = self._metrics.text()
        return Response(text, headers={"Content-Type": kind, "Cache-Control": "no-store"})

    async def openapi(self, request: Request) -> Response:
        return _json(document(self._settings))

    async def image(self, request: Request) -> Response:
        """GET and HEAD of a picture of the folder."""
        from starlette.responses import Response

        started = time.monotonic()
        wanted, named = _asked(request, self._settings.width)
        most = self._settings.file_bytes
        try:
            stored = await asyncio.to_thread(
                find, self._settings.folder, request.path_params["name"], most
            )
        except MissingError:
            raise
        except AeiError as error:
            raise _Refused(413, str(error)) from None
        try:
            alpha = await asyncio.to_thread(has_alpha, stored.data)
        except AeiError as error:
            status = 413 if isinstance(error, LimitError) else 422
            raise _Refused(status, _fault(stored.name, error)) from None
        kind = _kind(request, named, alpha)
        headers = self._headers(stored, wanted, kind)
        if _matches(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if request.method == "HEAD":
            return Response(headers={**headers, "Content-Type": kind})
        body = await self._rendered(request, stored.data, wanted, kind, started, stored.name)
        return Response(body, headers=headers, media_type=kind)

    async def convert(self, request: Request) -> Response:
        """POST of a picture, for another format or size; nothing is kept."""
        from starlette.responses import Response

        started = time.monotonic()
        wanted, named = _asked(request, self._settings.width)
        data = await _body(request, self._settings.upload_bytes, self._settings.seconds)
        try:
            alpha = await asyncio.to_thread(has_alpha, data)
        except UnsupportedError as error:
            raise _Refused(415, str(error)) from None
        except LimitError as error:
            raise _Refused(413, str(error)) from None
        except AeiError as error:
            raise _Refused(400, str(error)) from None
        kind = _kind(request, named, alpha)
        body = await self._rendered(request, data, wanted, kind, started)
        return Response(body, headers={"Cache-Control": "no-store"}, media_type=kind)

    async def _rendered(
        self,
        request: Request,
        data: bytes,
        wanted: Wanted,
        kind: str,
        started: float,
        name: str = "",
    ) -> bytes:
        """The bytes of the answer. name: of the file on the server, whose faults are not the
        client's; without, of an upload."""
        if kind == AEI and wanted.whole and name.endswith(".aei"):
            return data

        def work(cancel: Callable[[], bool]) -> bytes:
            return render(self._codec, data, wanted, kind, self._settings, cancel)

        try:
            return await self._workers.run(request, work, started)
        except LimitError as error:
            if time.monotonic() - started > self._settings.seconds:
                raise BusyError("it took too long") from None
            raise _Refused(413, _fault(name, error)) from None
        except UnsupportedError as error:
            raise _Refused(400, str(error)) from None
        except AeiError as error:
            raise _Refused(422 if name else 400, _fault(name, error)) from None

    def _headers(self, stored: Stored, wanted: Wanted, kind: str) -> dict[str, str]:
        s = self._settings
        identity = [stored.name, stored.size, stored.changed, stored.inode, wanted.width,
                    wanted.region, kind, s.quality, s.lossy]  # fmt: skip
        digest = hashlib.sha256(ETAG_VERSION + repr(identity).encode("utf-8", "replace"))
        return {
            "ETag": f'"{digest.hexdigest()[:32]}"',
            "Cache-Control": f"public, max-age={s.max_age}",
            "Last-Modified": formatdate(stored.changed // 10**9, usegmt=True),
            "Vary": "Accept",
        }


def _fault(name: str, error: AeiError) -> str:
    """An error as a client may read it: without what a program could do about a limit."""
    text = str(error).partition("; raise Limits")[0]
    return f"{shown(name)}: {text}" if name else text


def _asked(request: Request, most_width: int) -> tuple[Wanted, str | None]:
    """What the query wants, and the format it names. Raises _Refused."""
    query = request.query_params
    names = [name for name, _ in query.multi_items()]
    if unknown := set(names) - PARAMETERS:
        raise _Refused(400, f"no such parameter: {shown(min(unknown))}")
    if len(names) != len(set(names)):
        raise _Refused(400, "a parameter is given twice")
    width = region = None
    if "width" in query:
        if not NUMBER.fullmatch(query["width"]) or int(query["width"]) < 1:
            raise _Refused(400, "width: a whole number of pixels from 1 on")
        width = min(int(query["width"]), most_width)
    if "region" in query:
        numbers = query["region"].split(",")
        if len(numbers) != 4 or not all(NUMBER.fullmatch(n) for n in numbers):
            raise _Refused(400, "region: four numbers with commas, left,top,width,height")
        left, top, across, down = map(int, numbers)
        if not across or not down:
            raise _Refused(400, "region: its width and height are 1 or more")
        region = left, top, across, down
    named = query.get("format")
    if named is not None and named not in BY_NAME:
        raise _Refused(400, f"format: choose {', '.join(BY_NAME)}")
    return Wanted(width, region), named


def _kind(request: Request, named: str | None, alpha: bool) -> str:
    """The media type to answer with. Raises _Refused."""
    if named is not None:
        if named == "jpeg" and alpha:
            raise _Refused(406, "the picture has transparency, which JPEG has not: choose webp")
        return BY_NAME[named]
    accept = ",".join(request.headers.getlist("accept")) or None
    kind = chosen(accept, alpha)
    if kind is None:
        raise _Refused(406, f"none of the accepted formats can be made: {', '.join(BY_NAME)}")
    return kind


async def _body(request: Request, most: int, seconds: float) -> bytes:
    """The body of a request. Raises _Refused for one that is too large, empty or too slow."""
    from starlette.requests import ClientDisconnect

    told = request.headers.get("content-length", "")
    if (NUMBER.fullmatch(told) and int(told) > most) or len(told) > 9:
        raise _Refused(413, f"the body is larger than {most} bytes")
    data = bytearray()

    async def read() -> None:
        async for part in request.stream():
            data.extend(part)
            if len(data) > most:
                raise _Refused(413, f"the body is larger than {most} bytes")

    try:
        await asyncio.wait_for(read(), seconds)
    except asyncio.TimeoutError:
        raise _Refused(408, "the body did not come in time") from None
    except ClientDisconnect:
        raise GoneError from None
    if not data:
        raise _Refused(400, "the body is empty: send a picture")
    return bytes(data)


def _matches(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names this version."""
    if header is None:
        return False
    named = {part.strip().removeprefix("W/") for part in header.split(",")}
    return etag in named or "*" in named


def _json(value: Any) -> Response:
    from starlette.responses import Response

    body = json.dumps(value).encode()
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _error(status: int, message: str, headers: Mapping[str, str] = {}) -> Response:
    response = _json({"error": message})
    response.status_code = status
    for name, value in headers.items():
        response.headers[name] = value
    return response
