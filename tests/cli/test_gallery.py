"""`aei gallery`, `aei view FOLDER`, and folders for `info` and `thumbnail`; what Exif says in
words."""

import io
import json
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
from aei.cli.pages import gallery
from aei.codec.files.exif import in_words, sentence
from aei.formats import UnsupportedError
from golden_files import GOLDEN, codec_of
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

MODEL = ("--model", GOLDEN / "finish.bundle")


def exif(day: int = 14, orientation: int = 1, place: bool = True) -> bytes:
    made = Image.Exif()
    made[0x010F], made[0x0110], made[0x0112] = "Canon", "Canon EOS 90D", orientation
    own = made.get_ifd(0x8769)
    own[0x9003] = f"2024:07:{day:02d} 10:11:12"
    own[0x829A], own[0x829D] = IFDRational(1, 250), IFDRational(28, 10)
    own[0x8827], own[0x920A] = 200, IFDRational(50, 1)
    if place:
        gps = made.get_ifd(0x8825)
        gps[1], gps[2], gps[3], gps[4] = "S", (33.0, 51.0, 36.0), "E", (151.0, 12.0, 0.0)
    return made.tobytes()


def photo(seed: int, **described) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8))
    image = small.resize((120, 80))
    image.info["exif"] = exif(**described)
    return image


