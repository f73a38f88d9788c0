"""The float transforms at run time: ONNX Runtime sessions over a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...formats import ModelError
from ...formats.tiles import Box
from .runtime import Session, onnxruntime

# The input of g_s by which its network can be told from its linear path: the gain of the features
# at an eighth of the resolution.
LAST_GAIN = "gain8"
FINISH = "g_s.finish"  # the end of g_s at half the resolution, a graph of its own
BAND = 64  # rows of pixels that it takes at once, so that its features stay in a processor's caches
PREVIEW_CELL = 4  # pixels of the finest preview in a cell of the latents' grid, each way


class Transforms:
    """Sessions for one bundle, each created when first used.

    rows: float32 (256, C) arrays by name, the bundle's gain rows. threads: of one run; by default
    one per core. margin: pixels around one that the end of g_s sees; 0: it has none.
    """

    def __init__(
        self,
        path: Path,
        rows: dict[str, np.ndarray],
        threads: int | None = None,
        margin: int = 0,
    ):
        self._path = path
        self._threads = threads
        self._margin = margin
        self._rows = rows
        self._sessions: dict[str, Session] = {}

    def _session(self, name: str) -> Session:
        if name not in self._sessions:
            file = self._path / f"{name}.onnx"
            # of two threads that come at once, one's is kept
            self._sessions.setdefault(name, Session(file, self._threads, "transform"))
        return self._sessions[name]

    def _run(
        self, graph: str, name: str, value: np.ndarray, gain_index: int, **gains
    ) -> np.ndarray:
        """Run a graph on its one image input; its other inputs are rows of gains, or those
        given."""
        session = self._session(graph)
        inputs = {name: value, **gains}
        for other in session.get_inputs():
            if other.name not in inputs:
                inputs[other.name] = self._row(f"{graph}.{other.name}", gain_index)
        return session.run(None, inputs)[0]

    def _row(self, name: str, gain_index: int) -> np.ndarray:
        if name not in self._rows:
            raise ModelError(f"{self._path}: the model has no gains called {name}")
        return np.ascontiguousarray(self._rows[name][gain_index][None, :, None, None])

    def analysis(self, x: np.ndarray, gain_index: int) -> np.ndarray:
        """g_a. x: float32 (1, 3, H, W), sides multiples of 16, range -0.5..0.5.

        Returns y, float32 (h, w, M) in quantisation steps, not rounded.
        """
        y = self._run("g_a", "x", x, gain_index)
        gain = self._row("gain", gain_index)
        self._expect("g_a", y, (1, gain.shape[1], *y.shape[2:]))
        y *= gain
        return _channels_last(y)

    def hyper_analysis(self, y: np.ndarray, gain_index: int) -> np.ndarray:
        """h_a. y: float32 (h, w, M). Returns z, float32 (hz, wz, Z), not rounded; a model without
        h_a codes y as z."""
        if "z_gain" not in self._rows and not (self._path / "h_a.onnx").exists():
            return y
        z = self._run("h_a", "y", np.ascontiguousarray(y.transpose(2, 0, 1)[None]), gain_index)
        gain = self._row("z_gain", gain_index)
        self._expect("h_a", z, (1, gain.shape[1], *z.shape[2:]))
        z *= gain
        return _channels_last(z)

    def synthesis(
        self, y_hat: np.ndarray, gain_index: int, mean_bits: int, wanted: Box | None = None
    ) -> np.ndarray:
        """g_s. y_hat: int32 (h, w, M), fixed point with `mean_bits` fractional bits; wanted: the
        pixels to return, by default all.

        Returns float32 (stride h, stride w, 3), or of `wanted`'s size, about -0.5..0.5, not
        clipped.
        """
        x = self._run("g_s", "y", self._dequantised(y_hat, gain_index, mean_bits), gain_index)
        self._expect("g_s", x, (1, 3, *x.shape[2:]))
        if wanted is not None and (x.shape[2] < wanted.bottom or x.shape[3] < wanted.right):
            raise ModelError(f"{self._path}: g_s.onnx gives fewer pixels than it should")
        x = x[0]
        wanted = Box(0, 0, x.shape[2], x.shape[1]) if wanted is None else wanted
        if self._margin:
            x = self._finished(x, gain_index, wanted)
        else:
            x = x[:, wanted.top : wanted.bottom, wanted.left : wanted.right]
        return x.transpose(1, 2, 0)

    def _finished(self, x: np.ndarray, gain_index: int, wanted: Box) -> np.ndarray:
        """The end of g_s, band by band. x: float32 (3, H, W), even sides, all that g_s has made,
        beyond which the network sees zeros. Returns float32 (3, h, w) of what is wanted."""
        whole = Box(0, 0, x.shape[2], x.shape[1])
        out = np.empty((3, wanted.height, wanted.width), np.float32)
        for top in range(wanted.top, wanted.bottom, BAND):
            band = Box(wanted.left, top, wanted.width, min(BAND, wanted.bottom - top))
            outer = band.grown(self._margin, whole)
            left, above = outer.left & ~1, outer.top & ~1  # it works on cells of 2x2 pixels
            part = x[None, :, above : outer.bottom + 1 & ~1, left : outer.right + 1 & ~1]
            done = self._run(FINISH, "x", np.ascontiguousarray(part), gain_index)[0]
            done = done[:, top - above :, band.left - left :]
            place = slice(top - wanted.top, top - wanted.top + band.height)
            out[:, place] = done[:, : band.height, : band.width]
        return out

    def _expect(self, graph: str, a: np.ndarray, shape: tuple[int, ...]) -> None:
        if a.shape != shape or a.ndim != 4 or a.dtype != np.float32:
            raise ModelError(f"{self._path}: {graph}.onnx gives {a.dtype} of a shape {a.shape}")

    def _dequantised(self, y_hat: np.ndarray, gain_index: int, mean_bits: int) -> np.ndarray:
        y = y_hat.transpose(2, 0, 1)[None].astype(np.float32)
        y *= self._row("inverse_gain", gain_index) * np.float32(2.0**-mean_bits)
        return y

    @property
    def has_linear_path(self) -> bool:
        """Whether g_s is a linear map beside a network whose features have a gain."""
        return LAST_GAIN in {given.name for given in self._session("g_s").get_inputs()}

    def linear_synthesis(self, y_hat: np.ndarray, gain_index: int, mean_bits: int) -> np.ndarray:
        """What the linear path of g_s alone makes of latents; arguments and result as of
        `synthesis`.

        With its features times zero, the network adds what its biases make of nothing, and so it
        does to latents that are zero: the difference is the linear path. The end of g_s is left
        out.
        """
        y = self._dequantised(y_hat, gain_index, mean_bits)
        nothing = {LAST_GAIN: np.zeros_like(self._row(f"g_s.{LAST_GAIN}", gain_index))}
        x = self._run("g_s", "y", y, gain_index, **nothing)
        x -= self._run("g_s", "y", np.zeros_like(y), gain_index, **nothing)
        return x[0].transpose(1, 2, 0)

    def error_gradient(
        self,
        y_hat: np.ndarray,
        gain_index: int,
        target: np.ndarray,
        weight: np.ndarray,
        keep: bool = False,
    ) -> tuple[float, np.ndarray]:
        """How far g_s is from a target, and which way the latents should move.

        y_hat: float32 (h, w, M), in quantisation steps; target: float32 (1, 3, H, W) in -0.5..0.5;
        weight: float32 (1, 1, H, W), of each pixel. Returns the weighted sum of squared errors over
        pixels and channels, and its gradient by y_hat, float32 (h, w, M); where x leaves -0.5..0.5
        on the target's far side, the gradient still pulls it back. keep: the session holds on to
        the memory that this took, some 400 bytes for each pixel, which the next call is faster by.
        """
        session = self._session("g_s_gradient")
        gain = self._rows["inverse_gain"][gain_index]
        y = np.ascontiguousarray((y_hat * gain).transpose(2, 0, 1)[None])
        inputs = {"y": y, "target": target, "weight": weight}
        for other in session.get_inputs():
            if other.name not in inputs:
                inputs[other.name] = self._row(f"g_s.{other.name}", gain_index)
        options = None if keep else self._give_memory_back()
        error, gradient = session.run(["error", "gradient"], inputs, options)
        return float(error), gradient[0].transpose(1, 2, 0) * gain

    @staticmethod
    def _give_memory_back():
        """Run options under which a session keeps nothing of what a run took: the gradient's tape
        is large."""
        options = onnxruntime().RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        return options

    @property
    def has_gradient(self) -> bool:
        return (self._path / "g_s_gradient.onnx").exists()

    def pull_back(
        self, y_hat: np.ndarray, gain_index: int, mean_bits: int, direction: np.ndarray
    ) -> np.ndarray:
        """The gradient by the latents of the sum of direction * g_s(latents): float32 (h, w, M),
        per quantisation step.

        y_hat: as in `synthesis`; direction: float32 (h', w', 3), held constant. From the graph of
        the error's gradient, by a target that is half of `direction` away from what g_s gives.
        """
        x = np.clip(self.synthesis(y_hat, gain_index, mean_bits), -0.5, 0.5)
        target = np.ascontiguousarray((x - direction / 2).transpose(2, 0, 1)[None], np.float32)
        weight = np.ones((1, 1, *target.shape[2:]), np.float32)
        steps = y_hat.astype(np.float32) * np.float32(2.0**-mean_bits)
        return self.error_gradient(steps, gain_index, target, weight)[1]

    def preview_scales(self, stride: int) -> tuple[int, ...]:
        """Reductions that `preview` can make: none for a model without one."""
        if "preview.weight" not in self._rows:
            return ()
        finest = stride // PREVIEW_CELL
        return (finest, 2 * finest)

    def preview(self, y_hat: np.ndarray, gain_index: int, mean_bits: int, cell: int) -> np.ndarray:
        """A small image straight from the latents, by one matrix, without the network.

        y_hat: as in `synthesis`; cell: pixels in a cell of the grid, each way, 4 or 2.
        Returns float32 (cell h, cell w, 3), about -0.5..0.5, not clipped.
        """
        gain = self._rows["inverse_gain"][gain_index] * np.float32(2.0**-mean_bits)
        weight, bias = self._rows["preview.weight"], self._rows["preview.bias"]
        n = PREVIEW_CELL // cell
        weight, bias = (
            a.reshape(-1, 3, cell, n, cell, n).mean((3, 5)).reshape(-1, 3 * cell * cell)
            for a in (weight, bias[None])
        )
        h, w, m = y_hat.shape
        x = (y_hat.reshape(h * w, m) * gain) @ weight + bias
        x = x.reshape(h, w, 3, cell, cell).transpose(0, 3, 1, 4, 2)
        return x.reshape(h * cell, w * cell, 3)


def _channels_last(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[0].transpose(1, 2, 0))
