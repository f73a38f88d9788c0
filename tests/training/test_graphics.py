"""Synthetic graphics: the same for the same seed, of every kind, in the share asked for."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import synthetic_photo

torch = pytest.importorskip("torch", reason="needs the [train] extra")

from aei.codec.training.config import TrainConfig, check
from aei.codec.training.data import photographs as data
from aei.codec.training.data.graphics import drawing
from aei.codec.training.data.graphics import pages as graphics


@pytest.fixture(scope="module")
def photos():
    images = [synthetic_photo(300, 340, seed=i) for i in range(3)]
    return data.Photographs(images, images, images)


@pytest.mark.parametrize("kind", graphics.KINDS)
def test_pages_of_every_kind(kind):
    pages = [graphics.draw_page(np.random.default_rng(i), 192, kind=kind) for i in (1, 1, 2)]
    for page in pages:
        assert page.shape == (192, 192, 3)
        assert page.dtype == np.uint8
        assert np.ptp(page) > 20
    np.testing.assert_array_equal(pages[0], pages[1])
    assert (pages[0] != pages[2]).any()


def test_every_kind_appears(monkeypatch, photos):
    met = set()

    def note(name):
        def painter(rng, side, *_):
            met.add(name)
            return np.zeros((side, side, 3), np.uint8)

        return painter

    kinds = {name: (note(name), share) for name, (_, share) in graphics.KINDS.items()}
    monkeypatch.setattr(graphics, "KINDS", kinds)
    monkeypatch.setattr(graphics, "photo_page", note("photo"))
    rng = np.random.default_rng(0)
    for _ in range(300):
        graphics.draw_page(rng, 8, photos.train)
    assert met == {*kinds, "photo"}


@pytest.mark.parametrize("size", [20, 150, 300])
def test_photographs_of_any_size_carry_graphics(size):
    photo = synthetic_photo(size, size + 40)
    page = np.asarray(graphics.photo_page(np.random.default_rng(3), 128, [photo]))
    assert page.shape == (128, 128, 3)


def test_without_fonts_pillows_own_is_used(monkeypatch):
    monkeypatch.setattr(drawing, "font_files", tuple)
    for kind in ("text", "code", "plot"):
        assert np.ptp(graphics.draw_page(np.random.default_rng(1), 128, kind=kind)) > 20


def test_a_resumed_pool_gives_the_same_crops():
    steps = [0, 3, 700, 2048, 2500]
    once = graphics.PagePool(5, 128)

    def crops(pool, which):
        return [pool.crop(64, s, np.random.default_rng([9, s]), True) for s in which]

    whole = crops(once, steps)
    again = crops(graphics.PagePool(5, 128), steps[3:])
    for a, b in zip(whole[3:], again):
        np.testing.assert_array_equal(a, b)
    other = crops(graphics.PagePool(6, 128), steps)
    assert any((a != b).any() for a, b in zip(whole, other))


def test_pages_are_replaced_one_after_the_other():
    pool = graphics.PagePool(0, 32)
    pages = [pool.page(40, step) for step in range(0, graphics.LIFETIME, 64)]
    changes = sum((a != b).any() for a, b in pairwise(pages))
    assert changes == 1


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("size", [64, 128, 256])
def test_crops_have_their_size_and_content(size, augment):
    pool = graphics.PagePool(1, 256)
    rng = np.random.default_rng(2)
    crops = [pool.crop(size, 0, rng, augment) for _ in range(30)]
    assert all(c.shape == (size, size, 3) and c.dtype == np.uint8 for c in crops)
    assert np.mean([np.ptp(c) > 0 for c in crops]) > 0.8  # wide margins exist


def test_the_share_is_kept_and_photographs_stay(photos):
    pool = graphics.PagePool(0, 256, photos.train)
    replaced = total = 0
    for step in range(25):
        plain, index = data.batch_of(photos, 8, 128, 0, step)
        mixed, same = data.batch_of(photos, 8, 128, 0, step, pages=pool, graphics=0.25)
        assert plain.shape == mixed.shape
        assert torch.equal(index, same)
        differs = (plain != mixed).flatten(1).any(1)
        replaced, total = replaced + int(differs.sum()), total + len(differs)
    assert 0.15 < replaced / total < 0.35
    off, _ = data.batch_of(photos, 8, 128, 0, 3, pages=pool, graphics=0.0)
    assert torch.equal(off, data.batch_of(photos, 8, 128, 0, 3)[0])


def test_a_batch_depends_on_seed_and_step_only(photos):
    def batch(pool):
        return data.batch_of(photos, 4, 128, 0, 7, pages=pool, graphics=1.0)[0]

    used = graphics.PagePool(0, 128, photos.train)
    for step in (0, 3, 5000):
        data.batch_of(photos, 4, 128, 0, step, pages=used, graphics=1.0)
    assert torch.equal(batch(used), batch(graphics.PagePool(0, 128, photos.train)))


def test_evaluation_pages_are_not_those_of_training():
    held = graphics.graphics_pages(0, 3, 96)
    assert all((a == b).all() for a, b in zip(held, graphics.graphics_pages(0, 3, 96)))
    pool = graphics.PagePool(0, 96)
    trained = [pool.page(slot, 0) for slot in range(graphics.SLOTS)]
    assert not any(np.array_equal(h, t) for h in held for t in trained)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_impossible_shares_are_refused(share):
    with pytest.raises(ValueError, match="graphics: a share"):
        check(TrainConfig(graphics=share))
