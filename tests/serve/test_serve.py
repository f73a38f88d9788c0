"""Pictures over HTTP: formats, sizes, caches, what is refused, what is kept out."""

import io
import os
import threading
import time

import numpy as np
import pytest
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("starlette", reason="needs the [serve] extra")
pytest.importorskip("prometheus_client", reason="needs the [serve] extra")
pytest.importorskip("httpx", reason="needs httpx, for the client of the tests")

from aei import codec as face
from aei.serve import negotiate, render
from aei.serve.app import make_app
from aei.serve.settings import ServeSettings
from aei.serve.store import MissingError, find
from starlette.testclient import TestClient

AEI = "image/x-aei"
CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    top = tmp_path_factory.mktemp("pictures")
    photo = synthetic_photo(120, 160)
    (top / "a.aei").write_bytes(face.encode(photo, 60))
    (top / "trip").mkdir()
    Image.fromarray(photo).save(top / "trip" / "b.jpg", quality=95)
    clear = np.dstack([photo, photo[..., :1]])
    (top / "clear.aei").write_bytes(face.encode(clear, 60))
    turned = Image.fromarray(photo)
    turned.getexif()[0x0112] = 6
    turned.save(top / "turned.jpg", exif=turned.getexif(), quality=95)
    (top / "turned.aei").write_bytes(face.encode(Image.open(top / "turned.jpg"), 60))
    (top / "bad.aei").write_bytes((top / "a.aei").read_bytes()[:-4])
    (top / "notes.txt").write_text("not served")
    (top / ".hidden.aei").write_bytes((top / "a.aei").read_bytes())
    (top.parent / "outside.aei").write_bytes((top / "a.aei").read_bytes())
    os.symlink(top.parent / "outside.aei", top / "link.aei")
    os.symlink(top.parent, top / "up")
    return top


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(make_app(ServeSettings(str(folder), uploads=True))) as found:
        yield found


def picture(response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def test_those_who_take_aei_get_the_file_itself(client, folder):
    response = client.get("/images/a.aei", headers={"Accept": f"{AEI},image/*"})
    assert response.headers["content-type"] == AEI
    assert response.content == (folder / "a.aei").read_bytes()
    assert client.get("/images/a", headers={"Accept": AEI}).content == response.content


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (CHROME, "AVIF"),
        ("image/webp,*/*", "WEBP"),
        ("*/*", "JPEG"),
        (None, "JPEG"),
        ("image/*;q=0.5,image/png", "PNG"),
        ("image/avif;q=0,image/webp;q=0.1", "WEBP"),
    ],
)
def test_everyone_else_gets_what_they_show(client, folder, accept, kind):
    headers = {} if accept is None else {"Accept": accept}
    response = client.get("/images/a.aei", headers=headers)
    image = picture(response)
    assert (image.format, image.size) == (kind, (160, 120))
    assert response.headers["vary"] == "Accept"
    wanted = np.asarray(face.decode(folder / "a.aei"), np.float64)
    assert np.abs(np.asarray(image.convert("RGB")) - wanted).mean() < 8


def test_negotiation():
    assert negotiate.chosen("text/html", False) is None
    assert negotiate.chosen("*/*", True) == negotiate.PNG
    assert negotiate.chosen("image/jpeg, image/webp", True) == negotiate.WEBP
    assert negotiate.chosen("image/jpeg", True) is None
    assert negotiate.chosen("image/x-aei;q=nan,image/png;q=0.2", False) == negotiate.PNG
    assert negotiate.chosen("image/x-aei;q=0.5,image/jpeg", False) == negotiate.JPEG
    assert negotiate.chosen(",;;q=,/," * 5000, False) is None


def test_widths_and_regions(client):
    for width, size in ((80, (80, 60)), (33, (33, 25)), (500, (160, 120)), (1, (1, 1))):
        assert picture(client.get(f"/images/a?width={width}")).size == size
        assert picture(client.get(f"/images/trip/b.jpg?width={width}")).size == size
    part = picture(client.get("/images/a?region=16,8,64,32&format=png"))
    whole = picture(client.get("/images/a?format=png"))
    assert np.array_equal(np.asarray(part), np.asarray(whole)[8:40, 16:80])
    assert picture(client.get("/images/a?region=16,8,64,32&width=16")).size == (16, 8)
    assert picture(client.get("/images/trip/b.jpg?region=16,8,64,32")).size == (64, 32)


