import fs from "node:fs"; import crypto from "node:crypto";
import { Inline } from "../src/runners.js"; import { decodeFile } from "../src/job.js";
import { limitsOf } from "../src/limits.js";
const wasm = fs.readFileSync(process.argv[2] ?? "core/core.wasm");
let t0 = performance.now();
const module = await WebAssembly.compile(wasm);
const runner = new Inline(module, async (f) => new Uint8Array(fs.readFileSync(`/tmp/webmodels/${f}.aeiw`)));
console.log("compile", performance.now() - t0); t0 = performance.now();
await runner.model("d08e9426", {}); console.log("load", performance.now() - t0);
const tasks = await runner.tasks; const T = tasks.tile.bind(tasks); let tl = 0;
tasks.tile = (x) => { const t = performance.now(), r = T(x); tl = performance.now() - t; return r; };
const manifest = JSON.parse(fs.readFileSync("/tmp/kodak/manifest.json")); let bad = 0, n = 0;
for (const [name, facts] of Object.entries(manifest)) {
  const data = new Uint8Array(fs.readFileSync(`/tmp/kodak/${name}.aei`)); const t = performance.now();
  const r = await decodeFile(runner, data, { limits: limitsOf() }); const ms = performance.now() - t;
  const px = r.width * r.height, out = new Uint8Array(3 * px); for (let i = 0; i < px; i++) for (let k = 0; k < 3; k++) out[3*i+k] = r.data[4*i+k];
  const same = crypto.createHash("sha256").update(out).digest("hex") === facts.pixels_sha256; bad += !same; n++;
  if (n < 7) console.log(name, facts.bytes, same, "all", ms.toFixed(0), "tile", tl.toFixed(0));
}
console.log(n, "files", bad, "bad", "memory", (tasks.core.buffer.byteLength / 2**20).toFixed(0), "MiB");
