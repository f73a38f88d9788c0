"""web/ in Chromium and Firefox: exact pixels, the element, upgraded images, the service worker."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aei.codec import Codec
from aei.formats import parse
from aei.formats.sections import FILTER
from browsers import NAMES, command_of, opened
from PIL import Image, ImageCms
from serving import serve
from web_fixtures import dist, models, photographs

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
if not WEB.is_dir():
    pytest.skip("needs the source tree", allow_module_level=True)
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
import golden_files

# What the guide asks pages to allow, and no more.
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self' blob:; connect-src 'self' blob:; img-src 'self' blob:; style-src 'self' "
    "'unsafe-inline'"
}
STRICT = {
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
    "worker-src 'self'; connect-src 'self'"
}
EXACT = {name: facts for name, facts in golden_files.FACTS.items() if "pixels_sha256" in facts}


@pytest.fixture(scope="module", params=NAMES)
def browser(request) -> str:
    command_of(request.param)
    return request.param


@pytest.fixture(scope="module")
def folders(models, dist) -> dict[str, Path]:
    return {
        "/dist/": dist, "/models/": models, "/golden/": golden_files.GOLDEN,
        "/": WEB / "test",
    }  # fmt: skip


def report(browser: str, folders: dict, page: str, files: dict, headers: dict) -> dict:
    with serve(folders, files, headers) as site, opened(browser, site.address + page):
        return site.report()


def decoded(
    browser: str, folders: dict, cases: list, files: dict, headers: dict, **options
) -> dict:
    """What browser.mjs says of cases: verdicts by name."""
    asked = json.dumps({"cases": cases, "options": options}).encode()
    said = report(browser, folders, "/browser.html", files | {"/cases.json": asked}, headers)
    assert "results" in said, said
    return {result["name"]: result for result in said["results"]}


def golden_cases() -> list[dict]:
    return [{"name": n, "url": f"/golden/{n}.aei", "mode": f["mode"]} for n, f in EXACT.items()]


def test_golden_files_have_the_pixels_of_their_manifest(browser, folders):
    found = decoded(browser, folders, golden_cases(), {}, POLICY)
    for name, facts in EXACT.items():
        assert found[name].get("pixels") == facts["pixels_sha256"], found[name]


def test_golden_files_have_the_latents_of_their_manifest(browser, folders):
    cases = [{"name": n, "url": f"/golden/{n}.aei", "latents": True} for n in golden_files.FACTS]
    found = decoded(browser, folders, cases, {}, POLICY)
    for name, facts in golden_files.FACTS.items():
        assert found[name].get("latents") == facts["latents_sha256"], found[name]


def test_photographs_have_the_latents_of_python(browser, folders, photographs):
    files = {f"/files/{name}.aei": data for name, data in photographs.items()}
    cases = [{"name": n, "url": f"/files/{n}.aei", "latents": True} for n in photographs]
    found, codec = decoded(browser, folders, cases, files, POLICY), Codec(threads=2)
    for name, data in photographs.items():
        assert found[name].get("latents") == codec.latents_sha256(data), found[name]


def test_photographs_have_the_pixels_of_python(browser, folders, photographs):
    files = {f"/files/{name}.aei": data for name, data in photographs.items()}
    cases = [{"name": n, "url": f"/files/{n}.aei", "mode": "RGB"} for n in photographs]
    found, codec = decoded(browser, folders, cases, files, POLICY, workers=2), Codec(threads=2)
    for name, data in photographs.items():
        assert found[name].get("pixels") == codec.pixels_sha256(data), found[name]


def test_a_policy_without_blobs_does_with_a_worker_of_the_site(browser, folders):
    found = decoded(browser, folders, golden_cases()[:4], {}, STRICT, workerUrl="/dist/worker.js")
    assert all("pixels" in verdict for verdict in found.values()), found


def test_a_policy_that_forbids_workers_is_said(browser, folders):
    found = decoded(browser, folders, golden_cases()[:2], {}, STRICT)
    for verdict in found.values():
        assert "worker" in verdict["message"], verdict


def picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 2 % 256], 2).astype(np.uint8)


@pytest.fixture(scope="module")
def long_files() -> dict[str, bytes]:
    """Files of several bands: without tiles but with a post-filter; with tiles and alpha."""
    codec = golden_files.codec_of("finish")
    rng = np.random.default_rng(0)
    colour = picture(2600, 150) // 2 + rng.integers(0, 128, (2600, 150, 3), np.uint8)
    alpha = np.broadcast_to(np.arange(2600)[:, None] % 256, (2600, 150)).astype(np.uint8)
    plain = codec.encode(colour[:2000], 70, effort=1, tune="psnr")
    assert FILTER in parse(plain).sections
    tiled = codec.encode(np.dstack([colour, alpha]), 70, tile_side=128)
    return {"plain": plain, "tiled": tiled}


def test_many_bands_make_one_picture(browser, folders, long_files):
    codec, cases, wanted = golden_files.codec_of("finish"), [], {}
    regions = [None, [3, 700, 100, 1100], [8, 16, 140, 1900]]
    for name, data in long_files.items():
        for scale in (1, 2, 8):
            for k, region in enumerate(regions):
                case = {"name": f"{name} {scale} {k}", "scale": scale, "region": region}
                image = codec.decode(data, region=region, scale=scale)
                wanted[case["name"]] = hashlib.sha256(image.tobytes()).hexdigest()
                cases.append(case | {"url": f"/files/{name}.aei", "mode": image.mode})
    files = {f"/files/{name}.aei": data for name, data in long_files.items()}
    found = decoded(browser, folders, cases, files, POLICY, workers=3)
    assert {name: verdict.get("pixels") for name, verdict in found.items()} == wanted


@pytest.fixture(scope="module")
def files(models) -> dict[str, bytes]:
    from aei.codec.pixels.profiles import known_profile

    codec, tiny = Codec(threads=1), golden_files.codec_of("finish")
    photo = tiny.encode(picture(150, 210), 60)
    large = golden_files.read("preview-rgb-alpha-48x340-tiles")
    out = {"start": large[: parse(large).entries[0].start + 40]}
    out |= {"photo": photo, "damaged": photo[:-9], "grey": tiny.encode(picture(40, 50)[..., 0], 60)}
    changed = bytearray(golden_files.read("rgb-17x3"))
    changed[5:9] = b"\1\2\3\4"  # a model that nobody has
    out["unknown"] = bytes(changed[:-4]) + zlib.crc32(changed[:-4]).to_bytes(4, "little")
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        turned = Image.fromarray(picture(30, 46))
        turned.info["exif"] = exif.tobytes()
        out[f"turned-{orientation}"] = tiny.encode(turned, 60)
    rgba = np.dstack([picture(40, 64), np.arange(40 * 64).reshape(40, 64) % 256]).astype(np.uint8)
    out["alpha"] = tiny.encode(Image.fromarray(rgba), 60)
    for name, number in (("p3", 2), ("adobe", 3)):
        flat = Image.fromarray(np.full((48, 64, 3), (200, 90, 60), np.uint8))
        flat.info["icc_profile"] = known_profile(number)
        out[name] = codec.encode(flat, 90)
    sw = b"self.aeiWeights = '/models/'; importScripts('/dist/service-worker.js');"
    png = io.BytesIO()
    Image.new("RGB", (7, 5)).save(png, "PNG")
    found = {f"/files/{name}.aei": data for name, data in out.items()}
    return found | {"/sw.js": sw, "/files/other.png": png.getvalue()}


def in_srgb(data: bytes) -> np.ndarray:
    """The first pixel of a file, by its profile, as sRGB has it."""
    image = Codec(threads=1).decode(data)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    return np.array(ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB")))[0, 0]


@pytest.fixture(scope="module")
def seen(browser, folders, files) -> dict[str, Any]:
    asked = {"/cases.json": b"{}"}
    return report(browser, folders, "/element.html", files | asked, POLICY)


def test_the_element_shows_a_file_as_it_is(seen):
    found = seen["shows"]
    assert found["same"] == 0
    assert found["natural"] == [210, 150] == found["box"]
    assert "210,150" in found["sizes"]
    assert (found["label"], found["role"], found["complete"]) == ("a photograph", "img", True)


def test_the_preview_comes_before_bands(seen):
    assert seen["previews"] == ["start 210", "preview 27", "band", "done"]


def test_a_preview_in_the_file_is_shown_before_the_rest_is_there(seen):
    assert seen["early"] == {"size": [48, 340], "preview": [45, 320], "seen": True}


def test_sizes_follow_attributes_and_what_is_around(seen):
    (wide, held) = seen["sizes"]
    assert wide[0] == 50
    assert held[0] == 80
    assert wide[1] == pytest.approx(50 * 150 / 210, abs=1)


def test_what_cannot_be_shown_leaves_words_or_what_is_inside(seen):
    found = seen["fails"]
    assert found["name"] == "DamagedFileError"
    assert found["text"] == "what it was"
    assert found["shown"] == [True, True]
    assert found["hidden"] == [False]
    assert seen["unknown"] == "UnknownModelError"


def test_orientation_is_applied_once(seen):
    for orientation, (width, height, off) in enumerate(seen["turns"], 1):
        assert (width, height) == ((30, 46) if orientation > 4 else (46, 30)), orientation
        assert off == 0, orientation


def test_alpha_and_grey(seen):
    assert seen["alpha"] == {"alphaSame": True, "some": True}
    assert seen["grey"] == [True, 0]


def test_colours_are_managed(seen, files):
    found = seen["colours"]
    assert found["p3"]["colours"] == "Display P3"
    assert found["adobe"]["colours"] == "Adobe RGB (1998)"
    for name in ("p3", "adobe"):
        assert found[name]["asPng"] <= 1, found
        assert found[name]["managed"] > 8, found
        wanted = in_srgb(files[f"/files/{name}.aei"]).astype(int)
        assert np.abs(wanted - found[name]["srgb"]).max() <= 3, (name, wanted, found)


def test_signals_end_work_and_leave_no_trace(seen):
    found = seen["aborts"]
    assert found["first"] == "AbortError"
    assert set(found["others"]) <= {"AbortError", "finished"}
    assert found["again"] == 210
    assert seen["together"] is True


def test_images_of_old_pages(seen):
    assert seen["upgrades"] == [[210, 150, "kept"], [210, 150, ""]]


def test_the_service_worker_makes_images(seen, files):
    assert seen["serviceWorker"] == {"size": [210, 150], "fetched": len(files["/files/photo.aei"])}


def test_weights_are_kept(seen, models):
    assert (
        f"/models/{golden_files.codec_of('finish').bundle.fingerprint.hex()}.aeiw" in seen["caches"]
    )
