// How files end: node test/verdicts.mjs MODELS [LIBRARY] < cases.json > verdicts.json
// A case is { data: base64, region, scale, limits, latents }; a verdict { pixels, width, height,
// mode, icc, exif, xmp } or { error, message }, hashes in hexadecimal; with `latents`, their hash.
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const own = path.resolve(import.meta.dirname, "../dist/node.js");
const library = process.argv[3] ?? pathToFileURL(own).href;
const { configure, decode, latents } = await import(library);
configure({ weights: process.argv[2] });
const hash = (...parts) => {
  const digest = crypto.createHash("sha256");
  for (const part of parts) digest.update(part);
  return digest.digest("hex");
};
const bytes = (a) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

async function verdict({ data, region, scale, limits, latents: wanted }) {
  const file = new Uint8Array(Buffer.from(data, "base64"));
  try {
    if (wanted) {
      const tiles = await latents(file);
      return { latents: hash(...tiles.flatMap(({ z, y }) => [bytes(z), bytes(y)])) };
    }
    const image = await decode(file, { region, scale, limits });
    const { grey, alpha } = image.header,
      keep = [...(grey ? [0] : [0, 1, 2]), ...(alpha ? [3] : [])];
    const n = image.width * image.height,
      out = new Uint8Array(n * keep.length);
    for (let i = 0, at = 0; i < n; i++) for (const k of keep) out[at++] = image.data[4 * i + k];
    const { width, height, icc, exif, xmp } = image;
    const mode = (grey ? "L" : "RGB") + (alpha ? "A" : "");
    const pieces = [icc, exif, xmp].map((p) => p && hash(p));
    return {
      pixels: hash(out),
      width,
      height,
      mode,
      icc: pieces[0],
      exif: pieces[1],
      xmp: pieces[2],
    };
  } catch (error) {
    return { error: error.name, message: error.message };
  }
}

const out = [];
for (const one of JSON.parse(fs.readFileSync(0))) out.push(await verdict(one));
const memory = process.memoryUsage.rss();
process.stdout.write(JSON.stringify({ verdicts: out, memory }));
