/** A bundle's integer prior as a block of the native core: block.py, in JavaScript. */
import { Block, need, registersOf } from "./blocks.js";

const KINDS = ["conv1x1", "depthwise3x3", "row", "leaky", "shuffle", "add"];
const [CONV, DEPTHWISE, , LEAKY, , ADD] = KINDS.keys();
const QUICK_BITS = 9,
  GAIN_LEVELS = 256,
  SLOPE = 4096,
  INT16 = 2 ** 15,
  INT32 = 2 ** 31;
const PROGRAMS = [
  "hyper",
  "context_input",
  "context_features",
  ...[0, 1, 2, 3].map((k) => `features.${k}`),
];
const CELLS = [0, 1, 2, 3].flatMap((k) => [0, 1, 2, 3].map((cell) => `${k}.${cell}`));
const HEADER = [
  "magic",
  "size",
  "layers",
  "layer_count",
  "latents",
  "hyper_latents",
  "mean_bits",
  "skip_below",
  "scales",
  "steps",
  "hyper_stride",
  "mean_shift",
  "view_shift",
  "context",
  "levels",
  "phase_bits",
  "first_context_table",
  "trellis",
  "first",
  "length",
  "states",
  "half_step",
  "shifted_tables",
  "offset_count",
  "trellis_offset_count",
  "table_count",
  ...PROGRAMS.flatMap((p) => [`${p}.first`, `${p}.count`]),
  "context_mean",
  "context_scale",
  ...["mean", "scale", "group"].flatMap((name) => CELLS.map((c) => `${name}.${c}`)),
  "mean_multiplier",
  "scale_bias",
  "view_multiplier",
  "context_scale_bias",
  "z_table",
  "starts",
  "sums",
  "quick",
  "bits",
  "offsets",
  "trellis_offsets",
  "next",
  "shifted",
];

const largest = (numbers) => {
  let most = 0;
  for (const n of numbers) most = Math.max(most, Math.abs(Number(n)));
  return most;
};

class Writer extends Block {
  constructor(core, program, arrays) {
    super(core, arrays);
    this.program = program;
    this.header = Object.fromEntries(HEADER.map((f) => [f, 0]));
    this.end = 8 * HEADER.length;
  }

  /** A layer of rows first .. first + D of a weight, int16 (.., K); more is added to biases. */
  conv(weight, bias, shift, first = 0, D = weight.shape[0], more = 0) {
    need(weight.shape.length === 2 && weight.view instanceof Int16Array, "weights");
    const K = weight.shape[1],
      w = weight.view.subarray(first * K, (first + D) * K);
    const b = bias.view.subarray(first, first + D);
    const room = INT32 - 1 - largest(b) - more - 2 ** (shift - 1);
    let sum = 0,
      squares = 1;
    for (let d = 0; d < D; d++) {
      let s = 0,
        q = 0;
      for (let k = d * K; k < (d + 1) * K; k++) {
        s += Math.abs(w[k]);
        q += w[k] * w[k];
      }
      sum = Math.max(sum, s);
      squares = Math.max(squares, q);
    }
    const most = room >= 0 ? (BigInt(room) * BigInt(room)) / BigInt(squares) : -1n;
    return this.layer({
      kind: CONV,
      in: 1,
      out: 3,
      cin: K,
      cout: D,
      shift,
      safe: INT16 * sum <= room ? 1 : 0,
      room: most < 2n ** 62n ? most : 2n ** 62n,
      weight: this.panels(w, D, K),
      bias: this.copy(b, BigInt64Array),
    });
  }

  depthwise(weight, bias, shift) {
    need(weight.shape.length === 3 && weight.view instanceof Int16Array, "weights");
    const C = weight.shape[0],
      room = INT32 - 1 - largest(bias.view) - 2 ** (shift - 1);
    let sum = 0;
    for (let c = 0; c < C; c++)
      sum = Math.max(
        sum,
        weight.view.subarray(9 * c, 9 * c + 9).reduce((s, v) => s + Math.abs(v), 0),
      );
    return this.layer({
      kind: DEPTHWISE,
      in: 1,
      out: 3,
      cin: C,
      cout: C,
      shift,
      safe: INT16 * sum <= room ? 1 : 0,
      room: room >= 0 ? Math.floor(room / Math.max(sum, 1)) : -1,
      weight: this.taps(weight.view, C),
      bias: this.copy(bias.view, BigInt64Array),
    });
  }

