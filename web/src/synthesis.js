/** A bundle's integer synthesis as blocks of the native core: synthesis.py, in JavaScript. */
import { Block, need, registersOf } from "./blocks.js";

const KINDS = {
  conv1x1: 0,
  depthwise3x3: 1,
  leaky: 3,
  shuffle: 4,
  add: 5,
  dequantise: 6,
  row: 7,
  unshuffle: 8,
};
const CONVOLUTIONS = ["conv1x1", "depthwise3x3"];
const HEADER_FIELDS = 8;

/** Layers with their arrays. leaky: slope of what follows, or 0; added: a register, or null. */
function layersOf(program, arrays) {
  return program.map((fields) => {
    const { op, out } = fields,
      [source, added = null] = registersOf(fields);
    const of = (name) =>
      name === undefined ? null : need(arrays.has(name), name) && arrays.get(name);
    need(op in KINDS, `layer ${op}`);
    const convolution = CONVOLUTIONS.includes(op),
      gain = op === "dequantise" || op === "row";
    return {
      op,
      source,
      out,
      added: op === "add" ? added : null,
      leaky: op === "leaky" ? fields.slope : 0,
      weight: convolution ? of(fields.weight) : null,
      bias: convolution ? of(fields.bias) : null,
      multiplier: gain ? of(fields.multiplier) : null,
      shifts: gain ? of(fields.shift) : null,
      number: convolution ? fields.shift : (fields.size ?? 0),
      together: false,
      rows: null,
      columns: null, // orders of the weight's rows and columns
    };
  });
}

/** Of the registers: { channels, rate }, the latter rows of a row of cells. */
function shapesOf(layers, latents) {
  const shapes = new Map([["y", { channels: latents, rate: 1 }]]);
  for (const x of layers) {
    let { channels, rate } = shapes.get(x.source) ?? need(false, "registers");
    if (x.op === "conv1x1") channels = x.weight.shape[0];
    if (x.op === "shuffle") ((channels /= x.number ** 2), (rate *= x.number));
    if (x.op === "unshuffle") ((channels *= x.number ** 2), (rate /= x.number));
    shapes.set(x.out, { channels, rate });
  }
  return shapes;
}

function readersOf(layers) {
  const count = new Map();
  for (const x of layers)
    for (const r of [x.source, x.added]) if (r !== null) count.set(r, (count.get(r) ?? 0) + 1);
  return count;
}

/** What a shuffle calls channel r r c + r i + j, in the order (i, j, c). */
function movedOrder(size, channels) {
  const out = new Int32Array(size * size * channels);
  let at = 0;
  for (let ij = 0; ij < size * size; ij++)
    for (let c = 0; c < channels; c++) out[at++] = c * size * size + ij;
  return out;
}

/** Convolutions around shuffles get their channels in the order in which they move together. */
function together(layers, shapes) {
  const readers = readersOf(layers),
    byOut = new Map(layers.map((x) => [x.out, x]));
  for (const x of layers) {
    if (x.op === "shuffle") {
      const order = movedOrder(x.number, shapes.get(x.out).channels),
        chain = [];
      for (let source = x.source; byOut.has(source) && readers.get(source) === 1;) {
        const before = byOut.get(source);
        chain.push(before);
        if (before.op !== "row" || before.added) break;
        source = before.source;
      }
      const last = chain[chain.length - 1];
      if (!last || last.op !== "conv1x1" || last.added) continue;
      for (const layer of chain) layer.rows = order;
    } else if (x.op === "unshuffle") {
      const order = movedOrder(x.number, shapes.get(x.source).channels);
      const behind = layers.filter((y) => y.source === x.out || y.added === x.out);
      if (behind.some((y) => y.op !== "conv1x1" || y.added === x.out)) continue;
      for (const layer of behind) layer.columns = order;
    } else continue;
    x.together = true;
  }
}

