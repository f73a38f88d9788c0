// What becomes of weights: node test/weights.mjs load FILE...  or  arrays FILE SHAPES
// load: a hash of the blocks that are made of each file, or an error's name. arrays: what a file of
// codes, and numbers under them, holds, in hexadecimal; SHAPES is a JSON list of the arguments of
// web_unpack between its first and its last.
import crypto from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { Arena, Core } from "../src/core.js";
import { loadModel } from "../src/model.js";

const [mode, ...files] = process.argv.slice(2);
const wasm = fs.readFileSync(path.resolve(import.meta.dirname, "../core/core.wasm"));
const core = await Core.of(await WebAssembly.compile(wasm));

function blocks(name) {
  try {
    const { prior, synthesis } = loadModel(core, new Uint8Array(fs.readFileSync(name)));
    const digest = crypto.createHash("sha256");
    for (const at of [prior, synthesis.at]) digest.update(core.u8(at, Number(core.i64(at, 2)[1])));
    return digest.digest("hex");
  } catch (error) {
    return error.name;
  }
}

function arrays(name, shapes) {
  const file = fs.readFileSync(name),
    size = file.readUInt32LE(0),
    arena = new Arena(core);
  const lengths = file.subarray(4, 4 + size),
    bits = file.subarray(4 + size);
  const unpacker = core.x.web_unpack_open(
    arena.put(bits),
    bits.length,
    arena.put(lengths),
    size / 256,
  );
  for (const [width, rows, columns, ...how] of JSON.parse(shapes)) {
    const n = width * rows * columns,
      at = arena.alloc(n + 64);
    if (!core.x.web_unpack(unpacker, width, rows, columns, ...how, at)) return console.log("early");
    console.log(Buffer.from(core.u8(at, n)).toString("hex"));
  }
  console.log(core.x.web_unpack_ended(unpacker));
}

if (mode === "load") for (const name of files) console.log(blocks(name));
else arrays(...files);
