"""The float transforms at run time: ONNX Runtime sessions over a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats import ModelError

PREVIEW_CELL = 4  # pixels of the finest preview in a cell of the latents' grid, each way


class Transforms:
    """Sessions for one bundle, each created when first used.

    rows: float32 (256, C) arrays by name, the bundle's gain rows. threads: of one run; by default one per core.
    """

    def __init__(self, path: Path, rows: dict[str, np.ndarray], threads: int | None = None):
        self._path = path
        self._threads = threads
        self._rows = rows
        self._sessions: dict = {}

    def _session(self, name: str):
        if name not in self._sessions:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.log_severity_level = 3
            options.intra_op_num_threads = self._threads or 0
            file = self._path / f"{name}.onnx"
            try:
                self._sessions[name] = ort.InferenceSession(
                    str(file), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:
                raise ModelError(f"{file}: the transform cannot be loaded ({error})") from None
        return self._sessions[name]

    def _run(self, graph: str, name: str, value: np.ndarray, row: int) -> np.ndarray:
        """Run a graph on its one image input; its other inputs are rows of gains."""
        session = self._session(graph)
        inputs = {name: value}
        for other in session.get_inputs():
            if other.name != name:
                inputs[other.name] = self._row(f"{graph}.{other.name}", row)
        return session.run(None, inputs)[0]

    def _row(self, name: str, row: int) -> np.ndarray:
        return np.ascontiguousarray(self._rows[name][row][None, :, None, None])

    def analysis(self, x: np.ndarray, row: int) -> np.ndarray:
        """g_a. x: float32 (1, 3, H, W), sides multiples of 16, range -0.5..0.5.

        Returns y, float32 (h, w, M) in quantisation steps, not rounded.
        """
        y = self._run("g_a", "x", x, row)
        y *= self._row("gain", row)
        return _channels_last(y)

    def hyper_analysis(self, y: np.ndarray, row: int) -> np.ndarray:
        """h_a. y: float32 (h, w, M). Returns z, float32 (hz, wz, Z), not rounded; a model without h_a codes y as z."""
        if not (self._path / "h_a.onnx").exists():
            return y
        z = self._run("h_a", "y", np.ascontiguousarray(y.transpose(2, 0, 1)[None]), row)
        z *= self._row("z_gain", row)
        return _channels_last(z)

    def synthesis(self, y_hat: np.ndarray, row: int, mean_bits: int) -> np.ndarray:
        """g_s. y_hat: int32 (h, w, M), fixed point with `mean_bits` fractional bits.

        Returns float32 (stride h, stride w, 3), about -0.5..0.5, not clipped.
        """
        y = y_hat.transpose(2, 0, 1)[None].astype(np.float32)
        y *= self._row("inverse_gain", row) * np.float32(2.0**-mean_bits)
        x = self._run("g_s", "y", y, row)
        return x[0].transpose(1, 2, 0)

    def error_gradient(
        self, y_hat: np.ndarray, row: int, target: np.ndarray, weight: np.ndarray
    ) -> tuple[float, np.ndarray]:
        """How far g_s is from a target, and which way the latents should move.

        y_hat: float32 (h, w, M), in quantisation steps; target: float32 (1, 3, H, W) in -0.5..0.5; weight: float32
        (1, 1, H, W), of each pixel. Returns the weighted sum of squared errors over pixels and channels, and
        its gradient by y_hat, float32 (h, w, M); where x leaves -0.5..0.5 on the target's far side, the gradient
        still pulls it back.
        """
        session = self._session("g_s_gradient")
        gain = self._rows["inverse_gain"][row]
        y = np.ascontiguousarray((y_hat * gain).transpose(2, 0, 1)[None])
        inputs = {"y": y, "target": target, "weight": weight}
        for other in session.get_inputs():
            if other.name not in inputs:
                inputs[other.name] = self._row(f"g_s.{other.name}", row)
        error, gradient = session.run(["error", "gradient"], inputs)
        return float(error), gradient[0].transpose(1, 2, 0) * gain

    def preview_scales(self, stride: int) -> tuple[int, ...]:
        """Reductions that `preview` can make: none for a model without one."""
        if "preview.weight" not in self._rows:
            return ()
        finest = stride // PREVIEW_CELL
        return (finest, 2 * finest)

    def preview(self, y_hat: np.ndarray, row: int, mean_bits: int, cell: int) -> np.ndarray:
        """A small image straight from the latents, by one matrix, without the network.

        y_hat: as in `synthesis`; cell: pixels in a cell of the grid, each way, 4 or 2.
        Returns float32 (cell h, cell w, 3), about -0.5..0.5, not clipped.
        """
        gain = self._rows["inverse_gain"][row] * np.float32(2.0**-mean_bits)
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
