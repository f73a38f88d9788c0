/** Where weights come from: the page's own place, and the browser's cache of it. */
import { UnknownModelError } from "./errors.js";

const CACHE = "aei-weights-1";
const inMemory = new Map(); // of URLs, where there is no Cache API

async function store() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    return undefined; // file: and insecure pages have none
  }
}

async function readBody(response, onWeights) {
  const total = Number(response.headers.get("content-length")) || 0;
  if (!onWeights || !response.body) return new Uint8Array(await response.arrayBuffer());
  const parts = [],
    reader = response.body.getReader();
  let loaded = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onWeights({ loaded: (loaded += value.length), total });
  }
  const out = new Uint8Array(loaded);
  let at = 0;
  for (const part of parts) (out.set(part, at), (at += part.length));
  return out;
}

/**
 * The weights of a model, from `base`; null where there are none (404). again: what the cache had
 * was damaged. They are verified by whoever loads them.
 */
export async function fetchWeights(fingerprint, base, { again = false, onWeights } = {}) {
  const url = new URL(`${fingerprint}.aeiw`, base).href,
    kept = await store();
  if (again) {
    inMemory.delete(url);
    await kept?.delete(url);
  } else {
    const found = inMemory.get(url) ?? (await kept?.match(url));
    if (found instanceof Uint8Array) return found;
    if (found) return new Uint8Array(await found.arrayBuffer());
  }
  let response;
  try {
    response = await fetch(url, { cache: again ? "reload" : "default" });
  } catch (error) {
    throw new UnknownModelError(
      `the weights of model ${fingerprint} cannot be fetched from ${url} (${error.message})`,
    );
  }
  if (response.status === 404) return null;
  if (!response.ok)
    throw new UnknownModelError(
      `the weights of model ${fingerprint} cannot be fetched from ${url} (${response.status})`,
    );
  const bytes = await readBody(response, onWeights);
  try {
    if (!kept) throw null;
    await kept.put(
      url,
      new Response(bytes, { headers: { "content-type": "application/octet-stream" } }),
    );
  } catch {
    inMemory.set(url, bytes); // no room, or no cache
  }
  return bytes;
}
