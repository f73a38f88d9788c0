"""`aei inspect`: every bit is counted, the linear path is what the weights say, attributions agree
with each other, and the page works in a browser."""

import json
import math
import re
import shutil
import sys
from pathlib import Path

import golden_files
import numpy as np
import pytest
from aei.cli.pages import inspection
from aei.codec.inspect import account as heatmap
from aei.codec.inspect import attribution
from aei.codec.inspect.look import look
from aei.formats import UnsupportedError, parse
from aei.formats.tiles import Box
from conftest import synthetic_photo
from PIL import Image

NAMES = [
    "rgb-1x1",
    "rgb-100x60-middle",
    "noise-48x32-high",
    "rgb-130x200-tiles",
    "grey-33x40",
    "grey-130x70-tiles",
    "rgb-alpha-50x40",
    "rgb-alpha-130x100-tiles",
    "grey-alpha-33x40",
    "rgb-24x24-metadata",
    "unknown-section-16x16",
    "text-96x80-tiles",
    "factorized-rgb",
    "factorized-grey-alpha",
]


def codec_of(name):
    return golden_files.codec_of("factorized" if name.startswith("factorized") else "tiny")


@pytest.mark.parametrize("name", NAMES)
def test_every_bit_is_counted(name):
    data = golden_files.read(name)
    codec, contents = codec_of(name), parse(data)
    account, latents = heatmap.take_account(codec, contents)
    total = math.fsum(account.cells.ravel()) + math.fsum(account.rest.values())
    assert total == pytest.approx(8 * len(data), abs=1e-6)
    # what closes the sum is small by itself: the coder's end of each tile, and nothing unaccounted
    # for
    assert abs(account.rest["range coder"]) <= 40 * len(contents.entries)
    assert all(v > 0 for k, v in account.rest.items() if k != "range coder")
    assert account.channels.sum() + account.hyper == pytest.approx(account.cells.sum())
    assert (account.cells >= 0).all()
    assert sum(heatmap.file_parts(contents).values()) == len(data)
    assert len(latents) == len(contents.entries)


def test_parts_have_the_sizes_of_their_contents():
    data = golden_files.read("rgb-24x24-metadata")
    contents = parse(data)
    parts = heatmap.file_parts(contents)
    assert parts["exif"] == len(contents.sections[2])
    assert parts["payload"] == contents.entries[0].end - contents.entries[0].start
    assert parts["header"] == 12
    tiled = heatmap.file_parts(parse(golden_files.read("rgb-alpha-130x100-tiles")))
    assert tiled["alpha"] > 0
    assert tiled["tile table"] > 5 * 6


@pytest.mark.parametrize("name", ["rgb-130x200-tiles", "grey-alpha-33x40", "factorized-rgb"])
def test_a_look_at_any_file(name):
    """The image is the decoder's, and every picture and number can be made of it."""
    data, codec = golden_files.read(name), codec_of(name)
    decoded = codec.decode(data)
    seen = look(codec, data, decoded, channels=2)
    assert (
        seen.image.squeeze().tobytes()
        == np.asarray(decoded.convert(seen.contents.header.mode.rstrip("A"))).tobytes()
    )
    assert seen.psnr(seen.image) == 100
    assert (seen.linear is None) == name.startswith("factorized")
    assert not seen.error.any()
    pictures = inspection.write_pictures(seen, None)
    assert pictures["bits.png"].size == decoded.size == pictures["error.png"].size
    json.dumps(inspection.numbers(seen, None, name), allow_nan=False)
    assert "@@" not in inspection.page(seen, None, name, [])


def test_channels_are_ranked_and_draw_where_they_should(codec, photo):
    data = codec.encode(photo[:96, :128], 50)
    seen = look(codec, data, channels=6)
    bits = [r.bits for r in seen.responses]
    assert bits == sorted(seen.account.channels, reverse=True)[:6]
    for r in seen.responses:
        side = r.impulse.shape[0] // 3
        middle = np.square(r.impulse[side:-side, side:-side]).sum()
        assert middle > 0.5 * np.square(r.impulse).sum() > 0
        assert r.loss > 0
    assert {"error.png", "linear.png"} & inspection.write_pictures(seen, None).keys() == {
        "linear.png"
    }


def test_the_linear_path_is_that_of_the_weights(codec):
    """Found by running the graph, it equals the product with the stored matrix."""
    pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")
    from aei.codec.training.export.export import restore_model

    rng = np.random.default_rng(0)
    y = rng.integers(-300, 300, (3, 4, codec.bundle.prior.program["latents"]), dtype=np.int32)
    row, one = 150, 64
    found = codec.transforms.linear_synthesis(y, row, 6)
    weight = restore_model(codec.bundle).g_s.klt.weight.detach().numpy()
    matrix = weight.reshape(768, -1).astype(np.float64)
    blocks = (y * codec.bundle.rows["inverse_gain"][row] / one) @ matrix.T
    blocks = blocks.reshape(3, 4, 3, 16, 16).transpose(0, 3, 1, 4, 2).reshape(48, 64, 3)
    assert np.abs(found - blocks).max() < 2e-5 * np.abs(blocks).max()


