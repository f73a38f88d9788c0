/** aei-decode without workers: Node, and service workers. Importing this does nothing else. */
import { makeDecode, makePreview } from "./api.js";
import { moduleOf } from "./core.js";
import { limitsOf } from "./limits.js";
import { pngOf } from "./png.js";
import { Inline } from "./runners.js";
import { WASM } from "./wasm.js";
import { fetchWeights } from "./weights.js";

export { HEAD_BYTES, readHeader } from "./api.js";
export * from "./errors.js";
export { DEFAULT_LIMITS } from "./limits.js";

const settings = { weights: undefined };
const given = new Map();
let inline;

/** Where weights lie: a folder, a URL, or a function of fingerprints. */
export function configure(options) {
  Object.assign(settings, options);
}

export function addWeights(fingerprint, bytes) {
  given.set(fingerprint, bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
}

async function weightsOf(fingerprint, options) {
  if (given.has(fingerprint)) return given.get(fingerprint);
  let { weights } = settings;
  if (typeof weights === "function") weights = await weights(fingerprint);
  if (weights instanceof ArrayBuffer) return new Uint8Array(weights);
  if (weights === null || weights instanceof Uint8Array) return weights;
  weights ??= globalThis.location ? new URL("aei-models/", location.href) : "aei-models/";
  const text = String(weights);
  if (/^https?:/.test(text)) return fetchWeights(fingerprint, text, options);
  return readFolder(fingerprint, text);
}

async function readFolder(fingerprint, folder) {
  // a name that bundlers for browsers do not follow
  const [fs, url] = await Promise.all(
    ["fs/promises", "url"].map((n) => import(/* @vite-ignore */ `node:${n}`)),
  );
  const path = folder.startsWith("file:") ? url.fileURLToPath(folder) : folder;
  try {
    return new Uint8Array(await fs.readFile(`${path.replace(/\/$/, "")}/${fingerprint}.aeiw`));
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}

function runner() {
  inline ??= new Inline(moduleOf(WASM), weightsOf);
  return inline;
}

export const decode = makeDecode(runner);

/** The preview in a file, from as much of its start as holds header and sections; or null. */
export const decodePreview = makePreview(runner);

export async function preload(fingerprint, options) {
  const { name, synthesisHash } = await runner().model(fingerprint, options);
  return { fingerprint, name, synthesis: synthesisHash };
}

export const encodePng = (image, { turn = false } = {}) => pngOf({ ...image, turn });

/** For tests: { z, y } of each tile of a file, in order. */
export async function latents(data) {
  const own = runner(),
    file = await own.open({ data, limits: limitsOf() }),
    out = [];
  await own.model(file.header.model, {});
  for (const [i, { start, end, crc, codeAll }] of file.entries.entries()) {
    const { width, height } = file.boxes[i];
    out.push(
      await own.tile({
        model: file.header.model,
        gainIndex: file.header.gainIndex,
        payload: data.slice(start, end),
        length: end - start,
        crc: file.side ? crc : null,
        number: i + 1,
        codeAll,
        width,
        height,
        alpha: file.side && file.header.alpha ? "inside" : file.alpha,
        wantsAlpha: false,
      }),
    );
  }
  return out;
}