/** A convolution with the leaky ReLU behind it, and with the addition behind that. */
function fused(layers) {
  const readers = readersOf(layers),
    out = new Map();
  for (let x of layers) {
    for (const [source, other] of [
      [x.source, x.added],
      [x.added, x.source],
    ]) {
      const before = source !== null && readers.get(source) === 1 ? out.get(source) : undefined;
      if (!before || !CONVOLUTIONS.includes(before.op) || before.added) continue;
      if (x.op === "leaky" && !before.leaky) {
        out.delete(before.out);
        x = { ...before, leaky: x.leaky, out: x.out };
        break;
      }
      if (x.op === "add" && before.op === "conv1x1" && other !== source) {
        out.delete(before.out);
        x = { ...before, added: other, out: x.out };
        break;
      }
    }
    out.set(x.out, x);
  }
  return [...out.values()];
}

/** uint8 or int16 (256, C) with its columns in another order. */
function reordered(array, order) {
  if (!order) return array.view;
  const [n, C] = array.shape,
    out = new array.view.constructor(n * C);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < C; c++) out[i * C + c] = array.view[i * C + order[c]];
  return out;
}

function packLayer(block, x, registers, shapes) {
  const cin = shapes.get(x.source).channels,
    cout = shapes.get(x.out).channels;
  const layer = block.layer({
    kind: KINDS[x.op],
    in: registers.get(x.source),
    out: registers.get(x.out),
    in2: x.added === null ? -1 : registers.get(x.added),
    leaky: x.leaky,
    cin,
    cout,
    shift: Math.max(1, x.number),
    safe: x.together ? 1 : 0,
  });
  if (CONVOLUTIONS.includes(x.op)) {
    need(x.weight.view instanceof Int16Array && x.weight.shape[0] === cout, "weights");
    const bias = x.rows ? x.bias.view.map((_, d) => x.bias.view[x.rows[d]]) : x.bias.view;
    layer.safe = 1;
    layer.bias = block.copy(bias, BigInt64Array);
    if (x.op === "conv1x1") {
      need(x.weight.shape[1] === cin, "weights");
      layer.weight = block.panels(x.weight.view, cout, cin, x.rows, x.columns);
    } else layer.weight = block.taps(x.weight.view, cout);
  } else if (x.multiplier) {
    need(x.multiplier.shape[1] === cin, "gains");
    layer.multiplier = block.copy(reordered(x.multiplier, x.rows));
    layer.weight = block.copy(x.shifts.view);
  }
  return layer;
}

/** Which cells, of rows or of columns, the pixels from `first` to `last` depend on, of `cells`. */
export function neededCells({ layers, result }, first, last, cells) {
  const spans = new Map([[result, [first, last]]]);
  for (const layer of [...layers].reverse()) {
    if (!spans.has(layer.out)) continue;
    let [low, high] = spans.get(layer.out);
    if (layer.op === "depthwise3x3") ((low -= 1), (high += 1));
    if (layer.op === "shuffle")
      ((low = Math.floor(low / layer.size)), (high = Math.ceil(high / layer.size)));
    if (layer.op === "unshuffle") ((low *= layer.size), (high *= layer.size));
    for (const source of registersOf(layer)) {
      const old = spans.get(source) ?? [low, high];
      spans.set(source, [Math.min(low, old[0]), Math.max(high, old[1])]);
    }
  }
  const [low, high] = spans.get("y");
  return [Math.max(0, low), Math.min(cells, high)];
}

/** A program, packed and checked: { at, rate, layers, result }. layers: as they are described. */
export function packProgram(core, description, arrays, latents) {
  need(Array.isArray(description) && description.length > 0, "no synthesis");
  const layers = layersOf(description, arrays),
    shapes = shapesOf(layers, latents);
  together(layers, shapes);
  const block = new Block(core, arrays),
    registers = new Map([["y", 0]]);
  block.end = 8 * HEADER_FIELDS;
  const few = fused(layers);
  for (const x of few) registers.set(x.out, registers.size);
  block.layers = few.map((x) => packLayer(block, x, registers, shapes));
  const table = block.table(),
    result = few[few.length - 1].out,
    { channels, rate } = shapes.get(result);
  const at = block.write(1, [0, 0, table, few.length, registers.size, latents, rate, channels]);
  need(core.x.aei_check_synthesis(at, BigInt(block.end)) === 0, "its synthesis");
  return { at, rate, layers: description, result };
}
