/** Colour: known profiles as ICC bytes, and Exif's orientation. */

const SRGB = [0.64, 0.33, 0.3, 0.6, 0.15, 0.06];
const SRGB_CURVE = [3, 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045];
const D50 = [0.9642, 1, 0.8249];
const WHITE = [0.3127, 0.329];
const BRADFORD = [
  [0.8951, 0.2664, -0.1614],
  [-0.7502, 1.7135, 0.0367],
  [0.0389, -0.0685, 1.0296],
];
/** By the number in a file: name, primaries (none of grey), curve. */
const KNOWN = [
  null,
  ["sRGB", SRGB, SRGB_CURVE],
  ["Display P3", [0.68, 0.32, 0.265, 0.69, 0.15, 0.06], SRGB_CURVE],
  ["Adobe RGB (1998)", [0.64, 0.33, 0.21, 0.71, 0.15, 0.06], [0, 563 / 256]],
  ["Grey, sRGB's curve", null, SRGB_CURVE],
  ["Grey, gamma 2.2", null, [0, 2.2]],
];
export const NAMES = KNOWN.map((known) => known?.[0] ?? null);

const times = (m, v) => m.map((row) => row.reduce((s, a, i) => s + a * v[i], 0));
const product = (a, b) =>
  a.map((row) => b[0].map((_, j) => row.reduce((s, v, k) => s + v * b[k][j], 0)));

function inverse(m) {
  const [[a, b, c], [d, e, f], [g, h, i]] = m;
  const A = e * i - f * h,
    B = f * g - d * i,
    C = d * h - e * g,
    det = a * A + b * B + c * C;
  return [
    [A, c * h - b * i, b * f - c * e],
    [B, a * i - c * g, c * d - a * f],
    [C, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((v) => v / det));
}

const xyz = (x, y) => [x / y, 1, (1 - x - y) / y];

/** XYZ of red, green and blue, as columns, adapted to D50; and the adaptation. */
function matrixOf(primaries) {
  const white = xyz(...WHITE);
  const colours = [0, 2, 4].map((i) => xyz(primaries[i], primaries[i + 1]));
  const columns = [0, 1, 2].map((row) => colours.map((c) => c[row]));
  const weights = times(inverse(columns), white);
  const from = times(BRADFORD, white),
    to = times(BRADFORD, D50);
  const scale = [0, 1, 2].map((i) => [0, 1, 2].map((j) => (i === j ? to[i] / from[i] : 0)));
  const adapt = product(product(inverse(BRADFORD), scale), BRADFORD);
  return [
    product(
      adapt,
      columns.map((row) => row.map((v, j) => v * weights[j])),
    ),
    adapt,
  ];
}

const ascii = (text) => Array.from(text, (c) => c.charCodeAt(0));
const be32 = (v) => [v >>> 24, (v >>> 16) & 255, (v >>> 8) & 255, v & 255];
const fixed = (values) => values.flatMap((v) => be32(Math.round(v * 65536) | 0));

/** The ICC profile (version 4) of a known number, or null where there is none. */
export function knownProfile(number) {
  if (!KNOWN[number]) return null;
  const [name, primaries, [kind, ...parameters]] = KNOWN[number];
  const text = (s) => {
    const wide = Array.from(s).flatMap((c) => [0, c.charCodeAt(0)]);
    return [
      ...ascii("mluc\0\0\0\0"),
      ...be32(1),
      ...be32(12),
      ...ascii("enUS"),
      ...be32(wide.length),
      ...be32(28),
      ...wide,
    ];
  };
  const point = (v) => [...ascii("XYZ \0\0\0\0"), ...fixed(v)];
  const curve = [...ascii("para\0\0\0\0"), 0, kind, 0, 0, ...fixed(parameters)];
  const tags = [
    ["desc", text(name)],
    ["cprt", text("None")],
    ["wtpt", point(D50)],
  ];
  if (primaries) {
    const [columns, adapt] = matrixOf(primaries);
    tags.push(["chad", [...ascii("sf32\0\0\0\0"), ...fixed(adapt.flat())]]);
    "rgb".split("").forEach((letter, j) => {
      tags.push([`${letter}XYZ`, point(columns.map((row) => row[j]))], [`${letter}TRC`, curve]);
    });
  } else tags.push(["kTRC", curve]);
  const start = 132 + 12 * tags.length,
    body = [],
    table = [];
  let shared = 0;
  for (const [tag, content] of tags) {
    const offset = content === curve && shared ? shared : start + body.length;
    table.push(...ascii(tag), ...be32(offset), ...be32(content.length));
    if (offset === shared) continue;
    if (content === curve) shared = offset;
    body.push(...content, ...Array((4 - (content.length % 4)) % 4).fill(0));
  }
  const size = start + body.length;
  return Uint8Array.from([
    ...be32(size),
    0,
    0,
    0,
    0,
    4,
    0x20,
    0,
    0,
    ...ascii(primaries ? "mntrRGB XYZ " : "mntrGRAYXYZ "),
    7,
    234,
    0,
    1,
    0,
    1,
    0,
    0,
    0,
    0,
    0,
    0,
    ...ascii("acsp"),
    ...Array(28).fill(0),
    ...fixed(D50),
    ...Array(48).fill(0),
    ...be32(tags.length),
    ...table,
    ...body,
  ]);
}

/** Exif's orientation, 1 to 8; 1 where there is none that can be. exif: a TIFF header and so on. */
export function orientationOf(exif) {
  if (!exif || exif.length < 14) return 1;
  const little = exif[0] === 0x49,
    view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  if (exif[0] !== exif[1] || !(little || exif[0] === 0x4d) || view.getUint16(2, little) !== 42)
    return 1;
  const at = view.getUint32(4, little);
  if (at + 2 > exif.length) return 1;
  const count = Math.min(view.getUint16(at, little), Math.floor((exif.length - at - 2) / 12));
  for (let i = 0; i < count; i++) {
    const entry = at + 2 + 12 * i;
    if (view.getUint16(entry, little) !== 0x112) continue;
    const value = view.getUint16(entry + 8, little);
    return view.getUint16(entry + 2, little) === 3 && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}
