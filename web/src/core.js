/** The WebAssembly module: its memory, and the few calls that need no model. */
import { DamagedFileError, LimitError } from "./errors.js";

/** Bytes of a text that has a character for each, less a number. */
export const bytesOf = (text, less = 0) => Uint8Array.from(text, (c) => c.charCodeAt(0) - less);

/** The module, of what scripts/build.mjs makes of it: a character for each byte, 48 more. */
export const moduleOf = (text) => WebAssembly.compile(bytesOf(text, 48));

export class Core {
  /** @param {WebAssembly.Module} module */
  static async of(module) {
    return new Core((await WebAssembly.instantiate(module, {})).exports);
  }

  constructor(exports) {
    this.x = exports;
  }

  get buffer() {
    return this.x.memory.buffer;
  }

  /** A place of so many bytes, a multiple of 64, that stays; see `Arena`. */
  alloc(bytes) {
    const at = bytes < 2 ** 31 ? this.x.malloc(bytes) >>> 0 : 0;
    if (!at) throw new LimitError("decoding takes more memory than WebAssembly has here");
    return at;
  }

  /** What a function of an arena gives; what it took of it is free again, whatever happens. */
  scoped(work) {
    const arena = new Arena(this);
    try {
      return work(arena);
    } finally {
      arena.close();
    }
  }

  u8(at, n) {
    return new Uint8Array(this.buffer, at, n);
  }

  i16(at, n) {
    return new Int16Array(this.buffer, at, n);
  }

  i32(at, n) {
    return new Int32Array(this.buffer, at, n);
  }

  i64(at, n) {
    return new BigInt64Array(this.buffer, at, n);
  }

  crc32(bytes) {
    return this.scoped((a) => this.x.web_crc32(a.put(bytes), bytes.length) >>> 0);
  }

  /** The content of a zlib stream of at most `most` bytes. dictionary: that it may name. */
  inflate(bytes, most, dictionary) {
    return this.scoped((a) => {
      const at = a.put(bytes),
        size = a.alloc(4),
        known = dictionary ? a.put(dictionary) : 0;
      // a stream can be a thousand times shorter than what it holds, and hardly ever is
      for (let room = Math.min(most, 8 * bytes.length + 65536); ; room = Math.min(most, 8 * room)) {
        const out = a.alloc(room + 64);
        const status = this.x.web_inflate(
          at,
          bytes.length,
          known,
          dictionary?.length ?? 0,
          out,
          room,
          size,
        );
        if (!status) return this.u8(out, this.i32(size, 1)[0]).slice();
        if (status === 1) throw new DamagedFileError("a section of the file is damaged");
        if (room === most)
          throw new DamagedFileError("a section of the file is longer than it may be");
        a.free(out);
      }
    });
  }

  /** uint8 (height, width) of an alpha plane's stream. */
  alphaPlane(bytes, width, height) {
    const raw = this.inflate(bytes, height * (width + 1));
    if (raw.length !== height * (width + 1))
      throw new DamagedFileError("the alpha plane is cut short");
    return this.scoped((a) => {
      const out = a.alloc(width * height + 64);
      if (!this.x.web_unfilter(a.put(raw), width, height, out))
        throw new DamagedFileError("the alpha plane uses an unknown filter");
      return this.u8(out, width * height).slice();
    });
  }
}

/** Places in the module's memory that are freed together. */
export class Arena {
  constructor(core) {
    this.core = core;
    this.taken = new Set();
  }

  alloc(bytes) {
    const at = this.core.alloc(bytes);
    this.taken.add(at);
    return at;
  }

  put(bytes) {
    const at = this.alloc(bytes.length + 64);
    this.core.u8(at, bytes.length).set(bytes);
    return at;
  }

  free(at) {
    if (this.taken.delete(at)) this.core.x.free(at);
  }

  close() {
    for (const at of this.taken) this.core.x.free(at);
    this.taken.clear();
  }
}
