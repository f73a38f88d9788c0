"""Where the bits of a file went: ideal code lengths, summed over what stands for each block of the
image, over channels, and over the parts of the file that stand for no place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...formats import Contents, parse
from ...formats.container import CRC_BYTES, FLAG_SECTIONS, parse_header
from ...formats.sections import ALPHA, FILTER, METADATA, read_sections
from ..api import Codec
from ..decoder import check_model, tile_latents
from ..exact.hyper_latents import symbols_of
from ..exact.payload import Latents
from ..exact.prior import Prior
from ..exact.steps import gathered, scatter, walk
from ..exact.symbols import reconstruct
from ..pixels.side_channels import alpha_span

CHECK_BITS = 8  # of each tile, see payload.py


@dataclass(frozen=True)
class Account:
    """Every bit of a file.

    cells: float64 (h, w), bits of each cell of the latents' grid, hyper-latents included, each
    shared by the cells it stands for; side: of a cell in pixels. channels: float64 (M,), bits of
    each channel of y, without the hyper-latents, whose are `hyper`. energy, magnitude: float64
    (M,), mean square of each channel of y_hat, and mean magnitude where it is half a quantisation
    step or more, both in quantisation steps. rest: bits that belong to no place, by what they are;
    cells and rest sum to the file. "range coder" is what the coder took beyond the ideal length,
    and may be negative by a few bits.
    """

    cells: np.ndarray
    side: int
    channels: np.ndarray
    hyper: float
    energy: np.ndarray
    magnitude: np.ndarray
    rest: dict[str, float]


def bit_map(codec: Codec, data: bytes) -> tuple[np.ndarray, int]:
    """Bits per block of a file: float64 (rows, columns), and the side of a block in pixels (the
    stride of the latents). The bits of a hyper-latent are shared by the blocks it stands for.
    Without the container, metadata and alpha. Raises the errors of Codec.decode.
    """
    account, _ = take_account(codec, parse(data), keep=False)
    return account.cells, account.side


def take_account(
    codec: Codec, contents: Contents, keep: bool = True
) -> tuple[Account, list[np.ndarray]]:
    """Every bit of a parsed file; and y_hat of its tiles, int32 (h, w, M) each, if `keep`.
    Raises the errors of Codec.decode."""
    header, model = contents.header, codec.model_of_file(contents.header)
    check_model(model, contents)
    prior = model.prior
    side, m = prior.stride, prior.latents
    cells = np.zeros((-(-header.height // side), -(-header.width // side)))
    channels, square, magnitude, active = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
    hyper = 0.0
    kept = []
    for i, (box, entry) in enumerate(zip(contents.boxes, contents.entries)):
        latents = tile_latents(model, contents, i)
        y_bits, z_bits = symbol_bits(prior, header.gain_index, latents, entry.code_all)
        part = y_bits.sum(2) + spread(z_bits.sum(2), y_bits.shape, prior.hyper_stride)
        top, left = box.top // side, box.left // side
        cells[top : top + part.shape[0], left : left + part.shape[1]] = part
        channels += y_bits.sum((0, 1))
        hyper += float(z_bits.sum())
        y = np.abs(latents.y_hat) / prior.unit
        square += np.square(y).sum((0, 1))
        magnitude += np.where(y >= 0.5, y, 0).sum((0, 1))
        active += (y >= 0.5).sum((0, 1))
        if keep:
            kept.append(latents.y_hat)
    rest: dict[str, float] = {}
    sizes = file_parts(contents)
    tiles = len(contents.entries)
    written = 8 * sizes.pop("payload")
    rest["check of the latents"] = CHECK_BITS * tiles
    rest["range coder"] = written - float(cells.sum()) - CHECK_BITS * tiles
    rest |= {name: 8.0 * size for name, size in sizes.items() if size}
    energy = square / cells.size
    return (
        Account(cells, side, channels, hyper, energy, magnitude / np.maximum(active, 1), rest),
        kept,
    )


def file_parts(contents: Contents) -> dict[str, int]:
    """Bytes of the parts of a file by name; they sum to the file. "payload" is the coded
    latents."""
    data, entries = contents.data, contents.entries
    _, offset = parse_header(data)
    parts = {"header": offset, "payload": 0, "alpha": len(contents.sections.get(ALPHA, b""))}
    start = offset
    if data[4] & FLAG_SECTIONS:
        _, offset = read_sections(data, start)
        for name, kind in (METADATA | {"filter": FILTER}).items():
            parts[name] = len(contents.sections.get(kind, b""))
        known = sum(len(content) for content in contents.sections.values())
        parts["types and lengths of sections"] = offset - start - known
    if contents.side:
        parts["tile table"] = entries[0].start - CRC_BYTES - offset
    for i, entry in enumerate(entries):
        # a tile of a file with alpha begins with its alpha plane
        plane = 0
        if contents.side and contents.header.alpha:
            plane = alpha_span(contents.tile(i))[1]
        parts["alpha"] += plane
        parts["payload"] += entry.end - entry.start - plane
    parts["checksum"] = CRC_BYTES
    return parts


def spread(bits: np.ndarray, shape: tuple[int, ...], block: int) -> np.ndarray:
    """Bits of hyper-latents, float64 (hz, wz), shared equally by the cells that each stands for:
    (h, w)."""
    h, w = shape[:2]
    # edge hyper-latents stand for fewer cells
    counts = np.add.reduceat(
        np.add.reduceat(np.ones((h, w)), np.arange(0, h, block), 0), np.arange(0, w, block), 1
    )
    return (bits / counts).repeat(block, 0).repeat(block, 1)[:h, :w]


def symbol_bits(
    prior: Prior, gain_index: int, latents: Latents, code_all: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The code lengths of y, float64 (h, w, M), and of z, float64 (hz, wz, Z). A factorized prior
    codes y as it codes z: there, (h, w, M) and (h, w, 0)."""
    symbols, tables = symbols_of(prior, gain_index, latents.z_hat)
    z_bits = code_lengths(prior, symbols.ravel(), tables.ravel()).reshape(symbols.shape)
    if not prior.steps:
        return z_bits, z_bits[..., :0]
    h, w = latents.y_hat.shape[:2]
    y_bits = np.zeros(latents.y_hat.shape)
    first = 0 if code_all else prior.skip_below

    def residuals(mean, index, places):
        exact = gathered(latents.y_hat, places)
        values, tables = symbols_at(prior, exact - mean, index)
        bits = np.where(index < first, 0.0, code_lengths(prior, values, tables))
        scatter(bits, places, y_bits)
        return exact - mean

    walk(prior, gain_index, latents.z_hat, (h, w), residuals)
    return y_bits, z_bits


def symbols_at(
    prior: Prior, points: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of symbols.reconstruct: int32 (n,), and the table of each. Offsets are below a
    step, so it is the nearest integer or the next."""
    nearest = np.rint(points / prior.unit).astype(np.int32)
    values = nearest
    if prior.offsets is not None:
        for candidate in (nearest - 1, nearest + 1, nearest):
            values = np.where(reconstruct(prior, candidate, index) == points, candidate, values)
    if prior.trellis is None:
        return values, index
    steered, tables = prior.trellis.values_at(points, index)
    return np.where(index < prior.trellis.first, values, steered), tables


def code_lengths(prior: Prior, values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Bits of symbols under the tables of their indexes, escapes included. values, index: int
    (n,)."""
    bits, centre, reach = prior.costs
    centre, reach = centre[index], reach[index]
    magnitude = np.abs(values)
    outside = magnitude > reach
    lengths = bits[centre + np.where(outside, reach + 1, values)].astype(np.float64)
    # Exp-Golomb: as many zeros as u + 1 has bits after its first, then u + 1
    u = 2 * (magnitude[outside] - reach[outside] - 1) + (values[outside] < 0)
    lengths[outside] += 2 * np.floor(np.log2(u + 1)) + 1
    return lengths
