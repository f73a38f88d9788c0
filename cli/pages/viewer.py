"""One page that opens .aei files, with the decoder and weights in it: no server, no network."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...codec.models.bundle import Bundle

PLACE = "<!-- weights -->\n"  # web/scripts/build.mjs leaves it


def viewer_page(bundles: list[Bundle]) -> str:
    """The page with the weights of these bundles; files of other models ask for theirs.

    Raises ModelError where a bundle is damaged.
    """
    from ...codec.training.export.web import pack_weights

    page = files(__package__).joinpath("web", "viewer.html").read_text(encoding="utf-8")
    before, after = page.split(PLACE)
    weights = [
        f'<script type="text/plain" data-fingerprint="{bundle.fingerprint.hex()}">'
        f"{base64.b64encode(pack_weights(bundle)).decode()}</script>\n"
        for bundle in bundles
    ]
    return "".join([before, *weights, after])
