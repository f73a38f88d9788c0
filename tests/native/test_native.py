"""The native core beside NumPy: the same integers, bytes and errors, with every instruction set
that is at hand."""

import _thread
import ctypes
import threading
import time
import zlib
from unittest import mock

import numpy as np
import pytest
from aei.codec.exact import interpreter, native
from aei.codec.exact.hyper_latents import MOST
from aei.codec.exact.native import core
from aei.codec.exact.native.block import HEADER, LAYER
from aei.codec.exact.native.team import codec_threads, team
from aei.codec.exact.payload import decode_latents, encode_latents, write
from aei.codec.exact.prior import Prior
from aei.codec.exact.quantise import quantise, to_hyper_symbols
from aei.codec.exact.steps import grid_of
from aei.formats import DamagedFileError, UnsupportedError
from golden_files import codec_of
from hypothesis import given, settings
from hypothesis import strategies as st
from priors import make_prior

SETS = native.instruction_sets()
needs_core = pytest.mark.skipif(not SETS, reason="the native core was not built")
BUNDLES = ("tiny", "offset", "trellis", "context")


def chosen_core(name: str, isa: str = ""):
    return mock.patch.dict("os.environ", {"AEI_CORE": name, "AEI_CORE_ISA": isa})


def drawn(prior: Prior, width: int, height: int, spread: float, seed: int):
    rng = np.random.default_rng(seed)
    h, w, hz, wz = grid_of(prior.program, width, height)
    y = rng.laplace(0, spread, (h, w, prior.program["latents"])).astype(np.float32)
    z = rng.laplace(0, spread, (hz, wz, prior.program["hyper_latents"])).astype(np.float32)
    return y, to_hyper_symbols(z)


def outcome(prior: Prior, row: int, payload: bytes, size, code_all: bool):
    """Latents, or the error's text."""
    try:
        got = decode_latents(prior, row, payload, *size, code_all)
    except DamagedFileError as error:
        return str(error)
    return got.z_hat.tobytes(), got.y_hat.tobytes()


def assert_same(
    prior: Prior, row: int, size, spread: float, seed: int, worth=None, channels=None
) -> None:
    """Quantising, writing, reading and reading what was damaged, by NumPy and by all instruction
    sets."""
    y, z_hat = drawn(prior, *size, spread, seed)
    rng = np.random.default_rng(seed)
    with chosen_core("numpy"):
        want = quantise(prior, row, y, z_hat, worth, channels)
        payload, bits = write(prior, row, want)
        damaged = [
            payload,
            payload + b"\0",
            payload[:-1],
            rng.bytes(len(payload)),
            b"",
            b"\xff" * 9,
        ]
        for _ in range(4):
            flipped = bytearray(payload or b"\0")
            flipped[rng.integers(len(flipped))] ^= 1 << rng.integers(8)
            damaged.append(bytes(flipped))
        outcomes = [outcome(prior, row, data, size, want.code_all) for data in damaged]
    assert prior.native_block is not None
    for isa in SETS:
        with chosen_core("native", isa):
            got = quantise(prior, row, y, z_hat, worth, channels)
            assert got.code_all == want.code_all
            np.testing.assert_array_equal(got.y_hat, want.y_hat)
            for a, b in zip(got.steps, want.steps, strict=True):
                assert a.places == b.places
                for name in ("values", "index", "tables"):
                    assert getattr(a, name).dtype == getattr(b, name).dtype
                    np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
            for steps in (got, want):
                again, close = write(prior, row, steps)
                assert again == payload
                assert close == pytest.approx(bits)
            for data, expected in zip(damaged, outcomes):
                assert outcome(prior, row, data, size, want.code_all) == expected


@needs_core
@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.booleans(),
    st.tuples(st.integers(1, 150), st.integers(1, 150)),
    st.sampled_from([0.0, 0.3, 3.0, 400.0, 1e6]),
    st.sampled_from([None, 3.0, 14]),
    st.booleans(),
    st.integers(0, 255),
)
def test_random_priors(seed, trellis, context, size, spread, worth, by_channel, row):
    prior = make_prior(seed, trellis, context)
    channels = None
    if by_channel:
        channels = np.random.default_rng(seed).uniform(0.1, 9, prior.latents).astype(np.float32)
    assert_same(prior, row, size, spread, seed, worth, channels)


