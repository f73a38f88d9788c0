// Puts dist/ together: the modules of src/, with core/core.wasm and the worker's script inside.
//
//     npm ci && node scripts/build.mjs            (core.wasm itself: python scripts/build_core.py)
import { build } from "esbuild";
import fs from "node:fs";
import path from "node:path";

const web = path.resolve(import.meta.dirname, "..");
const out = process.argv[2] ?? path.join(web, "dist");
// One page that the Python package carries.
const viewer = process.argv[2]
  ? path.join(out, "viewer.html")
  : path.join(web, "../cli/pages/web/viewer.html");
const shared = {
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  absWorkingDir: web,
  legalComments: "none",
  write: false,
  logLevel: "warning",
};

const core = fs.readFileSync(path.join(web, "core/core.wasm"));
// A character for each byte, turned so that most are short in UTF-8: what a server's
// compression then sees is the code itself, which takes less than base64 of compressed code.
const wasm = Array.from(core, (byte) => String.fromCharCode((byte + 48) & 255)).join("");
const worker = (await build({ ...shared, entryPoints: ["src/worker.js"], format: "iife" }))
  .outputFiles[0].text;
const made = { "./wasm.js": ["WASM", wasm], "./worker-source.js": ["WORKER", worker] };
const inside = {
  name: "inside",
  setup(own) {
    own.onResolve({ filter: /^\.\/(wasm|worker-source)\.js$/ }, ({ path: name }) => ({
      path: name,
      namespace: "made",
    }));
    own.onLoad({ filter: /.*/, namespace: "made" }, ({ path: name }) => ({
      contents: `export const ${made[name][0]} = ${JSON.stringify(made[name][1])};`,
    }));
  },
};
// the faces share one decoder
const beside = {
  name: "beside",
  setup(own) {
    own.onResolve({ filter: /^\.\/index\.js$/ }, () => ({
      path: "./aei-decode.js",
      external: true,
    }));
    own.onResolve({ filter: /^\.\/element\.js$/ }, () => ({
      path: "./element.js",
      external: true,
    }));
  },
};

const files = { "worker.js": worker };
const add = async (name, options) => {
  files[name] = (await build({ ...shared, ...options })).outputFiles[0].text;
};
await add("aei-decode.js", { entryPoints: ["src/index.js"], plugins: [inside] });
await add("node.js", { entryPoints: ["src/node.js"], plugins: [inside] });
for (const face of ["element", "upgrade"])
  if (fs.existsSync(path.join(web, `src/${face}.js`)))
    await add(`${face}.js`, {
      stdin: { contents: `export * from "./src/${face}.js";`, resolveDir: web },
      plugins: [beside],
    });
if (fs.existsSync(path.join(web, "src/service-worker.js")))
  await add("service-worker.js", {
    entryPoints: ["src/service-worker.js"],
    plugins: [inside],
    format: "iife",
  });
fs.mkdirSync(out, { recursive: true });
for (const [name, text] of Object.entries(files)) fs.writeFileSync(path.join(out, name), text);

// demo/ as one page that needs nothing beside it but weights, which `aei model page` puts in.
const demo = (name) => path.join(web, "demo", name);
const script = (
  await build({ ...shared, entryPoints: [demo("demo.js")], plugins: [inside], format: "iife" })
).outputFiles[0].text;
const style = (await build({ ...shared, entryPoints: [demo("demo.css")] })).outputFiles[0].text;
const page = fs
  .readFileSync(demo("index.html"), "utf8")
  .replace("script-src 'self' 'wasm-unsafe-eval'", "script-src 'unsafe-inline' 'wasm-unsafe-eval'")
  .replace("worker-src 'self' blob:", "worker-src blob:")
  .replace("style-src 'self'", "style-src 'unsafe-inline'")
  .replace('<link rel="stylesheet" href="demo.css">\n', () => `<style>${style.trim()}</style>\n`)
  .replace('<script type="module" src="demo.js"></script>\n', "")
  .replace("</body>", () => `<!-- weights -->\n<script>${script.trim()}</script>\n</body>`);
fs.writeFileSync(viewer, page);

// <aei-image> in one script, for the pages of `aei gallery`.
const element = (
  await build({ ...shared, entryPoints: ["src/element.js"], plugins: [inside], format: "iife" })
).outputFiles[0].text;
fs.writeFileSync(path.join(path.dirname(viewer), "aei-image.js"), element);