@pytest.fixture(scope="module")
def seen(codec):
    image = synthetic_photo(112, 144, seed=3)
    return look(codec, codec.encode(image, 60), image, channels=0)


def test_attributions_agree(seen, monkeypatch):
    """The gradient of torch is that of the graph; relevance without epsilon is gradient times
    latents; and all of the contrast comes from latents near the region."""
    pytest.importorskip("pytorch_optimizer", reason="needs the [train] extra")
    region = Box(50, 40, 40, 30)
    found = attribution.attribute(seen, region)
    assert found.relevance is not None
    assert 0.5 < found.relevance.sum() < 1.1
    monkeypatch.setattr(attribution, "EPSILON", 0.0)
    exact = attribution.attribute(seen, region)
    np.testing.assert_allclose(exact.relevance, exact.gradient, atol=1e-5)
    monkeypatch.setitem(sys.modules, "aei.codec.training.relevance", None)
    light = attribution.attribute(seen, region)
    assert light.relevance is None
    assert "[train]" in light.why
    np.testing.assert_allclose(light.gradient, found.gradient, atol=1e-5)
    np.testing.assert_allclose(light.grad_cam, found.grad_cam, atol=1e-3)
    assert found.gradient.sum() == pytest.approx(1, abs=0.2)
    assert found.inside(found.gradient, 16) > 0.8
    assert found.grad_cam.shape == (7, 9)
    assert found.grad_cam.max() == 1


def test_a_change_outside_what_g_s_sees_changes_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "aei.codec.training.relevance", None)
    codec, image = golden_files.codec_of("offset"), synthetic_photo(112, 144, seed=3)
    seen = look(codec, codec.encode(image, 60), image, channels=0)
    found = attribution.attribute(seen, Box(0, 0, 16, 16))
    halo = seen.model.bundle.halo
    assert found.window == Box(0, 0, 1 + halo, 1 + halo)
    flat = attribution.attribute(seen, Box(3, 3, 1, 1))  # one pixel has no contrast
    assert flat.contrast == 0
    assert not flat.gradient.any()


@pytest.mark.parametrize(
    "region", [Box(-1, 0, 5, 5), Box(0, 0, 145, 5), Box(0, 0, 0, 5), Box(140, 100, 5, 13)]
)
def test_regions_outside_are_refused(region):
    with pytest.raises(UnsupportedError, match="not within the image of 144x112"):
        attribution.check_region(region, (144, 112))


