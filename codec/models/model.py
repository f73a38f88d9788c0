"""`Model`: a bundle together with what runs it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...formats.tiles import UNIT
from ..cpus import available_cpus, blas_threads
from ..forks import Lock
from .bundle import Bundle

if TYPE_CHECKING:
    from ..exact.prior import Prior
    from .transforms import Transforms


@contextlib.contextmanager
def own_threads(threads: int | None) -> Iterator[None]:
    """Meanwhile NumPy and, called from this thread, the native core use so many threads; None: one
    per core, and NumPy what it likes."""
    from ..exact.native.team import codec_threads

    with blas_threads(threads), codec_threads(threads or available_cpus()):
        yield


class Model:
    """A bundle, and the sessions over its graphs, opened when they are needed. Safe to use from
    several threads.

    threads: of the float transforms and of the native core, by default one per core.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None):
        self.bundle, self.threads = bundle, threads
        self._lock = Lock()
        self._transforms: Transforms | None = None

    @property
    def prior(self) -> Prior:
        """The bundle's integer prior."""
        return self.bundle.prior

    @property
    def transforms(self) -> Transforms:
        """The float transforms (loads ONNX Runtime)."""
        with self._lock:
            if self._transforms is None:
                from .transforms import Transforms

                bundle = self.bundle
                self._transforms = Transforms(bundle.path, bundle.rows, self.threads, bundle.margin)
            return self._transforms

    @property
    def tile_unit(self) -> int:
        """Sides of tiles are multiples of this, so that they are whole numbers of hyper-latents."""
        return max(UNIT, self.prior.stride * self.prior.hyper_stride)

    @property
    def margin(self) -> int:
        """Pixels around a box whose latents it needs. A post-filter sees a little more than the
        synthesis, hence a cell more."""
        return (self.bundle.halo + 1) * self.prior.stride
