/** The container of an .aei file (docs/format/specification.md, section 1), and boxes of pixels. */
import { DamagedFileError, NotAnAeiFileError, UnsupportedError } from "./errors.js";
import { checkPixels } from "./limits.js";

export const SECTION = { ICC: 1, EXIF: 2, XMP: 3, ALPHA: 4, FILTER: 6, PREVIEW: 7 };
const KNOWN = new Set(Object.values(SECTION));
const SIGNATURE = [0xae, 0x61, 0x65, 0x69];
const GREY = 1,
  CODE_ALL = 2,
  SECTIONS = 4,
  ALPHA = 8,
  TILED = 16;
const FIXED = 10; // bytes before the dimensions
const CRC_BYTES = 4;
const MAX_PLAIN_SIDE = 2048;
const UNIT = 64;
// Of a preview; a file that says more has none.
const MOST_SIDE = 512,
  MOST_PREVIEW = 2 ** 18;
/** Enough bytes for `parseHeader`. */
export const HEAD_BYTES = FIXED + 6;

// -- boxes: left, top, right, bottom --------------------------------------------------------------

export const box = (left, top, width, height) => ({
  left,
  top,
  right: left + width,
  bottom: top + height,
  width,
  height,
});

export function intersection(a, b) {
  const left = Math.max(a.left, b.left),
    top = Math.max(a.top, b.top);
  return box(
    left,
    top,
    Math.max(0, Math.min(a.right, b.right) - left),
    Math.max(0, Math.min(a.bottom, b.bottom) - top),
  );
}

export const grown = (a, by, limit) =>
  intersection(box(a.left - by, a.top - by, a.width + 2 * by, a.height + 2 * by), limit);

/** The cells of the latents' grid that a box of pixels touches. */
export function cellsOf(a, stride) {
  const left = Math.floor(a.left / stride),
    top = Math.floor(a.top / stride);
  return box(left, top, Math.ceil(a.right / stride) - left, Math.ceil(a.bottom / stride) - top);
}

/** Indexes of the tiles that a box within the image touches, row by row. */
export function tilesTouching(a, width, side) {
  const columns = Math.ceil(width / side),
    out = [];
  for (let row = Math.floor(a.top / side); row < Math.ceil(a.bottom / side); row++)
    for (let column = Math.floor(a.left / side); column < Math.ceil(a.right / side); column++)
      out.push(row * columns + column);
  return out;
}

// -- bytes ----------------------------------------------------------------------------------------

/** A LEB128 number of at most `most` bytes: [value, offset after it]. */
export function readVarint(data, offset, most) {
  let value = 0;
  for (let i = 0; i < most; i++) {
    if (offset + i >= data.length) throw new DamagedFileError("the file ends inside its header");
    const byte = data[offset + i];
    value += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) {
      if (byte === 0 && i > 0)
        throw new DamagedFileError("a number in the header is not in its shortest form");
      return [value, offset + i + 1];
    }
  }
  throw new DamagedFileError("a number in the header is too long");
}

const u32 = (data, at) =>
  (data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)) >>> 0;

export const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

function checkStart(data) {
  if (!data.length) throw new NotAnAeiFileError("the file is empty");
  for (let i = 0; i < Math.min(4, data.length); i++)
    if (data[i] !== SIGNATURE[i]) throw new NotAnAeiFileError("not an .aei file (wrong signature)");
  if (data.length < FIXED)
    throw new DamagedFileError(`the file is truncated after ${data.length} bytes`);
  const version = data[4] >> 5;
  if (version !== 1)
    throw new UnsupportedError(`file format version ${version}; this release reads version 1`);
}

/** What a file says first, from at least its first 16 bytes; checksums are not looked at. */
export function parseHeader(data) {
  checkStart(data);
  let width, height, offset;
  [width, offset] = readVarint(data, FIXED, 3);
  [height, offset] = readVarint(data, offset, 3);
  const flags = data[4] & 31;
  const header = {
    width: width + 1,
    height: height + 1,
    gainIndex: data[9],
    model: hex(data.subarray(5, 9)),
    grey: !!(flags & GREY),
    alpha: !!(flags & ALPHA),
    tiled: !!(flags & TILED),
    flags,
    offset,
  };
  if (!header.tiled && Math.max(header.width, header.height) > MAX_PLAIN_SIDE)
    throw new DamagedFileError(`image of ${header.width}x${header.height} pixels without tiles`);
  return header;
}

function checkCrc(data, offset, crc32) {
  if (
    offset < FIXED ||
    offset + CRC_BYTES > data.length ||
    crc32(data.subarray(0, offset)) !== u32(data, offset)
  )
    throw new DamagedFileError("the checksum does not match: the file is truncated or damaged");
}

function readSections(data, offset) {
  const sections = new Map();
  for (let last = 0; ;) {
    if (offset >= data.length) throw new DamagedFileError("the file ends inside its sections");
    const kind = data[offset];
    if (kind === 0) return [sections, offset + 1];
    if (kind <= last) throw new DamagedFileError("the file's sections are out of order");
    if (kind >= 128)
      throw new UnsupportedError("the file uses features that this release does not know");
    last = kind;
    let length;
    [length, offset] = readVarint(data, offset + 1, 4);
    if (length > data.length - offset)
      throw new DamagedFileError("a section is longer than the file");
    if (KNOWN.has(kind)) sections.set(kind, data.subarray(offset, offset + length));
    offset += length;
  }
}

