/** How much a decoder is willing to spend on a file, checked before anything is allocated. */
import { LimitError } from "./errors.js";

const TILE_WORK = 4096;

/** As in the Python package; `work` is twice `pixels` and a megapixel unless it is given. */
export const DEFAULT_LIMITS = Object.freeze({
  pixels: 2 ** 28,
  memory: 3 * 2 ** 30,
  metadata: 2 ** 24,
  work: undefined,
});

/** The caller's limits over the defaults. */
export function limitsOf(given = {}) {
  return { ...DEFAULT_LIMITS, ...given };
}

export function checkPixels(limits, width, height) {
  if (width * height > limits.pixels)
    throw new LimitError(
      `image of ${width}x${height} pixels: over the limit of ${limits.pixels}; ` +
        "raise limits.pixels if you trust it",
    );
}

export function checkWork(limits, pixels, tiles, payload) {
  const most = limits.work ?? 2 * limits.pixels + 2 ** 20;
  const needed = pixels + TILE_WORK * tiles + payload;
  if (needed > most)
    throw new LimitError(
      `decoding ${tiles} tiles and ${payload} bytes would be as much work as ${needed} pixels: ` +
        `over the limit of ${most}; raise limits.work if you trust the file`,
    );
}

export function checkMemory(limits, needed) {
  if (needed > limits.memory)
    throw new LimitError(
      `decoding would take about ${Math.floor(needed / 2 ** 20)} MiB, over the limit of ` +
        `${Math.floor(limits.memory / 2 ** 20)}; raise limits.memory, or decode a region of it`,
    );
}
