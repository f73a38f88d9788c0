/** PNG files of what was decoded, with its colour profile: how a browser is told of colours. */

const ascii = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const be32 = (v) => [v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255];

let crcTable;
function crc32(parts) {
  crcTable ??= Uint32Array.from({ length: 256 }, (_, i) => {
    for (let k = 0; k < 8; k++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
    return i;
  });
  let c = -1;
  for (const bytes of parts)
    for (let i = 0; i < bytes.length; i++) c = crcTable[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

function chunk(name, ...parts) {
  const size = parts.reduce((n, p) => n + p.length, 0),
    head = ascii(name);
  return [
    Uint8Array.from(be32(size)),
    head,
    ...parts,
    Uint8Array.from(be32(crc32([head, ...parts]))),
  ];
}

async function deflated(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Rows of a filter, "up", and differences, which deflate better than levels do. */
function filtered(data, width, height, keep) {
  const n = width * keep.length,
    out = new Uint8Array(height * (n + 1)),
    k = keep.length;
  for (let y = 0, to = 0; y < height; y++) {
    out[to++] = y ? 2 : 0;
    for (let x = 0, at = 4 * y * width; x < width; x++, at += 4)
      for (let c = 0; c < k; c++) {
        const i = at + keep[c];
        out[to++] = y ? data[i] - data[i - 4 * width] : data[i];
      }
  }
  return out;
}

/** Pixels the way up that Exif's orientation says: { width, height, data }. */
export function upright({ width, height, data, orientation = 1 }) {
  if (orientation <= 1) return { width, height, data };
  const turned = orientation > 4,
    from = new Uint32Array(data.buffer, data.byteOffset, width * height);
  const w = turned ? height : width,
    h = turned ? width : height,
    to = new Uint32Array(w * h);
  // where a pixel of the result comes from: right to left, or bottom to top
  const mirrored = [2, 3, 7, 8].includes(orientation),
    flipped = [3, 4, 6, 7].includes(orientation);
  for (let y = 0, i = 0; y < h; y++)
    for (let x = 0; x < w; x++, i++) {
      const column = turned ? y : x,
        row = turned ? x : y;
      to[i] =
        from[(flipped ? height - 1 - row : row) * width + (mirrored ? width - 1 - column : column)];
    }
  return { width: w, height: h, data: new Uint8ClampedArray(to.buffer) };
}

/** A decoded image -> a Blob. turn: its pixels the right way up, without its Exif. */
export async function pngOf({ turn, ...image }) {
  const { icc, header } = image,
    exif = turn ? null : image.exif;
  const { width, height, data } = turn ? upright(image) : image;
  const grey = !!header?.grey,
    alpha = header ? header.alpha : true;
  const keep = [...(grey ? [0] : [0, 1, 2]), ...(alpha ? [3] : [])];
  const kind = (grey ? 0 : 2) | (alpha ? 4 : 0);
  const parts = [Uint8Array.from([137, 80, 78, 71, 13, 10, 26, 10])];
  parts.push(
    ...chunk("IHDR", Uint8Array.from([...be32(width), ...be32(height), 8, kind, 0, 0, 0])),
  );
  if (icc) parts.push(...chunk("iCCP", ascii("profile\0\0"), await deflated(icc)));
  if (exif) parts.push(...chunk("eXIf", exif));
  parts.push(
    ...chunk("IDAT", await deflated(filtered(data, width, height, keep))),
    ...chunk("IEND"),
  );
  return new Blob(parts, { type: "image/png" });
}
