"""The HTML pages: self-contained text, and in headless Chromium what a reader does with them."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from aei.benchmarks import results, run
from aei.benchmarks.codecs.choose import choose
from aei.benchmarks.datasets import Dataset
from aei.benchmarks.metrics import choose_measures
from aei.cli import compare as compare_cli
from aei.cli import enhance as enhance_cli
from aei.cli import gallery as gallery_cli
from aei.cli import report as report_cli
from aei.cli.pages import pages, report
from click.testing import CliRunner
from conftest import synthetic_photo
from PIL import Image

pytest.importorskip("scipy", reason="needs the [bench] extra")

RESTORERS = Path(__file__).parents[1] / "restorers"


@pytest.fixture(scope="module")
def compare_page(tmp_path_factory):
    """A page of `aei compare`, named so that it has to be escaped."""
    folder = tmp_path_factory.mktemp("compare")
    photo = folder / "a <b> & 'c'.png"
    Image.fromarray(synthetic_photo(200, 300)).save(photo)
    out = folder / "page.html"
    arguments = [str(photo), "-o", str(out), "--size", "4k", "--codecs", "JPEG,WebP"]
    result = CliRunner().invoke(compare_cli.command, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def report_page(tmp_path_factory):
    """A page of `aei report` on two images, with times and pictures."""
    folder = tmp_path_factory.mktemp("report")
    for i in range(2):
        Image.fromarray(synthetic_photo(170, 180, seed=i)).save(folder / f"{i}.png")
    chosen, _ = choose("JPEG,JPEG optimised,WebP", [])
    data = Dataset("two images", sorted(folder.glob("*.png")))
    points = run.run(data, chosen, lambda: None, measures=choose_measures("psnr,ms-ssim"))
    times = {
        "threads": 1, "repeats": 1, "images": 1, "megapixels": 0.03, "load_average": None,
        "codecs": [
            {"codec": "JPEG", "quality": 25, "bpp": 1.0, "encode_s": 0.001, "decode_s": 0.002},
            {"codec": "WebP", "quality": 45, "bpp": 0.9, "encode_s": 0.01, "decode_s": 0.003},
        ],
    }  # fmt: skip
    curve = {"source": "a paper", "bpp": [0.2, 0.5], "psnr": [28.0, 32.0], "bd_rate": -50.0,
             "bd_rate_window": [28.0, 32.0]}  # fmt: skip
    facts = results.summary(data, chosen, {"X": "not here"}, points, times, {"a codec": curve})
    (folder / "r.json").write_text(results.to_json(facts))
    out = folder / "r.html"
    arguments = [str(folder / "r.json"), "--images", str(folder), "--bpp", "1", "-o", str(out)]
    result = CliRunner().invoke(report_cli.command, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def restored_page(tmp_path_factory):
    """A page of `aei enhance --page`, of an image that Exif turns."""
    folder = tmp_path_factory.mktemp("restored")
    exif = Image.Exif()
    exif[0x0112] = 6
    dark = Image.fromarray((synthetic_photo(60, 90) * 0.3).astype(np.uint8))
    dark.save(folder / "a <b>.png", exif=exif)
    out = folder / "page.html"
    arguments = [str(folder / "a <b>.png"), str(folder / "bright.png"), "--page", str(out)]
    arguments += ["--kind", "low-light", "--restore-bundle", str(RESTORERS)]
    result = CliRunner().invoke(enhance_cli.command, arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return out


def data_of(page: Path) -> dict:
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_compare_gives_all_the_same_bytes(compare_page):
    own, *others = data_of(compare_page)["photos"][0]["pictures"]
    assert own["name"] == "aei"
    assert own["bytes"] <= 4000  # at 3000 a step of WebP's quality is some per cent
    assert [p["name"] for p in others] == ["JPEG", "WebP"]
    assert all(abs(p["bytes"] / own["bytes"] - 1) < 0.015 for p in others)
    assert all(0 < p["ssimulacra2"] < 100 for p in [own, *others])


@pytest.mark.parametrize("page", ["compare_page", "report_page", "restored_page"])
def test_pages_name_nothing_outside_themselves(page, request):
    text = request.getfixturevalue(page).read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    visible = re.sub(r'"data:image/[a-z]+;base64,[^"]*"', '""', text)
    found = re.findall(r'https?://[^"\s]+', visible)
    assert set(found) <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@@" not in visible
    assert "a <b>" not in visible


def test_data_cannot_end_its_element():
    text = pages.page("compare.html", "x", {"name": "</script><b>"}, ())
    assert "</script><b>" not in text


def test_compare_of_photographs_as_cameras_write_them(tmp_path):
    """Turned by Exif, larger than the page shows, with a place in the Exif that must not be passed
    on."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right
    exif[0x010E] = "secret place"
    Image.fromarray(synthetic_photo(60, 90)).save(tmp_path / "p.jpg", exif=exif)
    arguments = [str(tmp_path / "p.jpg"), "--max-side", "64", "--codecs", "JPEG", "-q", "40"]
    result = CliRunner().invoke(compare_cli.command, arguments)
    assert result.exit_code == 0, result.output
    (data,) = data_of(tmp_path / "p.html")["photos"]
    assert (data["width"], data["height"]) == (43, 64)
    assert "Scaled down from 60 x 90" in data["note"]
    assert b"secret" not in (tmp_path / "p.html").read_bytes()
    again = CliRunner().invoke(compare_cli.command, arguments)
    assert again.exit_code  # never overwritten without --force
    assert "exists" in str(again.exception)