@needs_core
@pytest.mark.parametrize("bundle", BUNDLES)
@pytest.mark.parametrize("spread", [0.0, 0.5, 20.0])
def test_golden_bundles(bundle, spread):
    prior = codec_of(bundle).bundle.prior
    assert_same(prior, 77, (130, 90), spread, 5, prior.rounding_bits)
    assert_same(prior, 0, (17, 1), spread, 6)


@needs_core
@pytest.mark.parametrize("spread", [0.0, 0.4, 30.0])
def test_the_bundle_that_ships(codec, spread):
    assert_same(codec.bundle.prior, 128, (100, 70), spread, 8, 14.0)


@needs_core
def test_worth_of_each_cell():
    prior = codec_of("trellis").bundle.prior
    rng = np.random.default_rng(0)
    worth = rng.uniform(1, 30, (6, 9)).astype(np.float32)
    assert_same(prior, 30, (140, 90), 4.0, 3, worth)
    channels = rng.uniform(0.1, 9, prior.latents).astype(np.float32)
    assert_same(prior, 30, (140, 90), 4.0, 3, worth, channels)


@pytest.mark.parametrize("name", ["native", "numpy"])
@pytest.mark.parametrize("bundle", ["offset", "trellis"])
def test_worth_of_each_channel_is_the_worth_of_its_latents(name, bundle):
    """Ones change nothing, twos are twice the worth, and where errors are worth little there are
    more."""
    if name == "native" and not SETS:
        pytest.skip("the native core was not built")
    prior = codec_of(bundle).bundle.prior
    y, z_hat = drawn(prior, 128, 96, 0.9, 4)
    channels = np.ones(prior.latents, np.float32)
    with chosen_core(name):
        plain = quantise(prior, 60, y, z_hat, 9.0)
        ones = quantise(prior, 60, y, z_hat, np.full(y.shape[:2], 9, np.float32), channels)
        np.testing.assert_array_equal(ones.y_hat, plain.y_hat)
        twice = quantise(prior, 60, y, z_hat, 4.5, 2 * channels)
        np.testing.assert_array_equal(twice.y_hat, plain.y_hat)
        channels[::2] = 0.01
        some = quantise(prior, 60, y, z_hat, 9.0, channels)
    errors = np.square(some.y_hat / prior.unit - y)
    assert errors[..., ::2].mean() > 1.2 * errors[..., 1::2].mean()


@needs_core
def test_latents_that_are_no_numbers():
    prior = codec_of("trellis").bundle.prior
    y, z_hat = drawn(prior, 64, 64, 1.0, 0)
    y[0, :3, :] = np.array([np.nan, np.inf, -np.inf])[:, None]
    y[1, 0], y[1, 1] = 1e30, -40_000
    with chosen_core("numpy"):
        want = quantise(prior, 9, y, z_hat, 9.0)
    for isa in SETS:
        with chosen_core("native", isa):
            got = quantise(prior, 9, y, z_hat, 9.0)
            np.testing.assert_array_equal(got.y_hat, want.y_hat)


@needs_core
def test_a_factorized_prior():
    prior = codec_of("factorized").bundle.prior
    z = np.random.default_rng(1).normal(0, 300, (4, 4, 8)).astype(np.float32)
    with chosen_core("numpy"):
        payload, code_all, sent = encode_latents(prior, 3, z, z)
    for isa in SETS:
        with chosen_core("native", isa):
            got = decode_latents(prior, 3, payload, 32, 32, code_all)
            np.testing.assert_array_equal(got.y_hat, sent.y_hat)
            assert encode_latents(prior, 3, z, z)[0] == payload


INT16 = st.sampled_from([0, 1, 60, 4000, 32768])


