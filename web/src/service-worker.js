/**
 * A service worker that turns .aei files into PNG where an image is asked for: for pages that
 * cannot change. Weights lie in aei-models/ beside it, unless `self.aeiWeights` says another folder
 * before this is imported. Everything else passes.
 */
import { configure, decode, encodePng } from "./node.js";

configure({ weights: new URL(self.aeiWeights ?? "aei-models/", self.location.href).href });

async function image(request) {
  const response = await fetch(request);
  if (!response.ok) return response;
  const data = new Uint8Array(await response.arrayBuffer());
  try {
    const png = await encodePng(await decode(data), { turn: true });
    return new Response(png, { headers: { "content-type": "image/png" } });
  } catch (error) {
    console.warn(`aei-decode: ${request.url}: ${error.message}`);
    return new Response(data, response); // which the browser cannot show either
  }
}

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event,
    url = new URL(request.url);
  const own = url.origin === self.location.origin && /\.aei$/i.test(url.pathname);
  if (own && request.method === "GET" && request.destination === "image")
    event.respondWith(image(request));
});