def test_compare_of_several_photographs_in_the_order_asked_for(tmp_path, open_page):
    names = ["WebP", "JPEG", "AVIF"]
    for i in range(2):
        Image.fromarray(synthetic_photo(90 + i, 120, seed=i)).save(tmp_path / f"{i}.png")
    arguments = [str(tmp_path / "1.png"), str(tmp_path / "0.png"), "--codecs", ",".join(names)]
    result = CliRunner().invoke(compare_cli.command, arguments)
    assert result.exit_code == 0, result.output
    photos = data_of(tmp_path / "1.html")["photos"]
    assert [p["name"] for p in photos] == ["1.png", "0.png"]
    assert all([c["name"] for c in p["pictures"]] == ["aei", *names] for p in photos)
    page = open_page(tmp_path / "1.html")
    assert "120 x 91" in page.locator("#facts").inner_text()
    page.get_by_role("button", name="0.png").click()
    assert "120 x 90" in page.locator("#facts").inner_text()
    assert page.locator("#table tbody tr td:first-child").all_inner_texts() == ["aei", *names]


def test_compare_refuses_by_name(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no picture")
    result = CliRunner().invoke(compare_cli.command, [str(tmp_path / "x.jpg")])
    assert "not an image" in str(result.exception)
    assert not (tmp_path / "x.html").exists()
    for bad in (["--size", "many"], ["--size", "0"], ["--size", "3k", "-q", "5"]):
        assert CliRunner().invoke(compare_cli.command, ["x.jpg", *bad]).exit_code == 2


def test_report_without_its_images_says_so(report_page, tmp_path):
    results_file = report_page.parent / "r.json"
    arguments = [str(results_file), "-o", str(tmp_path / "p.html")]
    result = CliRunner().invoke(report_cli.command, arguments)
    assert result.exit_code == 0, result.output
    assert "no pictures" in result.output
    assert data_of(tmp_path / "p.html")["pictures"] is None


def test_report_of_many_small_images_holds_means_only():
    images = np.stack([synthetic_photo(32, 32, seed=i) for i in range(report.MAX_SINGLE + 1)])
    chosen, _ = choose("JPEG", [])
    chosen[0].qualities = (30, 60)
    data = Dataset("many", [], images)
    points = run.run(data, chosen, lambda: None)
    text = report.report(results.summary(data, chosen, {}, points), points, None)
    assert '"single":{}' in text


# In the browser


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright ([dev] extra)")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromium = chromium or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"], timeout=120_000
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens a page from disk; afterwards there must have been no errors and no requests
    elsewhere."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    context.set_default_timeout(60_000)
    problems, requests = [], []

    def opener(path: Path):
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda e: problems.append(str(e)))
        page.on("request", lambda r: requests.append(r.url))
        page.goto(path.as_uri())
        return page

    yield opener
    context.close()
    assert not problems
    assert all(url.startswith(("file://", "data:", "blob:")) for url in requests)