@needs_core
@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), INT16, INT16)
def test_layers(seed, loud, louder):
    """Programs of each kind of layer, at quiet and extreme inputs and weights, around the border of
    int32."""
    rng = np.random.default_rng(seed)
    cin, cout, h, w = (int(n) for n in rng.integers(1, [130, 80, 9, 9]))
    cout *= 4
    kinds = ["conv1x1", "depthwise3x3", "leaky", "add", "shuffle"]
    order = [*rng.permutation(kinds).tolist(), *rng.choice(kinds[:4], 3).tolist()]
    program, arrays, c, x = [], {}, cin, "view"
    before = None
    for k, op in enumerate(order):
        out = "abc"[int(rng.integers(3))]
        layer = {"op": op, "in": x, "out": out, "shift": int(rng.integers(1, 25))}
        if op in ("conv1x1", "depthwise3x3"):
            shape = (cout, c) if op == "conv1x1" else (c, 3, 3)
            arrays[f"{k}.w"] = rng.integers(-louder, max(louder, 1), shape).astype(np.int16)
            arrays[f"{k}.b"] = rng.integers(-(2**31), 2**31, shape[0])
            layer |= {"weight": f"{k}.w", "bias": f"{k}.b"}
            c = shape[0]
        elif op == "add":
            # what was written before, if it still is there and has its shape
            fits = before is not None and before[1] == c
            layer["in"] = [x, before[0] if fits and rng.integers(2) else x]
        elif op == "shuffle":
            if c % 4:
                continue
            c //= 4
        program.append(layer)
        before = None if op in ("shuffle", "conv1x1") or out == x else (x, c)
        x = out
    view = rng.integers(-loud, max(loud, 1), (h, w, cin))
    weights = {}
    for name, a in arrays.items():
        if name.endswith(".w"):
            a = a.T if a.ndim == 2 else a.transpose(1, 2, 0)
        weights[name] = a.astype(np.float64)
    want = interpreter.run(program, weights, 0, view=view.astype(np.float64))
    for isa in SETS:
        got = core.run(program, arrays, 0, isa, view=view)
        np.testing.assert_array_equal(got, want)


@needs_core
@given(st.integers(0, 255), st.integers(1, 30), st.booleans())
def test_row(row, shift, with_bias):
    rng = np.random.default_rng(row)
    z = rng.integers(-MOST - 8000, MOST + 8000, (3, 5, 7))
    arrays = {
        "m": rng.integers(-(2**21), 2**21, (256, 7)),
        "b": rng.integers(-(2**30), 2**30, (256, 7)),
    }
    layer = {"op": "row", "in": "z", "out": "a", "multiplier": "m", "shift": shift}
    if with_bias:
        layer["bias"] = "b"
    want = interpreter.run([layer], arrays, row, z=z.astype(np.float64))
    for isa in SETS:
        np.testing.assert_array_equal(core.run([layer], arrays, row, isa, z=z), want)


