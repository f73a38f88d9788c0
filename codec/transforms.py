"""The float transforms at run time: ONNX Runtime sessions over a bundle's graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..formats import ModelError


class Transforms:
    """Sessions for one bundle, each created when first used.

    rows: float32 (256, C) arrays by name, the bundle's gain rows.
    """

    def __init__(self, path: Path, rows: dict[str, np.ndarray]):
        self._path = path
        self._rows = rows
        self._sessions: dict = {}

    def _session(self, name: str):
        if name not in self._sessions:
            import onnxruntime as ort

            options = ort.SessionOptions()
            options.log_severity_level = 3
            file = self._path / f"{name}.onnx"
            try:
                self._sessions[name] = ort.InferenceSession(
                    str(file), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:
                raise ModelError(f"{file}: the transform cannot be loaded ({error})") from None
        return self._sessions[name]

    def _row(self, name: str, row: int) -> np.ndarray:
        return np.ascontiguousarray(self._rows[name][row][None, :, None, None])

    def analysis(self, x: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
        """g_a and h_a. x: float32 (1, 3, H, W), sides multiples of 16, range -0.5..0.5.

        Returns y, float32 (h, w, M) in quantisation steps, and z, float32 (hz, wz, Z); not rounded.
        """
        inputs = {
            "x": x,
            "gain8": self._row("g_a.gain8", row),
            "gain16": self._row("g_a.gain16", row),
        }
        (y,) = self._session("g_a").run(None, inputs)
        y *= self._row("gain", row)
        (z,) = self._session("h_a").run(None, {"y": y})
        z *= self._row("z_gain", row)
        return _channels_last(y), _channels_last(z)

    def synthesis(self, y_hat: np.ndarray, row: int, mean_bits: int) -> np.ndarray:
        """g_s. y_hat: int32 (h, w, M), fixed point with `mean_bits` fractional bits.

        Returns float32 (16 h, 16 w, 3), about -0.5..0.5, not clipped.
        """
        y = y_hat.transpose(2, 0, 1)[None].astype(np.float32)
        y *= self._row("inverse_gain", row) * np.float32(2.0**-mean_bits)
        inputs = {
            "y": y,
            "gain8": self._row("g_s.gain8", row),
            "gain16": self._row("g_s.gain16", row),
        }
        (x,) = self._session("g_s").run(None, inputs)
        return x[0].transpose(1, 2, 0)


def _channels_last(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a[0].transpose(1, 2, 0))
