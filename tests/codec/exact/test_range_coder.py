"""Two coders, the same bytes."""

import numpy as np
import pytest
from aei.codec.exact.coder import range_coder
from aei.codec.exact.coder.plain_coder import PlainDecoder, PlainEncoder
from aei.codec.exact.coder.tables import Table
from aei.formats import DamagedFileError
from hypothesis import given, settings
from hypothesis import strategies as st

constriction = pytest.importorskip("constriction", reason="no wheel of constriction here")


def random_table(rng) -> Table:
    n = int(rng.integers(2, 80))
    spread = rng.dirichlet(np.full(n, rng.choice([0.02, 0.3, 5.0])))
    return Table(1 + rng.multinomial((1 << 24) - n, spread).astype(np.int32))


def random_message(seed: int):
    rng = np.random.default_rng(seed)
    tables = [random_table(rng) for _ in range(3)]
    message = []
    for _ in range(int(rng.integers(0, 6))):
        table = tables[rng.integers(3)]
        # half the time symbols at random, however unlikely their table makes them
        p = table.frequencies / 2**24 if rng.random() < 0.5 else None
        symbols = rng.choice(len(table.frequencies), size=int(rng.integers(0, 60)), p=p)
        message.append((symbols.astype(np.int32), table))
    return message


@settings(max_examples=200)
@given(st.integers(0, 2**32))
def test_coders_agree_and_round_trip(seed):
    message = random_message(seed)
    encoders = [PlainEncoder(), range_coder.ConstrictionEncoder()]
    for encoder in encoders:
        for symbols, table in message:
            encoder.encode(symbols, table)
    data, same = (encoder.finish() for encoder in encoders)
    assert data == same
    assert not data.endswith(b"\0")
    for decoder in (PlainDecoder(data), range_coder.ConstrictionDecoder(data)):
        for symbols, table in message:
            np.testing.assert_array_equal(decoder.decode(len(symbols), table), symbols)


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_no_shorter_string_decodes_the_same(seed):
    message = random_message(seed)
    encoder = PlainEncoder()
    for symbols, table in message:
        encoder.encode(symbols, table)
    data = encoder.finish()
    if not data:
        return
    lasts = range(256) if len(data) > 1 else ()
    for last in (None, *lasts):  # every string one byte shorter that could still be close
        shorter = data[:-1] if last is None else data[:-2] + bytes([last])
        try:
            decoder = PlainDecoder(shorter)
            same = all(np.array_equal(decoder.decode(len(s), t), s) for s, t in message)
        except DamagedFileError:
            same = False
        assert not same


@given(st.binary(max_size=40), st.integers(0, 2**32))
def test_garbage_decodes_alike_or_fails_alike(data, seed):
    table = random_table(np.random.default_rng(seed))
    results = []
    for decoder in (PlainDecoder(data), range_coder.ConstrictionDecoder(data)):
        try:
            results.append(decoder.decode(50, table).tolist())
        except DamagedFileError:
            results.append("damaged")
    assert results[0] == results[1]


def test_environment_selects_the_plain_coder(monkeypatch):
    monkeypatch.setenv("AEI_CODER", "plain")
    assert isinstance(range_coder.make_encoder(), PlainEncoder)
    monkeypatch.delenv("AEI_CODER")
    assert isinstance(range_coder.make_encoder(), range_coder.ConstrictionEncoder)