@needs_core
def test_threads_share_a_block():
    """Calls from several threads at once, some of them with helpers, do not meet."""
    prior = codec_of("context").bundle.prior
    y, z_hat = drawn(prior, 200, 200, 2.0, 4)
    with chosen_core("native"):
        want = write(prior, 5, quantise(prior, 5, y, z_hat, 9.0))[0]
        got: list[bytes] = []

        def work(helpers: int):
            with codec_threads(helpers):
                for _ in range(20):
                    quantised = quantise(prior, 5, y, z_hat, 9.0)
                    payload = write(prior, 5, quantised)[0]
                    sent = decode_latents(prior, 5, payload, 200, 200, quantised.code_all)
                    assert (sent.y_hat == quantised.y_hat).all()
                    got.append(payload)

        threads = [threading.Thread(target=work, args=(1 + i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == [want] * 80


@needs_core
def test_helpers_are_gone_after_a_call():
    def count_becomes(wanted: int) -> bool:
        """Soon: threads begin and end a little after the calls that start and await them."""
        until = time.monotonic() + 10
        while _thread._count() != wanted and time.monotonic() < until:
            time.sleep(0.001)
        return _thread._count() == wanted

    before = _thread._count()
    with codec_threads(3):
        with team() as made:
            assert count_becomes(before + 2)
            assert made.value is not None
        assert count_becomes(before)
    with team() as made:
        assert made.value is None


@needs_core
def test_no_thread_can_be_started():
    """The caller does all the work."""
    prior = codec_of("context").bundle.prior
    y, z_hat = drawn(prior, 200, 200, 2.0, 4)
    with chosen_core("native"):
        want = quantise(prior, 5, y, z_hat, 9.0).y_hat
        refused = mock.patch.object(_thread, "start_new_thread", side_effect=RuntimeError)
        with codec_threads(4), refused:
            np.testing.assert_array_equal(quantise(prior, 5, y, z_hat, 9.0).y_hat, want)


@needs_core
def test_a_block_that_does_not_hold_is_refused():
    """Any number of the header or of a layer changed to one that leads out of the block."""
    block = codec_of("context").bundle.prior.native_block

    def status(field: int, value: int) -> int:
        # in new memory of the same alignment, so that a sanitizer sees its end
        memory = np.zeros(block.size + 64, np.uint8)
        at = -memory.ctypes.data % 64
        memory[at : at + block.size] = block
        memory[at : at + block.size].view(np.int64)[field] = value
        pointer = ctypes.c_void_p(memory.ctypes.data + at)
        return native.library().aei_check(pointer, ctypes.c_int64(block.size))

    numbers = block[: 8 * len(HEADER)].view(np.int64)
    assert status(0, numbers[0]) == core.OK
    for i, name in enumerate(HEADER):
        if name != "z_table":  # not used by a model with a context
            assert status(i, -1) == core.BAD_PROGRAM, name
            assert status(i, 1 << 40) == core.BAD_PROGRAM, name
        if name in ("layers", "starts", "sums", "quick", "bits", "next"):
            assert status(i, block.size - 8) == core.BAD_PROGRAM, name
    start = int(numbers[HEADER.index("layers")]) // 8
    for layer in range(int(numbers[HEADER.index("layer_count")])):
        for field in ("kind", "in", "cin", "cout", "out"):
            at = start + layer * len(LAYER) + LAYER.index(field)
            assert status(at, 1 << 30) == core.BAD_PROGRAM, field


def test_the_environment_chooses(monkeypatch):
    monkeypatch.setenv("AEI_CORE", "numpy")
    assert native.describe() == "NumPy"
    prior = codec_of("tiny").bundle.prior
    assert core.core_of(prior, (4, 4)) is None
    monkeypatch.setenv("AEI_CORE", "fast")
    with pytest.raises(UnsupportedError, match="AEI_CORE=fast"):
        native.chosen()
    monkeypatch.setenv("AEI_CORE", "auto")
    if not SETS:
        assert native.describe() == "NumPy"
        return
    for isa in SETS:
        monkeypatch.setenv("AEI_CORE_ISA", isa)
        assert native.describe() == f"native, {isa}"
    monkeypatch.setenv("AEI_CORE_ISA", "mmx")
    with pytest.raises(UnsupportedError, match="AEI_CORE_ISA=mmx"):
        native.chosen()


def test_without_a_library_numpy_works(monkeypatch):
    native.library.cache_clear()
    native.instruction_sets.cache_clear()
    monkeypatch.setattr(native, "LIBRARY", native.LIBRARY.with_name("none.so"))
    try:
        assert native.instruction_sets() == ()
        assert native.chosen() is None
        monkeypatch.setenv("AEI_CORE", "native")
        with pytest.raises(UnsupportedError, match="not built"):
            native.chosen()
    finally:
        monkeypatch.undo()
        native.library.cache_clear()
        native.instruction_sets.cache_clear()


def test_version_names_the_core(run_aei):
    result = run_aei("--version")
    assert result.code == 0
    assert f"(core: {native.describe()})" in result.out


def test_check_byte_is_that_of_the_format():
    y = np.arange(12, dtype=np.int32).reshape(1, 3, 4)
    assert core.check_byte(y) == zlib.crc32(y.astype("<i4").tobytes()) & 255
