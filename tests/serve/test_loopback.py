"""`aei serve` as it runs: processes, real connections, clients that go away, the OpenAPI document
against the server."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from conftest import synthetic_photo

pytest.importorskip("uvicorn", reason="needs the [serve] extra")
pytest.importorskip("prometheus_client", reason="needs the [serve] extra")

from aei import codec as face

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("pictures")
    (top / "a.aei").write_bytes(face.encode(synthetic_photo(60, 80), 60))
    (top / "large.aei").write_bytes(face.encode(synthetic_photo(1200, 1600), 60, effort=0))
    return top


class Server:
    """`aei serve` on a free port."""

    def __init__(self, folder, *options):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [sys.executable, "-m", "aei.cli.main", "serve", str(folder), "--port"]
        self.process = subprocess.Popen([*command, str(self.port), *options])
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                if self.get("/health")[0] == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError("the server did not start")

    def get(self, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def count(self, name: str) -> float:
        """A counter of /metrics, all labels together."""
        text = self.get("/metrics")[1].decode()
        return sum(
            float(n) for n in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@pytest.fixture(scope="module")
def server(folder):
    running = Server(folder, "--uploads", "--jobs", "1")
    yield running
    running.stop()


def test_clients_that_go_away_are_noticed(server):
    """Their pictures are given up, and the next one is served at once."""
    before = server.count("aei_cancelled_total")
    gone = []
    for _ in range(4):
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(b"GET /images/large?format=png HTTP/1.1\r\nHost: x\r\n\r\n")
        gone.append(client)
    time.sleep(0.3)
    for client in gone:
        client.close()
    until = time.monotonic() + SECONDS
    while server.count("aei_cancelled_total") < before + 4 and time.monotonic() < until:
        time.sleep(0.1)
    assert server.count("aei_cancelled_total") >= before + 4
    assert server.get("/images/a")[0] == 200
    assert server.count("aei_requests_waiting") == 0


def test_odd_requests(server):
    """What no HTTP library sends."""
    for text in (
        b"GET /images/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /images/a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /images/a HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01 no HTTP at all\r\n\r\n",
        b"POST /convert HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nx",
        b"POST /convert HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx",
        b"GET /images/a HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as client:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            try:
                answer = client.recv(100)
            except ConnectionResetError:
                answer = b""
        assert re.match(rb"HTTP/1\.1 4\d\d |$", answer), (text[:60], answer)
    assert server.get("/health")[0] == 200


def test_workers_share_their_counters_and_end_together(folder):
    running = Server(folder, "--workers", "2")
    try:
        for _ in range(10):
            assert running.get("/images/a?width=16")[0] == 200
        text = running.get("/metrics")[1].decode()
        assert 'aei_requests_total{route="images",status="200"} 10.0' in text
    finally:
        assert running.stop() in (0, 128 + signal.SIGTERM, -signal.SIGTERM)


def test_workers_answer_at_once(folder):
    """Without TCP_NODELAY on the sockets of workers each answer but the first few waits 40 ms for
    an acknowledgement, on a connection that is kept."""
    running = Server(folder, "--workers", "2")
    try:
        client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=SECONDS)
        took = []
        for _ in range(40):
            start = time.perf_counter()
            client.request("GET", "/images/a", headers={"Accept": "image/x-aei"})
            assert client.getresponse().read()[:4] == (folder / "a.aei").read_bytes()[:4]
            took.append(time.perf_counter() - start)
        client.close()
        assert sorted(took)[10] < 0.035  # a busy machine makes some slow all the same
    finally:
        running.stop()


def test_a_folder_that_is_none(tmp_path, run_aei):
    result = run_aei("serve", tmp_path / "nothing")
    assert result.code == 1
    assert "no folder" in result.err


def test_the_document_against_the_server(folder):
    """Whatever the document allows is answered as it says; nothing is a fault of the server."""
    schemathesis = pytest.importorskip("schemathesis")
    from aei.serve.app import make_app
    from aei.serve.settings import ServeSettings
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.strategies import booleans
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    app = make_app(ServeSettings(str(folder), uploads=True))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    quick = settings(
        max_examples=15, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate], derandomize=True,
    )  # fmt: skip
    for found in schema.get_all_operations():
        operation = found.ok()
        wrong = "{name}" in operation.path or operation.path == "/convert"  # what can be wrong
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)[: 1 + wrong]:

            @quick
            @given(case=operation.as_strategy(generation_mode=mode), real=booleans())
            def answers(case, real):
                if real and "name" in case.path_parameters:
                    case.path_parameters["name"] = "a"
                # a body of any bytes suits the document, and is not any picture
                case.call_and_validate(excluded_checks=[positive_data_acceptance])

            answers()
