"""Ray on this machine, and an S3 store on loopback that is busy now and then."""

from __future__ import annotations

import http.client
import http.server
import os
import socket
import threading

import pytest

SLOW_DOWN = b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>busy</Message></Error>'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Busy(http.server.BaseHTTPRequestHandler):
    """Hands requests on to a store; every `every`-th is refused, by turns with 503 SlowDown, 500,
    and a closed connection."""

    protocol_version = "HTTP/1.1"
    store, every = ("127.0.0.1", 0), 0
    count = refused = 0
    lock = threading.Lock()

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with Busy.lock:
            Busy.count += 1
            bad = Busy.every and Busy.count % Busy.every == 0
            kind = Busy.refused % 3
            Busy.refused += bool(bad)
        if bad and kind == 2:
            self.close_connection = True
            self.connection.close()
        elif bad:
            self.answer(503 if kind == 0 else 500, {"Content-Type": "application/xml"}, SLOW_DOWN)
        else:
            self.hand_on(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

    def hand_on(self, body: bytes) -> None:
        store = http.client.HTTPConnection(*Busy.store, timeout=60)
        store.request(self.command, self.path, body, dict(self.headers))
        answer = store.getresponse()
        data = answer.read()
        headers = {
            k: v for k, v in answer.getheaders()
            if k.lower() not in ("transfer-encoding", "connection", "date", "server")
        }  # fmt: skip
        self.answer(answer.status, headers, data)
        store.close()

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        if self.command != "HEAD":
            headers = {k: v for k, v in headers.items() if k.lower() != "content-length"}
            headers["Content-Length"] = str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def s3_port():
    """Where the store will listen: told to Ray's processes before they start."""
    port = free_port()
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OPENBLAS_NUM_THREADS": "1",
    }.items():
        patch.setenv(name, value)
    yield port
    patch.undo()


@pytest.fixture(scope="session")
def ray_here(s3_port):
    """Ray on two CPUs of this machine, with a small store of objects, and nothing sent anywhere."""
    if os.name != "posix":
        pytest.skip("Ray's tests are of POSIX systems")
    ray = pytest.importorskip("ray", reason="needs the [ray] extra")
    ray.init(
        num_cpus=2, object_store_memory=300_000_000, include_dashboard=False, log_to_driver=False
    )
    yield ray
    ray.shutdown()


@pytest.fixture(scope="session")
def s3(s3_port):
    """A file system of S3 with a bucket, `pictures`; `Busy.every` says how often it refuses."""
    pytest.importorskip("moto", reason="needs moto, for a store")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    from moto.server import ThreadedMotoServer

    port = free_port()
    moto = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    moto.start()
    Busy.store = "127.0.0.1", port
    server = http.server.ThreadingHTTPServer(("127.0.0.1", s3_port), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    fs = s3fs.S3FileSystem()
    if not fs.exists("pictures"):  # moto keeps one state for all servers of a process
        fs.mkdir("pictures")
    yield fs
    Busy.every = 0
    server.shutdown()
    moto.stop()