def test_before_and_after_under_the_slider(open_page, restored_page):
    page = open_page(restored_page)
    assert page.locator(".tag.left").inner_text() == "Before"
    assert page.locator(".tag.right").inner_text() == "After"
    facts = page.locator("#facts").inner_text()
    assert facts.startswith("60 x 90 pixels: low-light.")
    sizes = page.evaluate(
        "Promise.all([...document.images].map(i => i.decode().then(() => [i.naturalWidth, "
        "i.naturalHeight])))"
    )
    assert sizes == [[60, 90]] * 2  # upright, both


def split(page) -> int:
    return int(page.get_by_role("slider").get_attribute("aria-valuenow"))


def test_slider_moves_by_mouse_and_keys(open_page, compare_page):
    page = open_page(compare_page)
    assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    box = page.locator(".stage").bounding_box()
    assert split(page) == 50
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, y, steps=5)
    page.mouse.up()
    assert split(page) == pytest.approx(20, abs=1)
    assert "20" in page.locator(".layer.second").evaluate("(e) => e.style.clipPath")
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert split(page) == pytest.approx(22, abs=1)
    page.keyboard.press("End")
    assert split(page) == 100


def test_zoom_pan_difference_and_choice(open_page, compare_page):
    page = open_page(compare_page)
    page.get_by_label("Left picture").select_option(label="Original")
    assert page.locator(".tag.left").inner_text() == "Original"
    page.get_by_role("button", name="400 %").click()
    image = page.locator(".stage img").first
    before = image.evaluate("(e) => e.style.transform")
    assert "scale(4)" in before
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")  # pans when zoomed
    assert image.evaluate("(e) => e.style.transform") != before
    page.keyboard.press("0")
    assert page.get_by_role("button", name="Fit").get_attribute("aria-pressed") == "true"
    # a picture differs from itself by nothing: all black; and from another one it does
    page.get_by_role("button", name="Difference").click()
    for right, black in (("Original", True), ("JPEG", False)):
        page.get_by_label("Right picture").select_option(label=right)
        page.wait_for_function("[...document.images].every((i) => i.complete)")
        shot = page.locator(".pair").screenshot()
        assert (_middle(shot).max() < 8) == black