def test_pictures_are_upright_and_say_nothing_of_their_place(client):
    for name in ("turned.aei", "turned.jpg"):
        image = picture(client.get(f"/images/{name}"))
        assert image.size == (120, 160)
        assert not image.getexif()
        assert picture(client.get(f"/images/{name}?width=40")).size == (40, 53)


def test_transparency_is_kept(client):
    image = picture(client.get("/images/clear", headers={"Accept": "*/*"}))
    assert (image.format, image.mode) == ("PNG", "RGBA")
    assert picture(client.get("/images/clear", headers={"Accept": CHROME})).mode == "RGBA"
    assert client.get("/images/clear?format=jpeg").status_code == 406


def test_originals_become_aei_for_those_who_take_it(client):
    response = client.get("/images/trip/b.jpg?width=64", headers={"Accept": AEI})
    assert response.headers["content-type"] == AEI
    assert face.decode(response.content).size == (64, 48)


def test_caches(client, folder):
    first = client.get("/images/a?width=80")
    assert first.headers["cache-control"] == "public, max-age=3600"
    assert "GMT" in first.headers["last-modified"]
    etag = first.headers["etag"]
    for names in (etag, f'"x", W/{etag}', "*"):
        again = client.get("/images/a?width=80", headers={"If-None-Match": names})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    others = [("?width=81", {}), ("?width=80", {"Accept": "image/webp"}), ("", {})]
    for query, headers in others:
        other = client.get(f"/images/a{query}", headers={"If-None-Match": etag, **headers})
        assert (other.status_code, other.headers["etag"] == etag) == (200, False)
    os.utime(folder / "a.aei", ns=(1, 10**18))
    assert client.get("/images/a?width=80", headers={"If-None-Match": etag}).status_code == 200


def test_head_does_no_work(client, monkeypatch):
    monkeypatch.setattr(render, "render", None)
    response = client.head("/images/a?width=80", headers={"Accept": CHROME})
    assert (response.status_code, response.headers["content-type"]) == (200, "image/avif")
    assert (
        client.get("/images/a?width=80", headers={"Accept": CHROME}).headers["etag"]
        == (response.headers["etag"])
    )


@pytest.mark.parametrize(
    "name",
    ["../outside.aei", "%2e%2e/outside.aei", "..%2foutside.aei", "trip/../../outside.aei",
     "up/outside.aei", "link.aei", "link", ".hidden.aei", ".hidden", "notes.txt", "trip", "",
     "/etc/passwd", "%2fetc%2fpasswd", "a.aei%00.aei", "trip//b.jpg", "..\\outside.aei", "x" * 5000,
     "%ff%fe.aei", "/".join("x" * 60), "nothing"],
)  # fmt: skip
def test_nothing_else_is_served(client, name):
    response = client.get(f"/images/{name}")
    assert response.status_code == 404
    assert response.json()["error"]


@pytest.mark.parametrize("name", ["../outside", "..", "up/outside.aei", "/a.aei", "C:a.aei", "a\0"])
def test_the_store_itself_refuses_them(folder, name):
    with pytest.raises(MissingError):
        find(str(folder), name, 1 << 20)


@pytest.mark.parametrize(
    "query",
    ["width=0", "width=-1", "width=x", "width=", "width=1e3", "width=9999999999", "width=%D9%A1",
     "region=1,2,3", "region=0,0,0,5", "region=0,0,161,5", "region=-1,0,5,5", "region=a,b,c,d",
     "format=gif", "format=", "width=5&width=6", "size=5", "region=999999999,0,1,1"],
)  # fmt: skip
def test_parameters_that_make_no_sense(client, query):
    response = client.get(f"/images/a?{query}")
    assert response.status_code == 400
    assert response.json()["error"]


def test_a_damaged_file_is_the_servers_fault_said_in_a_sentence(client):
    response = client.get("/images/bad")
    assert response.status_code == 422
    assert "bad.aei" in response.json()["error"]
    assert client.get("/images/a", headers={"Accept": "text/html"}).status_code == 406


def test_uploads(client, folder):
    jpeg, aei = (folder / "trip/b.jpg").read_bytes(), (folder / "a.aei").read_bytes()
    made = client.post("/convert", content=jpeg, headers={"Accept": AEI})
    assert face.decode(made.content).size == (160, 120)
    assert made.headers["cache-control"] == "no-store"
    back = picture(client.post("/convert?width=40", content=aei, headers={"Accept": "image/webp"}))
    assert (back.format, back.size) == ("WEBP", (40, 30))
    for body, status in ((b"", 400), (b"text", 415), (jpeg[:3000], 400), (aei[:-3], 400)):
        assert client.post("/convert", content=body).status_code == status
    assert client.get("/convert").status_code == 405


