"""A second decoder of everything in an .aei file, written from docs/format/specification.md alone.

Integers and the standard library only: no NumPy, no range coder library, nothing of the codec. It
is slow, and it is plain: each function is a paragraph of that page. Images are lists of rows of
positions of channels. `python plain_decoder.py BUNDLE FILE...` prints each file's latents_sha256
and, where the bundle has an integer synthesis, its pixels_sha256; or what is wrong.
"""

import hashlib
import json
import struct
import sys
import zlib
from pathlib import Path

MASK = 2**64 - 1
LARGEST_METADATA = 2**24


class Rejected(Exception):
    """The file is not a valid .aei file, or not one for this bundle."""


def rescale(a, s):
    return (a + (1 << (s - 1))) >> s if s else a


def clamp(a):
    return min(max(a, -32768), 32767)


# -- section 7: bundles ---------------------------------------------------------------------------

KINDS = {"U8": "B", "I16": "h", "U16": "H", "I32": "i", "I64": "q"}
NUMPY_NAMES = {"U8": "|u1", "I16": "<i2", "U16": "<u2", "I32": "<i4", "I64": "<i8"}


class Bundle:
    def __init__(self, folder):
        text = (Path(folder) / "prior.json").read_bytes()
        data = (Path(folder) / "prior.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        digest = hashlib.sha256(text + b"\0")
        self.program = json.loads(text)
        self.arrays = {}
        for name in sorted(header):
            entry = header[name]
            start, end = entry["data_offsets"]
            content = data[8 + length + start : 8 + length + end]
            shape = tuple(entry["shape"])
            digest.update(f"{name}\0{NUMPY_NAMES[entry['dtype']]} {shape}\0".encode() + content)
            kind = KINDS[entry["dtype"]]
            flat = struct.unpack(f"<{len(content) // struct.calcsize('<' + kind)}{kind}", content)
            self.arrays[name] = nest(list(flat), shape)
        self.fingerprint = digest.digest()[:4]
        self.synthesis = None
        if (Path(folder) / "synthesis.json").exists():
            self.synthesis = json.loads((Path(folder) / "synthesis.json").read_bytes())
            self.arrays |= read_arrays(Path(folder) / "synthesis.safetensors")
        self.tables, at = [], 0
        for size in self.arrays["tables.sizes"]:
            self.tables.append(self.arrays["tables.frequencies"][at : at + size])
            at += size


def read_arrays(path):
    """The arrays of a safetensors file, as nested lists."""
    data, arrays = path.read_bytes(), {}
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    for name, entry in header.items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        kind = KINDS[entry["dtype"]]
        count = (end - start) // struct.calcsize("<" + kind)
        arrays[name] = nest(list(struct.unpack(f"<{count}{kind}", data[start:end])), entry["shape"])
    return arrays


def nest(flat, shape):
    if len(shape) < 2:
        return flat
    step = len(flat) // shape[0]
    return [nest(flat[i : i + step], shape[1:]) for i in range(0, len(flat), step)]


# -- section 1: bytes -----------------------------------------------------------------------------


class Reader:
    """Bytes from the front, in order."""

    def __init__(self, data, position=0):
        self.data, self.position = data, position

    def take(self, count):
        if self.position + count > len(self.data):
            raise Rejected("ends early")
        self.position += count
        return self.data[self.position - count : self.position]

    def byte(self):
        return self.take(1)[0]

    def leb128(self, longest):
        value = 0
        for i in range(longest):
            byte = self.byte()
            value |= (byte & 127) << (7 * i)
            if byte < 128:
                if i and not byte:
                    raise Rejected("a number not in its shortest form")
                return value
        raise Rejected("a number too long")


def check_filter(content):
    """Section 6: what a post-filter's section may hold."""
    position, last = 0, 0
    for _ in range(3):
        if position >= len(content):
            break
        last = content[position]
        position += 1
        radius = last >> 4 & 3
        if last and not radius:
            raise Rejected("a filter without a radius")
        if radius:
            position += 2 ** (last >> 6) * 2 * radius * (radius + 1)
    if position != len(content) or not last:
        raise Rejected("a filter of another length than its planes'")


def inflate(content, most):
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(content, most + 1)
    except zlib.error as problem:
        raise Rejected(f"zlib stream: {problem}") from None
    if len(out) > most or not stream.eof or stream.unused_data:
        raise Rejected("zlib stream of a wrong length")
    return out


def alpha_plane(content, width, height):
    """The rows of an alpha plane."""
    raw = inflate(content, height * (width + 1))
    if len(raw) != height * (width + 1):
        raise Rejected("alpha plane of a wrong length")
    rows, above = [], [0] * width
    for y in range(height):
        row = list(raw[y * (width + 1) + 1 : (y + 1) * (width + 1)])
        kind = raw[y * (width + 1)]
        if kind > 2:
            raise Rejected("alpha filter")
        for x in range(width):
            if kind == 1 and x:
                row[x] = (row[x] + row[x - 1]) & 255
            elif kind == 2:
                row[x] = (row[x] + above[x]) & 255
        rows.append(row)
        above = row
    return rows


class File:
    """Header, sections and tiles: `tiles` has (width, height, code all?, alpha rows or None,
    payload)."""

    def __init__(self, data):
        if data[:4] != b"\xaeaei":
            raise Rejected("signature")
        reader = Reader(data, 4)
        head = reader.byte()
        if head >> 5 != 1:
            raise Rejected("version")
        self.grey, self.has_alpha, self.tiled = bool(head & 1), bool(head & 8), bool(head & 16)
        # The CRC comes first where it can: in a tiled file its place is known only further on.
        if not self.tiled:
            if len(data) < 16 or zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "little"):
                raise Rejected("CRC")
            reader.data = data[:-4]
        self.fingerprint = reader.take(4)
        self.gain_index = reader.byte()
        self.width, self.height = reader.leb128(3) + 1, reader.leb128(3) + 1
        if not self.tiled and max(self.width, self.height) > 2048:
            raise Rejected("a plain file too large")
        if self.tiled and head & 2:
            raise Rejected("flag 2 in a tiled file")
        self.sections = {}
        if head & 4:
            self.read_sections(reader)
        if self.tiled:
            self.read_tiles(reader)
        else:
            alpha = None
            if 4 in self.sections:
                alpha = alpha_plane(self.sections[4], self.width, self.height)
            rest = reader.take(len(reader.data) - reader.position)
            self.tiles = [(self.width, self.height, bool(head & 2), alpha, rest)]
        self.metadata = {}
        for kind, name in ((1, "icc_profile"), (2, "exif"), (3, "xmp")):
            if kind in self.sections:
                self.metadata[name] = inflate(self.sections[kind], LARGEST_METADATA)
        if 6 in self.sections:
            check_filter(self.sections[6])

    def read_sections(self, reader):
        before = 0
        while kind := reader.byte():
            if kind <= before:
                raise Rejected("order of sections")
            before = kind
            self.sections[kind] = reader.take(reader.leb128(4))
            if kind > 127:
                raise Rejected("a section that must be understood")
        if 4 in self.sections and (self.tiled or not self.has_alpha):
            raise Rejected("an alpha plane that does not belong")

    def read_tiles(self, reader):
        side = 64 * (reader.byte() + 1)
        if -(-self.width // side) * -(-self.height // side) > len(reader.data) // 5:
            raise Rejected("more tiles than the file can hold")
        sizes = [
            (min(side, self.width - x), min(side, self.height - y))
            for y in range(0, self.height, side)
            for x in range(0, self.width, side)
        ]
        table = [(reader.leb128(5), int.from_bytes(reader.take(4), "little")) for _ in sizes]
        end = reader.position
        if int.from_bytes(reader.take(4), "little") != zlib.crc32(reader.data[:end]):
            raise Rejected("CRC")
        self.side, self.tiles = side, []
        for (width, height), (length, crc) in zip(sizes, table):
            content = reader.take(length >> 1)
            if zlib.crc32(content) != crc:
                raise Rejected("CRC of a tile")
            alpha = None
            if self.has_alpha:
                part = Reader(content)
                plane = part.take(part.leb128(4))
                if plane:
                    alpha = alpha_plane(plane, width, height)
                content = content[part.position :]
            self.tiles.append((width, height, bool(length & 1), alpha, content))
        if reader.position != len(reader.data):
            raise Rejected("bytes after the last tile")


# -- section 3: entropy coding --------------------------------------------------------------------


class RangeDecoder:
    def __init__(self, payload):
        self.payload, self.position = payload, 0
        self.low, self.width = 0, MASK
        self.point = self.word() << 32 | self.word()
        # (sum of frequencies before, frequency) of every symbol, to code them again
        self.coded = []

    def word(self):
        bytes4 = self.payload[self.position : self.position + 4]
        self.position += 4
        return int.from_bytes(bytes4.ljust(4, b"\0"), "big")

    def symbol(self, frequencies):
        scale = self.width >> 24
        q = ((self.point - self.low) & MASK) // scale
        if q >= 1 << 24:
            raise Rejected("range coder")
        before = symbol = 0
        while q >= before + frequencies[symbol]:
            before += frequencies[symbol]
            symbol += 1
        f = frequencies[symbol]
        self.coded.append((before, f))
        self.low = (self.low + scale * before) & MASK
        self.width = scale * f
        if self.width < 1 << 32:
            self.low = self.low << 32 & MASK
            self.width <<= 32
            self.point = (self.point << 32 | self.word()) & MASK
        return symbol

    def values(self, tables, indexes):
        """As many values as indexes, in the order of the indexes."""
        places = sorted(range(len(indexes)), key=lambda place: indexes[place])
        values, escapes = [0] * len(indexes), []
        for place in places:
            frequencies = tables[indexes[place]]
            reach = len(frequencies) // 2 - 1
            symbol = self.symbol(frequencies)
            values[place] = symbol - reach
            if symbol == 2 * reach + 1:
                escapes.append((place, reach))
        for place, reach in escapes:
            zeros = 0
            while not self.symbol((1 << 23, 1 << 23)):
                zeros += 1
                if zeros > 16:
                    raise Rejected("an escape too long")
            u = 1
            for _ in range(zeros):
                u = u << 1 | self.symbol((1 << 23, 1 << 23))
            u -= 1
            magnitude = (u >> 1) + reach + 1
            if magnitude > 32767:
                raise Rejected("an escape too large")
            values[place] = -magnitude if u & 1 else magnitude
        return values

    def finish(self):
        if self.payload != encode(self.coded):
            raise Rejected("not the shortest payload")


def encode(coded):
    """The only valid payload for symbols given as (sum of frequencies before, frequency)."""
    value, low, width, words = 0, 0, MASK, 0
    for before, f in coded:
        scale = width >> 24
        low += scale * before  # carries beyond 64 bits go into `value`, the words put out before
        width = scale * f
        if width < 1 << 32:
            value = (value << 32) + (low >> 32)
            low = (low & 0xFFFFFFFF) << 32
            width <<= 32
            words += 1
    whole = (value << 64) + low
    for count in range(4 * words + 9):
        shift = 8 * (4 * words + 8 - count)
        candidate = -(-whole >> shift)  # rounded up to a multiple of 2^shift
        if candidate << shift < whole + width:
            return candidate.to_bytes(count, "big")
    raise AssertionError


# -- section 5: the prior's layers ----------------------------------------------------------------


class Prior:
    def __init__(self, bundle, gain_index):
        self.arrays, self.program = bundle.arrays, bundle.program
        self.tables, self.gain_index = bundle.tables, gain_index

    def run(self, layers, registers):
        """Registers are changed; the result is what the last layer wrote."""
        result = None
        for layer in layers:
            names = layer["in"] if isinstance(layer["in"], list) else [layer["in"]]
            result = getattr(self, layer["op"])(layer, *[registers[name] for name in names])
            registers[layer["out"]] = result
        return result

    def conv1x1(self, layer, image):
        weight, bias = self.arrays[layer["weight"]], self.arrays[layer["bias"]]
        s = layer["shift"]
        return [
            [[clamp(rescale(a, s)) for a in product(weight, bias, p)] for p in r] for r in image
        ]

    def depthwise3x3(self, layer, image):
        weight, bias = self.arrays[layer["weight"]], self.arrays[layer["bias"]]
        rows, columns = len(image), len(image[0])
        out = [[list(bias) for _ in range(columns)] for _ in range(rows)]
        for y in range(rows):
            for x in range(columns):
                sums = out[y][x]
                for i in range(max(0, 1 - y), min(3, rows - y + 1)):
                    for j in range(max(0, 1 - x), min(3, columns - x + 1)):
                        for c, v in enumerate(image[y + i - 1][x + j - 1]):
                            sums[c] += weight[c][i][j] * v
                out[y][x] = [clamp(rescale(a, layer["shift"])) for a in sums]
        return out

    def row(self, layer, image):
        m = self.arrays[layer["multiplier"]][self.gain_index]
        b = self.arrays[layer["bias"]][self.gain_index] if "bias" in layer else [0] * len(m)
        s = layer["shift"]
        return [
            [[clamp(rescale(v * f + o, s)) for v, f, o in zip(p, m, b)] for p in r] for r in image
        ]

    def leaky(self, layer, image):
        return [[[v if v >= 0 else (v + 4) >> 3 for v in p] for p in r] for r in image]

    def shuffle(self, layer, image):
        return [
            [
                [position[c + 2 * (y % 2) + x % 2] for c in range(0, len(position), 4)]
                for position in row
                for x in range(2)
            ]
            for row in image
            for y in range(2)
        ]

    def add(self, layer, one, two):
        return [
            [[clamp(v + w) for v, w in zip(p, q)] for p, q in zip(r, s)] for r, s in zip(one, two)
        ]


def product(weight, bias, position):
    return [sum(w * v for w, v in zip(row, position)) + b for row, b in zip(weight, bias)]


# -- section 4: latents ---------------------------------------------------------------------------


def flat(image):
    return [v for row in image for position in row for v in position]


def decode_tile(prior, width, height, code_all, payload):
    """z_hat and y_hat, each as (row, column, channel) lists."""
    program, row = prior.program, prior.gain_index
    if "size" in program and program["size"] != [width, height]:
        raise Rejected("a size that the model does not serve")
    rows, columns = -(-height // program["stride"]), -(-width // program["stride"])
    z_rows, z_columns = -(-rows // program["hyper_stride"]), -(-columns // program["hyper_stride"])
    decoder = RangeDecoder(payload)

    z_table = prior.arrays["rows.z_table"][row]
    if "hyper_context" in program:
        z_hat = decode_with_context(prior, decoder, z_rows, z_columns, len(z_table))
    else:
        z = decoder.values(prior.tables, z_table * (z_rows * z_columns))
        z_hat = nest(z, (z_rows, z_columns, len(z_table)))

    if program["steps"]:
        y_hat = decode_steps(prior, decoder, z_hat, rows, columns, code_all)
    else:
        y_hat = [[[v << program["mean_bits"] for v in p] for p in r] for r in z_hat]
    packed = struct.pack(f"<{len(flat(y_hat))}i", *flat(y_hat))
    if decoder.symbol([1 << 16] * 256) != zlib.crc32(packed) & 255:
        raise Rejected("the check does not match")
    decoder.finish()
    return z_hat, y_hat


def decode_with_context(prior, decoder, rows, columns, channels):
    context, arrays = prior.program["hyper_context"], prior.arrays
    scale_bias = arrays[context["scale_bias"]][prior.gain_index]
    bits, levels = context["phase_bits"], context["levels"]
    z_hat, known = {}, {}
    for turn in range(columns + 2 * rows - 2):
        places = [(y, turn - 2 * y) for y in range(rows) if 0 <= turn - 2 * y < columns]
        bases, tables = [], []
        for y, x in places:
            near = [known.get((y + i, x + j)) for i, j in ((-1, 0), (0, -1), (-1, -1), (-1, 1))]
            view = [v for position in near for v in position or [0] * channels]
            features = prior.run(context["features"], {"view": [[view]]})[0][0]
            out = product(arrays[context["weight"]], arrays[context["bias"]], features)
            for c in range(channels):
                mean = clamp(rescale(out[c], context["mean_shift"]))
                scale = rescale(out[channels + c] + scale_bias[c], context["scale_shift"])
                bases.append(rescale(mean, bits))
                phase = mean - (bases[-1] << bits) + (1 << bits >> 1)
                scale = min(max(scale, 0), levels - 1)
                tables.append(context["tables"] + phase * levels + scale)
        values = decoder.values(prior.tables, tables)
        values = [v + base for v, base in zip(values, bases)]
        for n, place in enumerate(places):
            z_hat[place] = values[n * channels : (n + 1) * channels]
            known[place] = prior.run(context["input"], {"z": [[z_hat[place]]]})[0][0]
    return [[z_hat[y, x] for x in range(columns)] for y in range(rows)]


def decode_steps(prior, decoder, z_hat, rows, columns, code_all):
    program, arrays, row = prior.program, prior.arrays, prior.gain_index
    channels = program["latents"]
    quarter = channels // 4
    mean_multiplier = arrays[program["mean_multiplier"]][row]
    scale_bias = arrays[program["scale_bias"]][row]
    view_multiplier = arrays[program["view_multiplier"]][row]
    h = prior.run(program["hyper"], {"z": z_hat})
    h = [line[:columns] for line in h[:rows]]
    view = [[[0] * channels for _ in range(columns)] for _ in range(rows)]
    y_hat = [[[0] * channels for _ in range(columns)] for _ in range(rows)]
    for step, order in zip(program["steps"], program["order"]):
        features = prior.run(step["features"], {"h": h, "view": view})
        weight, bias = arrays[step["weight"]], arrays[step["bias"]]
        places, means, indexes = [], [], []
        for cell in range(4):
            group = order[cell]
            part = slice(2 * group * quarter, 2 * (group + 1) * quarter)
            for y in range(cell // 2, rows, 2):
                for x in range(cell % 2, columns, 2):
                    out = product(weight[part], bias[part], features[y][x])
                    for i in range(quarter):
                        c = group * quarter + i
                        a = clamp(rescale(out[i], step["mean_shift"])) * mean_multiplier[c]
                        b = rescale(out[quarter + i] + scale_bias[c], step["scale_shift"])
                        places.append((y, x, c))
                        means.append(rescale(a, program["mean_shift"]))
                        indexes.append(min(max(b, 0), program["scales"] - 1))
        coded = [i for i, s in enumerate(indexes) if code_all or s >= program["skip_below"]]
        trellis = program.get("trellis")
        if trellis:
            coded = [i for i in coded if indexes[i] < trellis["first"]]
        residuals = [0] * len(places)
        for i, r in zip(coded, decoder.values(prior.tables, [indexes[i] for i in coded])):
            residuals[i] = r << program["mean_bits"]
            if "offsets" in program and 1 <= abs(r) <= len(arrays[program["offsets"]][indexes[i]]):
                offset = arrays[program["offsets"]][indexes[i]][abs(r) - 1]
                residuals[i] -= offset if r > 0 else -offset
        if trellis:
            for i, point in decode_trellis(prior, decoder, trellis, indexes):
                residuals[i] = point
        for (y, x, c), mean, r in zip(places, means, residuals):
            value = r + mean
            y_hat[y][x][c] = value
            view[y][x][c] = clamp(rescale(value * view_multiplier[c], program["view_shift"]))
    return y_hat


def decode_trellis(prior, decoder, trellis, indexes):
    """(place, what its residual stands for) of those that the trellis quantises."""
    first, half, offsets = trellis["first"], trellis["half_step"], prior.arrays[trellis["offsets"]]
    places = sorted(
        [i for i, scale in enumerate(indexes) if scale >= first], key=lambda i: indexes[i]
    )
    lanes = -(-len(places) // trellis["length"])
    states = [0] * lanes
    for start in range(0, len(places), max(lanes, 1)):
        part = places[start : start + lanes]
        shifted = [trellis["shifted"][state] for state in states[: len(part)]]
        tables = [
            trellis["tables"] + indexes[i] - first if s else indexes[i]
            for i, s in zip(part, shifted)
        ]
        for lane, r in enumerate(decoder.values(prior.tables, tables)):
            i, s = part[lane], shifted[lane]
            size = abs(r)
            point = 2 * size * half - (half if s and size else 0)
            row = offsets[s][indexes[i] - first]
            if 1 <= size <= len(row):
                point -= row[size - 1]
            yield i, point if r >= 0 else -point
            states[lane] = trellis["next"][states[lane]][r & 1]


# -- section 6: pixels ----------------------------------------------------------------------------


class Synthesis(Prior):
    """The layers that the prior has not, or otherwise."""

    def dequantise(self, layer, image):
        m = self.arrays[layer["multiplier"]][self.gain_index]
        shifts = self.arrays[layer["shift"]][self.gain_index]
        return [
            [[clamp(rescale(v * f, s)) for v, f, s in zip(p, m, shifts)] for p in r] for r in image
        ]

    def row(self, layer, image):
        m = self.arrays[layer["multiplier"]][self.gain_index]
        s = self.arrays[layer["shift"]][self.gain_index]
        return [[[clamp(rescale(v * f, s)) for v, f in zip(p, m)] for p in r] for r in image]

    def leaky(self, layer, image):
        slope = layer["slope"]
        return [[[max(v, (v * slope + 16384) >> 15) for v in p] for p in r] for r in image]

    def shuffle(self, layer, image):
        n = layer["size"]
        return [
            [
                [position[c + n * (y % n) + x % n] for c in range(0, len(position), n * n)]
                for position in row
                for x in range(n)
            ]
            for row in image
            for y in range(n)
        ]

    def unshuffle(self, layer, image):
        n = layer["size"]
        channels = range(len(image[0][0]))
        return [
            [
                [image[y + i][x + j][c] for c in channels for i in range(n) for j in range(n)]
                for x in range(0, len(image[0]), n)
            ]
            for y in range(0, len(image), n)
        ]


def picture(bundle, file, tiles):
    """The levels of a file: rows of positions of channels, alpha last."""
    stride = bundle.program["stride"]
    grid, row = [], []
    for width, _, _, _, _, y_hat in ((*tile, y) for tile, (_, y) in zip(file.tiles, tiles)):
        row.append((width, y_hat))
        if sum(w for w, _ in row) == file.width:
            grid += [[p for _, part in row for p in part[i]] for i in range(len(y_hat))]
            row = []
    synthesis = Synthesis(bundle, file.gain_index)
    x = synthesis.run(bundle.synthesis["synthesis"], {"y": grid})
    assert len(x) == stride * len(grid)
    x = [line[: file.width] for line in x[: file.height]]
    if 6 in file.sections:
        x = filtered(file.sections[6], x)
    levels = [[level_of(position, file.grey) for position in line] for line in x]
    return with_alpha(file, levels) if file.has_alpha else levels


def level_of(units, grey):
    values = [(sum(units) + 24576) // 192] if grey else [(v + 8192) >> 6 for v in units]
    return [min(max(v, 0), 255) for v in values]


def with_alpha(file, levels):
    top = left = 0
    for width, height, _, alpha, _ in file.tiles:
        for y in range(height):
            for x in range(width):
                levels[top + y][left + x].append(alpha[y][x] if alpha else 255)
        left += width
        if left == file.width:
            left, top = 0, top + height
    return levels


def filtered(content, pixels):
    """Pixel units after a post-filter, of section content that `check_filter` passed."""
    height, width = len(pixels), len(pixels[0])
    pixels = [[[min(max(v, -8192), 8191) for v in p] for p in line] for line in pixels]
    weights, reader = [], Reader(content)
    for plane in range(3):
        head = reader.byte() if reader.position < len(content) else 0
        radius, knots = head >> 4 & 3, 1 << (head >> 6)
        places = [(0, j) for j in range(1, radius + 1)]
        places += [(i, j) for i in range(1, radius + 1) for j in range(-radius, radius + 1)]
        if head:
            flat = struct.unpack(f"{knots * len(places)}b", reader.take(knots * len(places)))
            weights.append((plane, places, nest(list(flat), (knots, len(places))), (head & 15) + 5))
    planes = [
        [[r + g + b for r, g, b in line] for line in pixels],
        [[r - b for r, g, b in line] for line in pixels],
        [[2 * g - r - b for r, g, b in line] for line in pixels],
    ]

    def at(plane, y, x):
        return planes[plane][min(max(y, 0), height - 1)][min(max(x, 0), width - 1)]

    def difference(plane, y, x, i, j):
        return at(plane, y + i, x + j) + at(plane, y - i, x - j) - 2 * at(plane, y, x)

    def activity(y, x):
        v = 8192
        for b in range(y - 1, y + 2):
            for a in range(x - 1, x + 2):
                for i, j in ((0, 1), (1, -1), (1, 0), (1, 1)):
                    v += abs(difference(0, b, a, i, j))
        e = v.bit_length() - 1
        return min(32 * (e - 13) + (v >> (e - 5) & 31), 192)

    out = [[list(p) for p in line] for line in pixels]
    for y in range(height):
        for x in range(width):
            t = activity(y, x) if any(len(w) > 1 for _, _, w, _ in weights) else 0
            for plane, places, w, shift in weights:
                near = [difference(plane, y, x, i, j) for i, j in places]
                sums = [sum(a * b for a, b in zip(knot, near)) for knot in w]
                if len(w) == 1:
                    q = rescale(sums[0], shift)
                else:
                    k, u = divmod(t * (len(w) - 1) // 6, 32)
                    mixed = (32 - u) * rescale(sums[k], 4)
                    mixed += u * rescale(sums[k + 1], 4) if u else 0
                    q = rescale(mixed, shift + 1)
                for c, factor in enumerate(((1, 1, 1), (1, 0, -1), (-1, 2, -1))[plane]):
                    out[y][x][c] += factor * q
    return out


def pixels_sha256(bundle, file, tiles):
    return hashlib.sha256(bytes(flat(picture(bundle, file, tiles)))).hexdigest()


def decode(bundle, data):
    """The file, and (z_hat, y_hat) of each tile. Raises Rejected."""
    file = File(data)
    if file.fingerprint != bundle.fingerprint:
        raise Rejected("another model")
    unit = bundle.program["stride"] * bundle.program["hyper_stride"]
    if file.tiled and file.side % unit:
        raise Rejected("a tile side that does not fit the grids")
    prior = Prior(bundle, file.gain_index)
    return file, [decode_tile(prior, w, h, every, part) for w, h, every, _, part in file.tiles]


def latents_sha256(tiles):
    digest = hashlib.sha256()
    for images in tiles:
        for image in images:
            digest.update(struct.pack(f"<{len(flat(image))}i", *flat(image)))
    return digest.hexdigest()


if __name__ == "__main__":
    the_bundle = Bundle(sys.argv[1])
    for path in sys.argv[2:]:
        try:
            the_file, the_tiles = decode(the_bundle, Path(path).read_bytes())
            hashes = [latents_sha256(the_tiles)]
            if the_bundle.synthesis:
                hashes.append(pixels_sha256(the_bundle, the_file, the_tiles))
            print(*hashes, path)
        except Rejected as problem:
            print(f"rejected: {problem}", path)
