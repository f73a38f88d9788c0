/** aei-decode in a browser: workers do the work. Importing this does nothing else. */
import { makeDecode, makePreview } from "./api.js";
import { moduleOf } from "./core.js";
import { copied } from "./pause.js";
import { Pool } from "./pool.js";
import { WASM } from "./wasm.js";
import { fetchWeights } from "./weights.js";
import { WORKER } from "./worker-source.js";

export { HEAD_BYTES, readHeader } from "./api.js";
export * from "./errors.js";
export { DEFAULT_LIMITS } from "./limits.js";

const settings = { weights: undefined, workers: undefined, workerUrl: undefined };
const given = new Map(); // weights by fingerprint
let pool, module;

/** Before the first image: where weights lie, how many workers there are, where their script is. */
export function configure(options) {
  if (pool && ("workers" in options || "workerUrl" in options))
    throw new Error("configure() workers before the first image is decoded");
  Object.assign(settings, options);
}

/** Weights that the page has as bytes; files of their model need no others. */
export function addWeights(fingerprint, bytes) {
  given.set(fingerprint, bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes));
}

async function weightsOf(fingerprint, options) {
  if (given.has(fingerprint)) return given.get(fingerprint);
  const { weights } = settings;
  if (typeof weights === "function") {
    const found = await weights(fingerprint);
    if (found instanceof ArrayBuffer) return new Uint8Array(found);
    if (found === null || found instanceof Uint8Array) return found;
    return fetchWeights(fingerprint, new URL(found, document.baseURI), options);
  }
  return fetchWeights(fingerprint, new URL(weights ?? "aei-models/", document.baseURI), options);
}

/** For element.js: a worker that has nothing to do yet. */
export function startWorker() {
  if (settings.workerUrl) return new Worker(settings.workerUrl, { type: "module" });
  const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  const worker = new Worker(url);
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  return worker;
}

const compiled = () => (module ??= moduleOf(WASM));

function runner() {
  pool ??= new Pool({
    start: startWorker,
    module: compiled,
    weights: weightsOf,
    workers: settings.workers,
  });
  return pool;
}

export const decode = makeDecode(runner);

/** The preview in a file, from as much of its start as holds header and sections; or null. */
export const decodePreview = makePreview(runner);

/** Fetch and unpack weights before they are needed. */
export async function preload(fingerprint, options) {
  const { name, synthesisHash } = await runner().model(fingerprint, options);
  return { fingerprint, name, synthesis: synthesisHash };
}

/** A decoded image as a PNG file, a Blob, with its colour profile; options: { turn }. */
export async function encodePng(image, { turn = false } = {}) {
  const { width, height, icc, exif, header, orientation } = image;
  const data = await copied(image.data, 0, image.data.length);
  return runner().png({ width, height, data, icc, exif, header, orientation, turn });
}
