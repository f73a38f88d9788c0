/**
 * Blocks, as the native core reads them (codec/exact/native: core.h, block.py, synthesis.py): a
 * header, layers and arrays in one run of bytes. What is packed here is checked by the core
 * (`aei_check`, `aei_check_synthesis`) before it is run.
 */
import { ModelError } from "./errors.js";

const PANEL = 32,
  PAD = 64;
const MAGIC = 0x31306961;
const LAYER = [
  "kind",
  "in",
  "in2",
  "out",
  "leaky",
  "shift",
  "cin",
  "cout",
  "safe",
  "room",
  "weight",
  "bias",
  "multiplier",
];

export const refuse = (why) => {
  throw new ModelError(`the weights hold a model that this release cannot run: ${why}`);
};

export const need = (fine, why) => fine || refuse(why);

/** arrays: { shape, view } by name. */
export class Block {
  constructor(core, arrays) {
    this.core = core;
    this.arrays = arrays;
    this.parts = []; // [offset, function that writes to a place]
    this.layers = [];
    this.end = 0;
  }

  array(name, rank) {
    const a = this.arrays.get(name);
    need(a && (rank === undefined || a.shape.length === rank), `array ${name}`);
    return a;
  }

  /** The offset of what `write` will write, a multiple of 64. */
  put(bytes, write) {
    this.end = Math.ceil(this.end / 64) * 64;
    const offset = this.end;
    this.parts.push([offset, write]);
    this.end += bytes;
    return offset;
  }

  /** Numbers as they are, of a kind that may be wider than what they are stored as. */
  copy(numbers, Kind = numbers.constructor) {
    return this.put(numbers.length * Kind.BYTES_PER_ELEMENT, (at) => {
      const out = new Kind(this.core.buffer, at, numbers.length);
      if (Kind !== BigInt64Array || numbers instanceof BigInt64Array) out.set(numbers);
      else for (let i = 0; i < numbers.length; i++) out[i] = BigInt(numbers[i]);
    });
  }

  layer(fields) {
    return {
      ...Object.fromEntries(LAYER.map((f) => [f, -1])),
      leaky: 0,
      shift: 1,
      safe: 0,
      ...fields,
    };
  }

  /**
   * Weights of a conv1x1 in panels: (panels, pairs, PANEL, 2). weight: int16 (D, K). rows, columns:
   * the order in which its rows and columns are to stand, or nothing.
   */
  panels(weight, D, K, rows, columns) {
    const pairs = Math.ceil(K / 2),
      count = Math.ceil(D / PANEL);
    return this.put(count * pairs * PANEL * 4, (at) => {
      const out = this.core.i16(at, count * pairs * PANEL * 2).fill(0);
      for (let d = 0; d < D; d++) {
        const from = (rows ? rows[d] : d) * K;
        let to = (Math.floor(d / PANEL) * pairs * PANEL + (d % PANEL)) * 2;
        for (let k = 0; k < K; k += 2, to += 2 * PANEL) {
          out[to] = weight[from + (columns ? columns[k] : k)];
          if (k + 1 < K) out[to + 1] = weight[from + (columns ? columns[k + 1] : k + 1)];
        }
      }
    });
  }

  /** Weights of a depthwise3x3, int16 (C, 3, 3), as ten rows of C, the last of zeros. */
  taps(weight, C) {
    return this.put((10 * C + PAD) * 2, (at) => {
      const out = this.core.i16(at, 10 * C + PAD).fill(0);
      for (let c = 0; c < C; c++) for (let i = 0; i < 9; i++) out[i * C + c] = weight[9 * c + i];
    });
  }

  /** The offset of the table of layers. */
  table() {
    return this.put(this.layers.length * LAYER.length * 8, (at) => {
      const out = this.core.i64(at, this.layers.length * LAYER.length);
      this.layers.forEach((l, i) =>
        LAYER.forEach((f, j) => (out[i * LAYER.length + j] = BigInt(l[f]))),
      );
    });
  }

  /** Write it: its place in memory. header: numbers, the first two of which are the block's own. */
  write(magic, header) {
    const at = this.core.alloc(this.end + 64);
    this.core.u8(at, this.end + 64).fill(0);
    for (const [offset, write] of this.parts) write(at + offset);
    const out = this.core.i64(at, header.length);
    header.forEach((n, i) => (out[i] = BigInt(n)));
    out[0] = BigInt(MAGIC + magic);
    out[1] = BigInt(this.end);
    return at;
  }
}

/** The registers that a layer of a program reads. */
export const registersOf = (fields) => (Array.isArray(fields.in) ? fields.in : [fields.in]);