  /** The offset of an array with a row for each gain index, and its largest magnitude. */
  rows(name) {
    const a = this.array(name, 2);
    need(a.shape[0] === GAIN_LEVELS, name);
    return [this.copy(a.view, Int32Array), largest(a.view)];
  }

  /** Packs a program. channels: of its inputs. Returns those of its result. */
  run(name, program, channels) {
    const registers = new Map([
        ["z", 0],
        ["h", 1],
        ["view", 2],
      ]),
      known = new Map(channels);
    const first = this.layers.length;
    let layers = [];
    for (const step of program) {
      const names = registersOf(step),
        c = known.get(names[0]),
        kind = KINDS.indexOf(step.op);
      need(kind >= 0 && names.every((n) => known.has(n)), `layer ${step.op}`);
      let layer;
      if (kind === CONV)
        layer = this.conv(this.array(step.weight, 2), this.array(step.bias, 1), step.shift);
      else if (kind === DEPTHWISE)
        layer = this.depthwise(this.array(step.weight, 3), this.array(step.bias, 1), step.shift);
      else
        layer = this.layer({
          kind,
          in: 1,
          out: 3,
          cin: c,
          cout: step.op === "shuffle" ? c / 4 : c,
          leaky: kind === LEAKY ? SLOPE : 0,
        });
      if (step.op === "row") {
        [layer.multiplier] = this.rows(step.multiplier);
        layer.shift = step.shift;
        if (step.bias !== undefined) [layer.bias] = this.rows(step.bias);
      }
      need(layer.cin === c && !["z", "h", "view"].includes(step.out), `layer ${step.op}`);
      if (!registers.has(step.out)) registers.set(step.out, registers.size);
      layer.in = registers.get(names[0]);
      layer.out = registers.get(step.out);
      if (kind === ADD) layer.in2 = registers.get(names[1]);
      known.set(step.out, layer.cout);
      layers.push(layer);
    }
    need(registers.size <= 8 && layers.length, "registers");
    layers = fused(layers);
    this.layers.push(...layers);
    this.header[`${name}.first`] = first;
    this.header[`${name}.count`] = layers.length;
    return layers[layers.length - 1].cout;
  }

  head(name, layer) {
    this.header[name] = this.layers.length;
    this.layers.push(layer);
  }
}

/** The same program in fewer layers: a leaky ReLU, or an addition, goes with what is before it. */
function fused(layers) {
  const out = [];
  const dead = (register, rest) => {
    for (const l of rest) {
      if (l.in === register || l.in2 === register) return false;
      if (l.out === register) return true;
    }
    return true;
  };
  layers.forEach((layer, i) => {
    const before = out[out.length - 1];
    if (before && (before.out === layer.in || before.out === layer.in2)) {
      const unread = layer.out === before.out || dead(before.out, layers.slice(i + 1));
      const whole = before.kind === CONV && before.in2 < 0;
      if (layer.kind === LEAKY && (whole || before.kind === DEPTHWISE)) {
        if (unread && !before.leaky)
          return void (out[out.length - 1] = { ...before, leaky: layer.leaky, out: layer.out });
      } else if (layer.kind === ADD && whole && unread && layer.in !== layer.in2) {
        const other = layer.in2 === before.out ? layer.in : layer.in2;
        return void (out[out.length - 1] = { ...before, in2: other, out: layer.out });
      }
    }
    out.push(layer);
  });
  return out;
}

function packTables(writer) {
  const { core, header } = writer;
  const sizes = writer.array("tables.sizes", 1).view;
  const frequencies = writer.array("tables.frequencies", 1).view;
  const count = sizes.length,
    starts = new Uint32Array(count + 1);
  for (let k = 0; k < count; k++) starts[k + 1] = starts[k] + Number(sizes[k]);
  need(starts[count] === frequencies.length && largest(sizes) <= 65534, "tables");
  const sums = new Uint32Array(starts[count] + count);
  for (let k = 0, at = 0; k < count; k++) {
    let sum = 0;
    sums[at++] = 0;
    for (let i = starts[k]; i < starts[k + 1]; i++) sums[at++] = sum += Number(frequencies[i]);
    need(sum === 2 ** 24, "tables");
  }
  header.table_count = count;
  header.starts = writer.copy(starts);
  // code lengths are the encoder's: any bytes do
  header.sums = header.bits = writer.copy(sums);
  header.quick = writer.put(count * ((1 << QUICK_BITS) + 1) * 2, (at) => {
    const base = at - header.quick;
    core.x.aei_guess(base + header.starts, base + header.sums, BigInt(count), at);
  });
}

