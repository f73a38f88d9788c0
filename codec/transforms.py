"""The float transforms at run time: ONNX Runtime sessions over a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats import ModelError
from ..formats.tiles import Box

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

    def analysis(
        self, x: np.ndarray, row: int, cells: Box | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """g_a and h_a. x: float32 (1, 3, H, W), sides multiples of 16, range -0.5..0.5; cells: the part
        of the latents that is wanted, the rest being margin.

        Returns y, float32 (h, w, M) in quantisation steps, and z, float32 (hz, wz, Z); not rounded.
        A model without h_a codes y as z.
        """
        y = self._run("g_a", "x", x, row)
        if cells is not None:
            y = y[:, :, cells.top : cells.bottom, cells.left : cells.right]
        y = y * self._row("gain", row)
        if not (self._path / "h_a.onnx").exists():
            return _channels_last(y), _channels_last(y)
        z = self._run("h_a", "y", y, row)
        z *= self._row("z_gain", row)
        return _channels_last(y), _channels_last(z)

    def synthesis(self, y_hat: np.ndarray, row: int, mean_bits: int) -> np.ndarray:
        """g_s. y_hat: int32 (h, w, M), fixed point with `mean_bits` fractional bits.

        Returns float32 (stride h, stride w, 3), about -0.5..0.5, not clipped.
        """
        y = y_hat.transpose(2, 0, 1)[None].astype(np.float32)
        y *= self._row("inverse_gain", row) * np.float32(2.0**-mean_bits)
        x = self._run("g_s", "y", y, row)
        return x[0].transpose(1, 2, 0)

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
