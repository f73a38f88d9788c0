"""A server for pages under test: folders, made-up files, and a place that pages post results to."""

from __future__ import annotations

import json
import mimetypes
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Site:
    """folders: by the beginning of a path; files: bytes by path; headers: sent with everything."""

    def __init__(self, folders: dict[str, Path], files: dict[str, bytes], headers: dict[str, str]):
        self.folders, self.files, self.headers = folders, files, headers
        self.reports: queue.Queue = queue.Queue()
        self.asked: list[str] = []
        self.address = ""

    def content(self, path: str) -> bytes | None:
        if path in self.files:
            return self.files[path]
        for start, folder in self.folders.items():
            file = folder / path.removeprefix(start)
            if path.startswith(start) and file.is_file():
                return file.read_bytes()
        return None

    def report(self, timeout: float = 240) -> dict:
        """What a page posts next."""
        return self.reports.get(timeout=timeout)


@contextmanager
def serve(
    folders: dict[str, Path], files: dict[str, bytes] | None = None, headers: dict | None = None
) -> Iterator[Site]:
    """A site on this machine."""
    site = Site(folders, files or {}, headers or {})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            site.asked.append(path)
            content = site.content(path)
            self.send_response(404 if content is None else 200)
            kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
            self.send_header("content-type", "text/javascript" if path.endswith(".mjs") else kind)
            self.send_header("content-length", str(len(content or b"")))
            for name, value in site.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            site.reports.put(json.loads(body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