function packContext(writer) {
  const { program, header } = writer,
    z = program.hyper_latents;
  for (const f of ["latents", "hyper_latents", "mean_bits", "skip_below", "scales", "hyper_stride"])
    header[f] = program[f];
  header.steps = program.steps.length;
  const context = program.hyper_context;
  if (!context) {
    const table = writer.array("rows.z_table", 2);
    need(table.shape[0] === GAIN_LEVELS && table.shape[1] === z, "rows.z_table");
    header.z_table = writer.copy(Uint8Array.from(table.view));
    return;
  }
  header.context = 1;
  writer.run("context_input", context.input, [["z", z]]);
  writer.run("context_features", context.features, [["view", 4 * z]]);
  header.levels = context.levels;
  header.phase_bits = context.phase_bits;
  header.first_context_table = context.tables;
  const [offset, more] = writer.rows(context.scale_bias);
  header.context_scale_bias = offset;
  const weight = writer.array(context.weight, 2),
    bias = writer.array(context.bias, 1);
  need(weight.shape[0] === 2 * z && bias.shape[0] === 2 * z, "hyper_context");
  writer.head("context_mean", writer.conv(weight, bias, context.mean_shift, 0, z));
  writer.head("context_scale", writer.conv(weight, bias, context.scale_shift, z, z, more));
}

function packSteps(writer) {
  const { program, header } = writer,
    m = program.latents,
    quarter = m / 4;
  need(m % 4 === 0 && program.steps.length === 4, "steps");
  const hidden = writer.run("hyper", program.hyper, [["z", program.hyper_latents]]);
  [header.mean_multiplier] = writer.rows(program.mean_multiplier);
  const [offset, more] = writer.rows(program.scale_bias);
  header.scale_bias = offset;
  [header.view_multiplier] = writer.rows(program.view_multiplier);
  header.mean_shift = program.mean_shift;
  header.view_shift = program.view_shift;
  program.steps.forEach((step, k) => {
    writer.run(`features.${k}`, step.features, [
      ["h", hidden],
      ["view", m],
    ]);
    const weight = writer.array(step.weight, 2),
      bias = writer.array(step.bias, 1);
    need(weight.shape[0] === 2 * m && bias.shape[0] === 2 * m, "steps");
    for (let cell = 0; cell < 4; cell++) {
      const g = program.order[k][cell],
        first = 2 * g * quarter;
      header[`group.${k}.${cell}`] = g;
      writer.head(`mean.${k}.${cell}`, writer.conv(weight, bias, step.mean_shift, first, quarter));
      writer.head(
        `scale.${k}.${cell}`,
        writer.conv(weight, bias, step.scale_shift, first + quarter, quarter, more),
      );
    }
  });
}

function packPoints(writer) {
  const { program, header } = writer;
  const offsets = program.offsets === undefined ? null : writer.array(program.offsets, 2);
  need(!offsets || offsets.shape[0] === program.scales, "offsets");
  header.offsets = writer.copy(Int16Array.from(offsets ? offsets.view : [], Number));
  header.offset_count = offsets ? offsets.shape[1] : 0;
  const trellis = program.trellis;
  if (!trellis) return;
  const near = writer.array(trellis.offsets, 3);
  need(near.shape[0] === 2 && near.shape[1] === program.scales - trellis.first, "trellis");
  Object.assign(header, {
    trellis: 1,
    first: trellis.first,
    length: trellis.length,
    states: trellis.next.length,
    half_step: trellis.half_step,
    shifted_tables: trellis.tables,
    trellis_offset_count: near.shape[2],
    trellis_offsets: writer.copy(Int16Array.from(near.view, Number)),
    next: writer.copy(Uint16Array.from(trellis.next.flat())),
    shifted: writer.copy(Uint8Array.from(trellis.shifted)),
  });
}

/** The place of a prior's block, checked. program: of prior.json; arrays: by name. */
export function packPrior(core, program, arrays) {
  const writer = new Writer(core, program, arrays);
  packTables(writer);
  packContext(writer);
  if (program.steps.length) {
    packSteps(writer);
    packPoints(writer);
  }
  writer.header.layer_count = writer.layers.length;
  writer.header.layers = writer.table();
  const at = writer.write(
    0,
    HEADER.map((f) => writer.header[f]),
  );
  need(core.x.aei_check(at, BigInt(writer.end)) === 0, "its prior");
  return at;
}
