// Decodes what /cases.json lists, in this browser, and posts what came out to /report.
import * as aei from "/dist/aei-decode.js";

const CHANNELS = { L: [0], LA: [0, 3], RGB: [0, 1, 2], RGBA: [0, 1, 2, 3] };

async function sha256(bytes) {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return Array.from(new Uint8Array(digest), (b) => b.toString(16).padStart(2, "0")).join("");
}

async function hashOfPixels(image, mode) {
  const keep = CHANNELS[mode],
    n = image.width * image.height,
    out = new Uint8Array(n * keep.length);
  for (let i = 0, at = 0; i < n; i++) for (const k of keep) out[at++] = image.data[4 * i + k];
  return sha256(out);
}

// Latents are nothing that pages are given; what works without workers tells them.
let plain;
async function hashOfLatents(data) {
  plain ??= await import("/dist/node.js");
  plain.configure({ weights: new URL("/models/", location.href) });
  const tiles = await plain.latents(data);
  return sha256(await new Blob(tiles.flatMap(({ z, y }) => [z, y])).arrayBuffer());
}

// How long the main thread was not to be had, at worst.
let longest = 0,
  last = performance.now();
const channel = new MessageChannel();
channel.port2.onmessage = () => {
  const now = performance.now();
  longest = Math.max(longest, now - last);
  last = now;
  channel.port1.postMessage(0);
};

async function main() {
  const { cases, options = {} } = await (await fetch("/cases.json")).json();
  aei.configure({ weights: "/models/", ...options });
  const out = [];
  channel.port1.postMessage(0);
  for (const { name, url, mode, ...how } of cases) {
    const data = new Uint8Array(await (await fetch(url)).arrayBuffer());
    last = performance.now();
    longest = 0;
    const begin = performance.now();
    try {
      if (how.latents) {
        out.push({ name, latents: await hashOfLatents(data) });
        continue;
      }
      const image = await aei.decode(data, how);
      const ms = performance.now() - begin,
        blocked = longest;
      const pixels = mode ? await hashOfPixels(image, mode) : null;
      out.push({ name, pixels, ms, blocked });
    } catch (error) {
      out.push({ name, error: error.name, message: error.message });
    }
  }
  return out;
}

main()
  .then(
    (results) => ({ results }),
    (error) => ({ error: String(error.stack || error) }),
  )
  .then((report) => fetch("/report", { method: "POST", body: JSON.stringify(report) }))
  .then(() => (document.title = "done"));
