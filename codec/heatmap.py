"""Where the bits of a file went: ideal code lengths, summed over what stands for each block of the image."""

from __future__ import annotations

import numpy as np

from ..formats import parse
from .api import Codec
from .bundle import Prior
from .latents import Latents, _walk, _z_index


def bit_map(codec: Codec, data: bytes) -> tuple[np.ndarray, int]:
    """Bits per block of a file: float64 (rows, columns), and the side of a block in pixels (the stride of the
    latents). The bits of a hyper-latent are shared by the blocks it stands for. Without the container, metadata and
    alpha. Raises the errors of Codec.decode.
    """
    contents = parse(data)
    header, prior = contents.header, codec.bundle.prior
    stride = prior.program["stride"]
    bits = np.zeros((-(-header.height // stride), -(-header.width // stride)))
    tiles = zip(contents.boxes, contents.entries, codec.latents(data))
    for box, entry, latents in tiles:
        part = latent_bits(prior, header.gain_index, latents, entry.code_all)
        top, left = box.top // stride, box.left // stride
        bits[top : top + part.shape[0], left : left + part.shape[1]] = part
    return bits, stride


def latent_bits(prior: Prior, row: int, latents: Latents, code_all: bool) -> np.ndarray:
    """float64 (h, w): the code length of each position's latents, and its share of the hyper-latents'."""
    program = prior.program
    z_bits = code_lengths(prior, latents.z_hat.ravel(), _z_index(prior, row, latents.z_hat.shape))
    z_bits = z_bits.reshape(latents.z_hat.shape).sum(2)
    if not program["steps"]:
        return z_bits
    h, w = latents.y_hat.shape[:2]
    block = program["hyper_stride"]
    spread = z_bits.repeat(block, 0).repeat(block, 1)[:h, :w]
    # edge hyper-latents stand for fewer blocks
    ones = np.ones((h, w))
    counts = np.add.reduceat(
        np.add.reduceat(ones, np.arange(0, h, block), 0), np.arange(0, w, block), 1
    )
    total = spread / counts.repeat(block, 0).repeat(block, 1)[:h, :w]
    first = 0 if code_all else program["skip_below"]
    one = 1 << program["mean_bits"]

    def residuals(mean, index, places):
        exact = np.concatenate([latents.y_hat[place].ravel() for place in places])
        values = ((exact - mean) / one).astype(np.int32)
        bits = np.where(index < first, 0.0, code_lengths(prior, values, index))
        start = 0
        for rows, columns, channels in places:
            part = latents.y_hat[rows, columns, channels]
            total[rows, columns] += bits[start : start + part.size].reshape(part.shape).sum(2)
            start += part.size
        return values

    _walk(prior, row, latents.z_hat, (h, w), residuals)
    return total


def code_lengths(prior: Prior, values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Bits of symbols under the tables of their indexes, escapes included. values: int (n,); index: uint8 (n,)."""
    bits, centre, reach = prior.costs
    centre, reach = centre[index], reach[index]
    magnitude = np.abs(values)
    outside = magnitude > reach
    lengths = bits[centre + np.where(outside, reach + 1, values)].astype(np.float64)
    # Exp-Golomb: as many zeros as u + 1 has bits after its first, then u + 1
    u = 2 * (magnitude[outside] - reach[outside] - 1) + (values[outside] < 0)
    lengths[outside] += 2 * np.floor(np.log2(u + 1)) + 1
    return lengths