function readTable(data, offset, width, height) {
  if (offset >= data.length) throw new DamagedFileError("the file ends inside its tile table");
  const side = (data[offset++] + 1) * UNIT;
  const count = Math.ceil(width / side) * Math.ceil(height / side);
  if (count > Math.floor((data.length - offset) / 5))
    throw new DamagedFileError("the tile table is longer than the file");
  const entries = [];
  let start = 0;
  for (let i = 0; i < count; i++) {
    let number;
    [number, offset] = readVarint(data, offset, 5);
    if (offset + CRC_BYTES > data.length)
      throw new DamagedFileError("the file ends inside its tile table");
    const end = start + Math.floor(number / 2);
    entries.push({ start, end, crc: u32(data, offset), codeAll: number % 2 === 1 });
    offset += CRC_BYTES;
    start = end;
  }
  return [side, entries, offset];
}

/**
 * A whole file, checked in the specification's order. CRCs of tiles are left to `tileOf`.
 * crc32: of a Uint8Array. Returns { header, data, boxes, entries, side, sections }; side is 0 for a
 * plain file.
 */
export function parse(data, limits, crc32) {
  checkStart(data);
  let header,
    sections = new Map(),
    offset,
    side = 0,
    entries,
    boxes;
  if (!(data[4] & TILED)) {
    const body = data.subarray(0, Math.max(0, data.length - CRC_BYTES));
    checkCrc(data, data.length - CRC_BYTES, crc32);
    header = parseHeader(body);
    checkPixels(limits, header.width, header.height);
    offset = header.offset;
    if (header.flags & SECTIONS) [sections, offset] = readSections(body, offset);
    entries = [{ start: offset, end: body.length, crc: 0, codeAll: !!(header.flags & CODE_ALL) }];
    boxes = [box(0, 0, header.width, header.height)];
  } else {
    header = parseHeader(data);
    checkPixels(limits, header.width, header.height);
    offset = header.offset;
    if (header.flags & SECTIONS) [sections, offset] = readSections(data, offset);
    [side, entries, offset] = readTable(data, offset, header.width, header.height);
    checkCrc(data, offset, crc32);
    offset += CRC_BYTES;
    for (const e of entries) ((e.start += offset), (e.end += offset));
    if (data.length > entries[entries.length - 1].end)
      throw new DamagedFileError("there are bytes after the last tile");
    if (header.flags & CODE_ALL || sections.has(SECTION.ALPHA))
      throw new DamagedFileError("a tiled file says per tile what this one says of the whole");
    const whole = box(0, 0, header.width, header.height);
    boxes = [];
    for (let top = 0; top < header.height; top += side)
      for (let left = 0; left < header.width; left += side)
        boxes.push(intersection(box(left, top, side, side), whole));
  }
  if (sections.has(SECTION.ALPHA) && !header.alpha)
    throw new DamagedFileError("the file has an alpha section but no alpha channel");
  return { header, data, boxes, entries, side, sections };
}

/** Header and sections, from as much of the start of a file as holds them. */
export function parseStart(data) {
  const header = parseHeader(data);
  const sections = header.flags & SECTIONS ? readSections(data, header.offset)[0] : new Map();
  return { header, sections };
}

/** The preview of a file with this header, taken apart, or null: it has to be sound. */
export function parsePreview(data, { model, grey, alpha, width, height }, limits, crc32) {
  if (data.length > MOST_PREVIEW) return null;
  const small = parse(data, { ...limits, pixels: MOST_SIDE ** 2 }, crc32),
    own = small.header;
  const sound =
    own.model === model &&
    own.grey === grey &&
    own.alpha === alpha &&
    !small.side &&
    [...small.sections.keys()].every((kind) => kind === SECTION.ALPHA) &&
    own.width <= width &&
    own.height <= height &&
    Math.max(own.width, own.height) <= MOST_SIDE &&
    Math.abs(own.width * height - own.height * width) <= Math.max(width, height);
  return sound ? small : null;
}

/** Tile i: { payload, alpha }, the latter its alpha plane's stream or null. */
export function tileOf(contents, i, crc32) {
  const { header, side, entries, data, sections } = contents,
    entry = entries[i];
  let payload = data.subarray(entry.start, entry.end);
  if (!side) return { payload, alpha: sections.get(SECTION.ALPHA) ?? null };
  if (payload.length !== entry.end - entry.start || crc32(payload) !== entry.crc)
    throw new DamagedFileError(
      `tile ${i + 1} of ${entries.length} is truncated or damaged: its checksum does not match`,
    );
  if (!header.alpha) return { payload, alpha: null };
  const [length, start] = readVarint(payload, 0, 4);
  if (start + length > payload.length)
    throw new DamagedFileError("a tile's alpha plane is longer than the tile");
  const alpha = length ? payload.subarray(start, start + length) : null;
  payload = payload.subarray(start + length);
  return { payload, alpha };
}

/** The post-filter of a section: three of { knots, radius, shift, weights }, or null. */
export function readFilter(content) {
  const planes = [];
  let offset = 0,
    last = null;
  while (offset < content.length && planes.length < 3) {
    const head = content[offset++],
      radius = (head >> 4) & 3;
    last = null;
    if (!radius) {
      if (head) throw new DamagedFileError("the file's filter has an unknown form");
    } else {
      const knots = 1 << (head >> 6),
        size = knots * 2 * radius * (radius + 1);
      if (offset + size > content.length)
        throw new DamagedFileError("the file's filter is cut short");
      const weights = content.slice(offset, offset + size);
      offset += size;
      last = { knots, radius, shift: (head & 15) + 5, weights };
    }
    planes.push(last);
  }
  if (offset < content.length || !last)
    throw new DamagedFileError("the file's filter is longer than its planes");
  return planes;
}