def test_a_thousand_malformed_bodies(client, folder):
    """Each is answered 4xx, or with a picture where it still is one; none with a fault of ours."""
    rng = np.random.default_rng(3)
    good = [(folder / name).read_bytes() for name in ("a.aei", "clear.aei", "trip/b.jpg")]
    counts: dict[int, int] = {}
    for i in range(1000):
        body = bytearray(good[i % 3])
        if i % 2:
            del body[int(rng.integers(1, len(body))) :]
        for _ in range(int(rng.integers(1, 20))):
            body[int(rng.integers(len(body)))] = int(rng.integers(256))
        status = client.post("/convert?width=16", content=bytes(body)).status_code
        counts[status] = counts.get(status, 0) + 1
    assert set(counts) <= {200, 400, 413, 415, 422}, counts
    assert sum(n for status, n in counts.items() if status >= 400) > 600, counts


def test_limits(folder):
    settings = ServeSettings(
        str(folder), uploads=True, pixels=160 * 100, upload_bytes=5000, file_bytes=8000, width=50
    )
    small = TestClient(make_app(settings))
    assert small.get("/images/a").status_code == 413
    assert "Limits" not in small.get("/images/a").json()["error"]
    assert small.get("/images/trip/b.jpg").status_code == 413  # more bytes than a file may have
    assert small.post("/convert", content=b"x" * 5001).status_code == 413
    parts = (b"x" * 1000 for _ in range(9))  # without a length
    assert small.post("/convert", content=parts).status_code == 413
    bomb = io.BytesIO()
    Image.new("L", (4000, 4000)).save(bomb, "JPEG")
    assert (
        TestClient(make_app(ServeSettings(str(folder), True, pixels=1000)))
        .post("/convert", content=bomb.getvalue())
        .status_code
        == 413
    )
    wide = TestClient(make_app(ServeSettings(str(folder), width=50)))
    assert picture(wide.get("/images/a?width=100")).size == (50, 38)


def test_what_takes_too_long_is_given_up_and_what_waits_is_bounded(folder, monkeypatch):
    ended = threading.Event()

    def slow(codec, data, wanted, kind, settings, cancel):
        while not cancel():
            time.sleep(0.01)
        ended.set()
        raise face.LimitError("cancelled")

    monkeypatch.setattr("aei.serve.app.render", slow)
    with TestClient(make_app(ServeSettings(str(folder), seconds=0.3, waiting=1))) as client:
        statuses: list[int] = []

        def ask() -> None:
            statuses.append(client.get("/images/a").status_code)

        threads = [threading.Thread(target=ask) for _ in range(5)]
        start = time.monotonic()
        for thread in threads:
            thread.start()
            time.sleep(0.02)
        for thread in threads:
            thread.join()
        assert statuses == [503] * 5
        assert time.monotonic() - start < 3
        assert ended.wait(2)
        until = time.monotonic() + 5
        text = client.get("/metrics").text
        while "aei_pictures_in_work 0.0" not in text and time.monotonic() < until:
            time.sleep(0.02)
            text = client.get("/metrics").text
        assert "aei_pictures_in_work 0.0" in text
        assert 'aei_cancelled_total{why="busy"}' in text


def test_health_metrics_and_the_document(client):
    assert client.get("/health").json() == {"status": "ok"}
    client.get("/images/a?width=16")
    text = client.get("/metrics").text
    assert 'aei_requests_total{route="images",status="200"}' in text
    assert "aei_request_seconds_bucket" in text
    paths = client.get("/openapi.json").json()["paths"]
    assert set(paths) == {"/images/{name}", "/convert", "/health", "/metrics", "/openapi.json"}


def test_without_uploads_there_is_no_convert(folder):
    client = TestClient(make_app(ServeSettings(str(folder))))
    assert client.post("/convert", content=b"x").status_code == 404
    assert "/convert" not in client.get("/openapi.json").json()["paths"]


def test_settings_travel_in_the_environment(monkeypatch):
    settings = ServeSettings("/x", uploads=True, seconds=1.5)
    monkeypatch.setenv("AEI_SERVE", "")
    settings.to_environment()
    assert ServeSettings.from_environment() == settings
    for wrong in ("", "[]", "{}", "5"):
        monkeypatch.setenv("AEI_SERVE", wrong)
        with pytest.raises(face.AeiError, match="no settings"):
            ServeSettings.from_environment()
