/** The faces of the decoder, whoever does its work. */
import { HEAD_BYTES, parseHeader } from "./container.js";
import { UnsupportedError, aborted } from "./errors.js";
import { decodeFile, decodePreview } from "./job.js";
import { limitsOf } from "./limits.js";
import { NAMES, knownProfile, orientationOf } from "./profiles.js";

export { HEAD_BYTES };

/** Width, height and so on, from at least the first 16 bytes of a file. */
export function readHeader(bytes) {
  return publicHeader(parseHeader(bytes));
}

/** The bytes of whatever may be given. */
async function bytesOf(input) {
  if (input instanceof Uint8Array) return input;
  if (input instanceof ArrayBuffer) return new Uint8Array(input);
  if (ArrayBuffer.isView(input))
    return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
  if (typeof Response === "function" && input instanceof Response) {
    if (!input.ok) throw new Error(`${input.url}: ${input.status} ${input.statusText}`);
    return new Uint8Array(await input.arrayBuffer());
  }
  if (typeof Blob === "function" && input instanceof Blob)
    return new Uint8Array(await input.arrayBuffer());
  throw new UnsupportedError("cannot decode this: give bytes, a Blob or a Response");
}

/** Turns: so many images at a time, the others in line. */
class Turns {
  constructor(most) {
    this.free = most;
    this.waiting = [];
  }

  async take(signal) {
    if (signal?.aborted) throw aborted();
    if (this.free > 0) return void this.free--;
    await new Promise((resolve, reject) => {
      const one = { resolve };
      this.waiting.push(one);
      signal?.addEventListener(
        "abort",
        () => {
          const place = this.waiting.indexOf(one);
          if (place >= 0) (this.waiting.splice(place, 1), reject(aborted()));
        },
        { once: true },
      );
    });
  }

  give() {
    const next = this.waiting.shift();
    if (next) next.resolve();
    else this.free++;
  }
}

/** What a file's metadata say: { icc, exif, xmp, orientation, colours }. */
function toldBy(metadata) {
  const { profile, icc, exif, xmp } = metadata;
  const colours = NAMES[profile] ?? (icc ? "ICC profile" : "sRGB");
  return {
    icc: icc ?? knownProfile(profile),
    exif,
    xmp,
    orientation: orientationOf(exif),
    colours,
  };
}

const publicHeader = ({ width, height, gainIndex, model, grey, alpha, tiled }) => ({
  width,
  height,
  gainIndex,
  model,
  grey,
  alpha,
  tiled,
});

/** What a decoded file tells beside its pixels. */
function described({ width, height, data, metadata, header }) {
  return { width, height, data, ...toldBy(metadata), header: publicHeader(header) };
}

/** decodePreview(): see index.d.ts. runner: gives the one that works. */
export function makePreview(runner) {
  return async function preview(input, options = {}) {
    const own = runner(),
      all = { ...options, limits: limitsOf(options.limits) };
    const {
      header,
      metadata,
      preview: bytes,
    } = await own.start({
      data: await bytesOf(input),
      limits: all.limits,
    });
    if (!bytes) return null;
    await own.model(header.model, options);
    const shown = await decodePreview(own, bytes, all);
    return shown && described({ ...shown, metadata, header });
  };
}

/** decode(): see index.d.ts. runner: gives the one that works. */
export function makeDecode(runner) {
  let turns;
  return async function decode(input, options = {}) {
    const own = runner();
    turns ??= new Turns(own.workers + 1);
    await turns.take(options.signal);
    try {
      const data = await bytesOf(input);
      const onStart = (header, metadata) =>
        options.onStart?.({ ...publicHeader(header), ...(metadata && toldBy(metadata)) });
      const all = { ...options, onStart, limits: limitsOf(options.limits) };
      return described(await decodeFile(own, data, all));
    } finally {
      turns.give();
    }
  };
}