def _middle(png: bytes) -> np.ndarray:
    import io

    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"))
    h, w = pixels.shape[:2]
    return pixels[h // 3 : 2 * h // 3, w // 3 : 2 * w // 3]


def test_chart_toggles_hover_and_keys(open_page, report_page):
    page = open_page(report_page)
    curves = page.locator("#chart path.curve")
    assert curves.count() == 3
    page.locator("#legend").get_by_role("button", name="WebP", exact=True).click()
    assert curves.count() == 2
    page.locator("#legend").get_by_role("button", name="a codec (published)").click()
    assert curves.count() == 3
    page.get_by_label("Metric").select_option(label="MS-SSIM (dB)")
    assert "MS-SSIM" in page.locator("#chart").inner_text()
    page.get_by_label("Images").select_option(label="1")
    assert curves.count() == 2  # papers have no curves of single images
    dot = page.locator("#chart circle").nth(3).bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    assert "bits per pixel" in page.locator("#chart .tip").inner_text()
    page.locator("#chart svg").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert "JPEG optimised" in page.locator("#chart [aria-live]").inner_text()


def test_one_outlier_does_not_flatten_a_chart(open_page, report_page, tmp_path):
    data = data_of(report_page)
    scripts = ("viewer.js", "chart.js", "report.js")

    def heights(far: float) -> list[float]:
        images = [f"{i}" for i in range(8)]
        data["bd_rate_per_image"] = {
            "images": images, "WebP": [*(-30.0 + i for i in range(7)), far],
        }  # fmt: skip
        (tmp_path / f"{far}.html").write_text(pages.page("report.html", "x", data, scripts))
        page = open_page(tmp_path / f"{far}.html")
        assert page.locator("#bars .beyond").count() == (far > 0)
        if far > 0:
            assert f"{far:g}" in page.locator("#bars").inner_text()
        boxes = page.locator("#bars circle[fill]:not([fill=none])").evaluate_all(
            "(all) => all.map((c) => Number(c.getAttribute('cy')))"
        )
        return boxes[:7]

    usual, far = heights(-23.0), heights(4000.0)
    assert max(far) - min(far) > 0.7 * (max(usual) - min(usual)) > 0


@pytest.mark.parametrize("width", [360, 1400])
def test_tables_scroll_within_the_page(open_page, report_page, width):
    page = open_page(report_page)
    page.set_viewport_size({"width": width, "height": 800})
    table = page.locator("#codecs")
    first = table.locator("td").first
    box = page.locator(".scroll", has=table)
    box.evaluate("(e) => e.scrollTo(1e6, 0)")
    left = box.bounding_box()["x"]
    assert first.bounding_box()["x"] == pytest.approx(left, abs=2)  # stays in sight
    assert first.bounding_box()["width"] < 0.6 * width
    assert box.get_attribute("tabindex") == "0"


def test_tables_sort(open_page, report_page):
    page = open_page(report_page)
    heading = page.locator("#bd th").nth(1)

    def first() -> str:
        return page.locator("#bd tbody tr td").first.inner_text()

    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    smallest = first()
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert first() == "JPEG" != smallest


def test_pictures_of_the_report(open_page, report_page):
    page = open_page(report_page)
    page.get_by_role("button", name="Next image").click()
    assert page.locator("#picture").input_value() == "1"
    page.wait_for_function(
        "[...document.images].every((i) => i.complete && i.naturalWidth === 180)"
    )
    rows = page.locator("#picture-table tbody tr")
    assert rows.count() == 2
    page.get_by_label("Time to").select_option(label="decode")
    assert "seconds to decode" in page.locator("#scatter").inner_text()


@pytest.mark.parametrize("page", ["compare_page", "report_page"])
@pytest.mark.parametrize("width", [360, 1400])
def test_light_dark_and_every_width(open_page, page, width, request):
    opened = open_page(request.getfixturevalue(page))
    opened.set_viewport_size({"width": width, "height": 800})
    opened.emulate_media(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = opened.evaluate(background)
    opened.get_by_role("button", name="Light").click()
    assert opened.evaluate(background) != dark
    scroll = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    opened.wait_for_timeout(100)
    assert opened.evaluate(scroll) <= 0


@pytest.fixture(scope="module")
def gallery_page(tmp_path_factory):
    """A gallery of forty small images on two days, and one more of another month."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "photos").mkdir()
    for i in range(41):
        exif = Image.Exif()
        exif[0x0132] = f"2024:0{5 if i == 40 else 7}:1{i % 2} 10:00:{i:02d}"
        small = Image.fromarray(synthetic_photo(20, 30 + i % 3, seed=i))
        small.save(folder / "photos" / f"{i:02d}.jpg", exif=exif)
    arguments = [str(folder / "photos"), "-o", str(folder / "site"), "--images"]
    result = CliRunner().invoke(gallery_cli.command, arguments)
    assert result.exit_code == 0, result.output
    return folder / "site" / "index.html"


def test_a_gallery_by_keys(open_page, gallery_page):
    page = open_page(gallery_page)
    page.wait_for_selector(".photo img")
    assert page.locator("#facts").inner_text().startswith("41 photographs")
    assert page.locator(".block h2").first.inner_text() == "Thursday, July 11, 2024"
    focused = "Number(document.activeElement.dataset.photo)"
    for key, index in (("Right", 0), ("Right", 1), ("Left", 0)):
        page.keyboard.press(f"Arrow{key}")
        assert page.evaluate(focused) == index
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    assert below > 1
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer[open] img")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"location.hash === '#{below + 1}'")
    page.keyboard.press("+")
    assert "scale(1.5)" in page.locator("#stage > *").evaluate("(e) => e.style.transform")
    page.keyboard.press("0")
    page.keyboard.press("i")
    assert "Taken" in page.locator("#about-it").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_function(f"{focused} === {below + 1}")
    assert not page.locator("#viewer").is_visible()


@pytest.mark.parametrize("width", [360, 1400])
def test_a_gallery_light_and_dark_at_every_width(open_page, gallery_page, width):
    page = open_page(gallery_page)
    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_selector(".photo img")
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(background)
    page.get_by_label("Light or dark").click()
    assert page.evaluate(background) != before
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    page.get_by_label("Go to").select_option(label="May 2024")
    page.wait_for_function("document.querySelectorAll('.photo').length === 41")