def test_another_image_as_original_is_refused(codec, aei_file):
    with pytest.raises(UnsupportedError, match="50x40 pixels, the file 48x40"):
        look(codec, aei_file, np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(UnsupportedError, match="the original is grey, the file colour"):
        look(codec, aei_file, np.zeros((40, 48), np.uint8))


def test_command(run_aei, tmp_path, photo):
    Image.fromarray(photo[:64, :80]).save(tmp_path / "p.png")
    result = run_aei("inspect", tmp_path / "p.png", "-q", 30, "--channels", 2, "--json")
    assert result.code == 0, result.err
    folder = tmp_path / "p.inspect"
    names = {
        "bits.png",
        "error.png",
        "linear.png",
        "network.png",
        "channels.png",
        "numbers.json",
        "index.html",
    }
    assert {p.name for p in folder.iterdir()} == names
    told = json.loads(result.out)
    assert told["files"] == sorted(names)
    assert run_aei("encode", tmp_path / "p.png", "-q", 30).code == 0
    file = tmp_path / "p.aei"
    assert told["bytes"] == file.stat().st_size
    numbers = json.loads((folder / "numbers.json").read_text())
    total = np.sum(numbers["cells"]) + sum(numbers["bits"]["rest"].values())
    assert total == pytest.approx(8 * told["bytes"], abs=0.1)  # cells are rounded
    assert numbers["psnr"] > numbers["psnr_linear"]
    assert all(Image.open(p).size == (80, 64) for p in folder.glob("[bel]*.png"))

    again = run_aei("inspect", file)
    assert again.code == 1
    assert "exists" in again.err
    plain = run_aei("inspect", file, "-o", tmp_path / "new" / "deep")
    assert plain.code == 0
    assert "--original" in plain.err
    assert not (tmp_path / "new" / "deep" / "error.png").exists()
    known = run_aei("inspect", file, "--force", "--original", tmp_path / "p.png", "--channels", 0)
    assert known.code == 0
    assert json.loads((folder / "numbers.json").read_text())["psnr"] == numbers["psnr"]


def test_bad_inputs_give_one_sentence(run_aei, tmp_path, aei_file):
    (tmp_path / "x.aei").write_bytes(aei_file[:-3])
    (tmp_path / "t.txt").write_text("no picture")
    (tmp_path / "y.aei").write_bytes(aei_file)
    for arguments, code, words in [
        ([tmp_path / "x.aei"], 1, "checksum"),
        ([tmp_path / "t.txt"], 1, "not an image"),
        ([tmp_path / "none.png"], 1, "No such file"),
        ([tmp_path / "y.aei", "--original", tmp_path / "t.txt"], 1, "t.txt: not an image"),
        ([tmp_path / "y.aei", "--region", "40,30,20,20"], 1, "48x40"),
        ([tmp_path / "y.aei", "--region", "1,2"], 2, "four numbers"),
        ([tmp_path / "y.aei", "-o", "-"], 2, "folder"),
        ([tmp_path / "y.aei", "-o", tmp_path / "t.txt"], 1, "is a file"),
        (["-"], 2, "-o"),
        ([tmp_path / "y.aei", "-q", "50"], 2, "coded already"),
        ([tmp_path / "y.aei", "--model", tmp_path], 1, "not a model bundle"),
    ]:
        result = run_aei("inspect", *arguments)
        assert result.code == code, (arguments, result)
        assert words in result.err
        assert "Traceback" not in result.err
    assert not list(tmp_path.glob("*.inspect"))


def test_what_needs_torch_says_so(run_aei, tmp_path, monkeypatch):
    """A bundle without the gradient's graph, on the light install."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "aei.codec.training.relevance", raising=False)
    file = golden_files.GOLDEN / "rgb-100x60-low.aei"
    model = golden_files.GOLDEN / "tiny.bundle"
    arguments = ["inspect", file, "--model", model, "-o", tmp_path / "out", "--channels", 1]
    result = run_aei(*arguments, "--region", "8,8,32,32")
    assert result.code == 1
    assert "torch is not installed: pip install 'aei-codec[train]'" in result.err
    assert not (tmp_path / "out").exists()
    assert run_aei(*arguments).code == 0


# In the browser


@pytest.fixture(scope="module")
def written(tmp_path_factory, codec):
    """The folder of a photograph with a name that has to be escaped, with a region."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("inspect")
    image = synthetic_photo(112, 144, seed=3)
    found = look(codec, codec.encode(image, 60), image, channels=3)
    explained = attribution.attribute(found, Box(50, 40, 40, 30))
    text = inspection.page(found, explained, "a <b> & 'c'.png", ["a note"])
    (folder / "index.html").write_text(text, encoding="utf-8")
    return folder / "index.html"


def test_the_page_names_nothing_outside_itself(written):
    text = written.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    visible = re.sub(r'"data:image/[a-z]+;base64,[^"]*"', '""', text)
    assert set(re.findall(r'https?://[^"\s]+', visible)) <= {"http://www.w3.org/2000/svg"}
    assert "@@" not in visible
    assert "a <b>" not in visible


def test_the_page_in_a_browser(written):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright ([dev] extra)")
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    problems, requests = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=120_000
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.set_default_timeout(60_000)
        page.on("console", lambda m: problems.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("request", lambda r: requests.append(r.url))
        page.goto(Path(written).as_uri())
        read_the_page(page)
        browser.close()
    assert not problems
    assert all(url.startswith(("file://", "data:")) for url in requests)


def read_the_page(page):
    page.wait_for_function("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    # the parts sum to the file
    rows = page.locator("#parts tbody tr").all_inner_texts()
    values = [float(row.split("\t")[1].replace(",", "")) for row in rows]
    assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.5)
    size = int(
        re.search(r"([\d,]+) bytes", page.locator("#facts").inner_text())[1].replace(",", "")
    )
    assert values[-1] == 8 * size
    # the map answers to keys and to the pointer
    stage = page.locator(".overlay")
    stage.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "column 1, row 1:" in page.locator("#map output").inner_text()
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + box["height"] - 20)
    page.locator("#map output", has_text="column 8, row 6:").wait_for()
    page.locator("#mix").focus()
    page.keyboard.press("Home")
    assert page.locator(".heat").evaluate("(e) => e.style.opacity") == "0"
    # channels: three drawn, and the bar chart answers to keys
    assert page.locator(".card").count() == 3
    page.locator("#bars svg").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".card.chosen").count() == 1
    # pictures and the region
    options = page.get_by_label("Left picture").locator("option").all_inner_texts()
    assert options[:2] == ["Decoded", "Original"]
    assert any(o.startswith("Error x") for o in options)
    assert any(o.startswith("Linear") for o in options)
    assert page.locator("#maps img").count() >= 3
    # light, dark, and narrow
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(background) != light
    page.set_viewport_size({"width": 360, "height": 800})
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
