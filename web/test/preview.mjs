// The preview in a file as Node sees it: node test/preview.mjs MODELS FILE > told.json
import crypto from "node:crypto";
import fs from "node:fs";
import { configure, decode, decodePreview } from "../dist/node.js";

configure({ weights: process.argv[2] });
const data = new Uint8Array(fs.readFileSync(process.argv[3]));
const told = ({ width, height, data }) => ({
  width,
  height,
  pixels: crypto.createHash("sha256").update(data).digest("hex"),
});
const found = { previews: [] };
const error = (e) => ({ error: e.name });
found.early = await decodePreview(data.subarray(0, 4000)).then((p) => p && told(p), error);
found.header = await decodePreview(data).then((p) => p?.header, error);
found.short = await decodePreview(data.subarray(0, 30)).then((p) => p && told(p), error);
await decode(data, { onPreview: (p) => found.previews.push(told(p)) }).catch((e) => {
  found.error = e.name;
});
process.stdout.write(JSON.stringify(found));