@pytest.fixture
def photos(tmp_path):
    """A folder with four photographs of three days, one upside down, and a broken one."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    codec = codec_of("finish")
    for name, day, orientation in (
        ("a", 14, 1), ("trip/b", 16, 6), ("trip/c", 15, 1), ("trip/d", 15, 1),
    ):  # fmt: skip
        image = photo(day, day=day, orientation=orientation)
        (folder / f"{name}.aei").write_bytes(codec.encode(image, gain_index=150))
    return folder


def rows_of(site) -> list:
    text = (site / "data" / "0.js").read_text()
    return json.loads(re.fullmatch(r"gallery\.chunk\(0, (.*)\);\n", text, re.DOTALL)[1])


def index_of(site) -> dict:
    text = (site / "data" / "index.js").read_text()
    return json.loads(re.fullmatch(r"gallery\.start\((.*)\);\n", text, re.DOTALL)[1])


def test_a_gallery_of_a_folder(photos, tmp_path, run_aei):
    site = tmp_path / "site"
    result = run_aei("gallery", photos, "-o", site, *MODEL, "--quiet")
    assert result.code == 0, result.err
    rows, index = rows_of(site), index_of(site)
    assert [row[1] for row in rows] == ["trip/b.aei", "trip/d.aei", "trip/c.aei", "a.aei"]
    assert index["blocks"] == [["2024-07", 0, 4, 5.17]]
    assert (rows[0][2:4], rows[3][2:4]) == ([80, 120], [120, 80])  # upright
    assert rows[0][6:9] == ["Canon EOS 90D", "1/250 s, f/2.8, ISO 200, 50 mm", 1]
    assert not any("-33" in (site / "data" / n).read_text() for n in ("0.js", "state.json"))
    for row in rows:
        for name in (f"small/{row[0]}.webp", f"large/{row[0]}.webp"):
            with Image.open(site / name) as image:
                assert image.size == tuple(row[2:4])
                assert not image.getexif()
    assert sorted(p.name for p in photos.rglob("*")) == ["a.aei", "b.aei", "c.aei", "d.aei", "trip"]


def test_places_only_if_asked(photos, tmp_path, run_aei):
    site = tmp_path / "site"
    assert run_aei("gallery", photos, "-o", site, *MODEL, "--place", "--large", 0).code == 0
    assert rows_of(site)[0][9] == [-33.86, 151.2]
    assert not (site / "large").exists()


def test_only_what_is_new_is_made_again(photos, tmp_path, run_aei):
    site = tmp_path / "site"
    run_aei("gallery", photos, "-o", site, *MODEL)
    before = {p: p.stat().st_mtime_ns for p in (site / "small").iterdir()}
    kept = rows_of(site)
    (photos / "trip" / "d.aei").unlink()
    os.utime(photos / "a.aei", (1, 1))
    (photos / "e.aei").write_bytes(codec_of("finish").encode(photo(5, day=17), gain_index=9))
    assert run_aei("gallery", photos, "-o", site, *MODEL).code == 0
    after = {p: p.stat().st_mtime_ns for p in (site / "small").iterdir()}
    rows = rows_of(site)
    assert [row[1] for row in rows] == ["e.aei", "trip/b.aei", "trip/c.aei", "a.aei"]
    same = [site / "small" / f"{row[0]}.webp" for row in kept if row[1].startswith("trip/")]
    assert {p for p in before if before[p] == after.get(p)} == set(same) - {
        site / "small" / f"{kept[1][0]}.webp"
    }
    assert len(after) == 4
    # other sizes: all anew
    assert run_aei("gallery", photos, "-o", site, *MODEL, "--large", 60).code == 0
    with Image.open(site / "large" / f"{rows_of(site)[0][0]}.webp") as image:
        assert image.size == (60, 40)


def test_bad_files_are_named_and_left_out(photos, tmp_path, run_aei):
    (photos / "bad.aei").write_bytes(b"\xaeaei nothing")
    result = run_aei("gallery", photos, "-o", tmp_path / "site", *MODEL)
    assert result.code == 2
    assert "bad.aei" in result.err
    assert len(rows_of(tmp_path / "site")) == 4
    result = run_aei("gallery", tmp_path / "site", "-o", tmp_path / "other")
    assert result.code == 1
    assert "no .aei files" in result.err
    assert "`aei gallery --images` shows other images too" in result.err
    result = run_aei("gallery", photos, "-o", tmp_path / "site.html")
    assert (result.code, f"the folder of the pages: {tmp_path / 'site'}" in result.err) == (2, True)


def test_where_nothing_can_be_read_a_site_stays(photos, tmp_path, run_aei):
    site = tmp_path / "site"
    assert run_aei("gallery", tmp_path / "nowhere", "-o", site).code == 2
    assert not site.exists()
    assert run_aei("gallery", photos, "-o", site, *MODEL).code == 0
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    shutil.move(photos, tmp_path / "away")
    photos.mkdir()
    (photos / "a.aei").write_bytes(b"")
    result = run_aei("gallery", photos, "-o", site, *MODEL)
    assert result.code == 2
    assert f"no photograph could be read: {site} gets no pages" in result.err
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before


def test_other_images_and_names_that_would_be_code(photos, tmp_path, run_aei):
    name = "</script><img src=x onerror=1>.png" if os.name != "nt" else "x.png"
    photo(1).save(photos / name.replace("/", "_"))
    site = tmp_path / "site"
    assert run_aei("gallery", photos, "-o", site, *MODEL, "--images", "--title", "<b>").code == 0
    assert len(rows_of(site)) == 5
    page = (site / "index.html").read_text()
    assert "&lt;b&gt;" in page
    assert "onerror" not in page


def test_originals_come_with_what_decodes_them(photos, tmp_path, run_aei):
    site = tmp_path / "site"
    arguments = ("gallery", photos, "-o", site, *MODEL, "--originals")
    assert run_aei(*arguments, "--format", "jpeg").code == 0
    key = rows_of(site)[3][0]
    served = (site / "aei" / f"{key}.aei").read_bytes()
    original = (photos / "a.aei").read_bytes()
    assert in_words(codec_of("finish").decode(original).info["exif"])["place"]
    assert "exif" not in codec_of("finish").decode(served).info  # which names the place
    assert codec_of("finish").pixels_sha256(served) == codec_of("finish").pixels_sha256(original)
    turned = codec_of("finish").decode((site / "aei" / f"{rows_of(site)[0][0]}.aei").read_bytes())
    assert in_words(turned.info["exif"]) == {"orientation": 6}
    assert (site / "large" / f"{key}.jpg").exists()
    assert len(list((site / "aei-models").glob("*.aeiw"))) == 1
    assert index_of(site)["originals"]
    assert "aei-image" in (site / "aei-image.js").read_text()


def test_days_or_months_are_headings():
    def taken(days: int, each: int) -> list:
        return [
            gallery.Photo(f"{i}", "n", 30, 20, f"2024-07-{1 + i // each:02d} 10:00:00", 9)
            for i in range(days * each)
        ]

    assert [b[:3] for b in gallery.blocks_of(taken(2, 250))] == [
        ["2024-07-01", 0, 200], ["", 200, 50], ["2024-07-02", 250, 200], ["", 450, 50],
    ]  # fmt: skip
    assert [b[:3] for b in gallery.blocks_of(taken(20, 2))] == [["2024-07", 0, 40]]


def test_colours_become_srgb():
    flat = Image.new("RGB", (8, 8), (200, 90, 60))
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (b"", b"junk", swapped):
        flat.info["icc_profile"] = profile
        assert gallery.in_srgb(flat).getpixel((0, 0)) == (200, 90, 60)
    from aei.codec.pixels.profiles import known_profile

    flat.info["icc_profile"] = known_profile(2)  # Display P3
    assert gallery.in_srgb(flat).getpixel((0, 0))[0] > 210
    clear = Image.new("LA", (8, 8), (90, 7))
    assert gallery.in_srgb(clear).getpixel((0, 0)) == (90, 90, 90, 7)
    jpeg = Image.open(io.BytesIO(gallery.coded(gallery.in_srgb(clear), "jpeg")))
    assert jpeg.convert("L").getpixel((0, 0)) > 245
    with pytest.raises((UnsupportedError, KeyError)):
        gallery.coded(flat, "nothing")


def test_exif_in_words():
    facts = in_words(exif(orientation=6))
    assert facts == {
        "date": "2024-07-14 10:11:12", "camera": "Canon EOS 90D", "exposure": "1/250 s",
        "aperture": "f/2.8", "iso": 200, "focal_length": "50 mm", "orientation": 6,
        "place": [-33.86, 151.2],
    }  # fmt: skip
    assert sentence(facts) == "1/250 s, f/2.8, ISO 200, 50 mm"
    assert in_words(b"") == in_words(b"II*\0") == {}


@given(st.binary(max_size=80), st.integers(0, 300))
def test_exif_may_be_anything(junk, at):
    good = exif()
    facts = in_words(good[:at] + junk + good[at + len(junk) :])
    json.dumps(facts)
    assert all(value not in ("", None) for value in facts.values())


def test_info_of_one_and_of_many(photos, run_aei):
    result = run_aei("info", photos / "a.aei", "--json")
    facts = json.loads(result.out)
    assert facts["exif"]["camera"] == "Canon EOS 90D"
    words = run_aei("info", photos / "a.aei").out
    assert "2024-07-14 10:11:12" in words
    assert "1/250 s, f/2.8" in words
    many = run_aei("info", photos, "--recursive")
    assert len(many.out.splitlines()) == 4
    assert "Canon EOS 90D" in many.out
    (photos / "bad.aei").write_bytes(b"x")
    result = run_aei("info", photos, "--recursive", "--json")
    assert result.code == 2
    files = [json.loads(line) for line in result.out.splitlines()]
    assert sum("error" in one for one in files) == 1


def test_thumbnails_of_a_folder(photos, tmp_path, run_aei, monkeypatch):
    import aei.codec.models.bundle

    monkeypatch.setattr(aei.codec.models.bundle, "MODELS", GOLDEN)
    out = tmp_path / "small"
    assert run_aei("thumbnail", photos, "-o", out, "-r", "--size", 40).code == 0
    with Image.open(out / "trip" / "b.png") as image:
        assert image.size == (27, 40)
    assert len(list(out.rglob("*.png"))) == 4
    assert run_aei("thumbnail", photos / "a.aei", out / "one.png", "--size", 40).code == 0
    assert (out / "one.png").read_bytes() == (out / "a.png").read_bytes()
    assert run_aei("thumbnail", photos / "a.aei").code == 2


def test_view_of_a_folder_is_a_gallery_elsewhere(photos, tmp_path, run_aei, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run_aei("view", photos, *MODEL).code == 0
    assert opened[0].startswith("file:")
    assert opened[0].endswith("/index.html")
    assert len(list((tmp_path / "cache").rglob("small/*.webp"))) == 4
    assert not list(photos.rglob("*.html"))


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_finishes_counts_and_goes_on(photos, tmp_path, run_aei, monkeypatch):
    from aei.cli import progress

    said, made, make = [], [], gallery.make_photo
    ending = progress._ending
    monkeypatch.setattr(progress, "_ending", lambda p: said.append(ending(p)) or said[-1])

    def interrupted(site, name, path, look, codec, told=None):
        made.append(name)
        if len(made) == 2:
            told(60, 120)
            os.kill(os.getpid(), signal.SIGINT)
            while not said:
                time.sleep(0.001)
        return make(site, name, path, look, codec, told)

    monkeypatch.setattr(gallery, "make_photo", interrupted)
    site = tmp_path / "site"
    result = run_aei("gallery", photos, "-o", site, *MODEL, "-j", 1)
    assert result.code == 130
    assert said == [
        f"stopping; finishing {os.path.basename(made[1])} (50 %) first (again to stop at once)"
    ]
    assert f"{site / 'index.html'}: 2 photographs" in result.out
    assert "stopped with 2 files to do: the same command does them" in result.err
    assert {row[1] for row in rows_of(site)} == set(made)
    result = run_aei("gallery", photos, "-o", site, *MODEL, "-j", 1)
    assert (result.code, len(rows_of(site)), len(made)) == (0, 4, 4)
    assert "stopped" not in result.err
