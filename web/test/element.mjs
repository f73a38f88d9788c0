// What <aei-image>, upgraded images and the service worker do, in this browser; posted to /report.
import * as aei from "/dist/aei-decode.js";
import "/dist/element.js";
import { upgradeImages } from "/dist/upgrade.js";

aei.configure({ weights: "/models/" });
const seen = {};

const event = (target, name) =>
  new Promise((resolve) => target.addEventListener(name, resolve, { once: true }));
const canvasOf = (element) => element.shadowRoot.querySelector("canvas");

function add(attributes, inner = "") {
  const element = document.createElement("aei-image");
  element.innerHTML = inner;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  document.body.append(element);
  return element;
}

/** What a canvas shows, whoever draws on it; own: the space of its numbers. */
function pixels(canvas, space = "srgb", own = space) {
  const { width, height } = canvas,
    copy = new OffscreenCanvas(width, height).getContext("2d", { colorSpace: own });
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, width, height, { colorSpace: space }).data;
}

/** What `measure` gives once `fine` holds of it: frames come after they are drawn. */
async function eventually(measure, fine) {
  for (let i = 0; ; i++) {
    const found = measure();
    if (fine(found) || i === 200) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const shows = (element, data) =>
  eventually(
    () => furthest(pixels(canvasOf(element)), data),
    (off) => off === 0,
  );

function furthest(a, b) {
  let most = a.length === b.length ? 0 : Infinity;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
  return most;
}

// What the browser itself makes of a PNG file of the same image.
async function asPng(image, space) {
  const bitmap = await createImageBitmap(await aei.encodePng(image, { turn: true }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { colorSpace: space });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height, { colorSpace: space }).data;
}

const checks = {
  async shows() {
    const element = add({ src: "/files/photo.aei", alt: "a photograph" }),
      canvas = canvasOf(element);
    const sizes = [],
      states = [];
    const watch = setInterval(() => {
      sizes.push([canvas.width, canvas.height].join());
      if (canvas.width > 1) states.push(pixels(canvas).some((v) => v));
    }, 5);
    await event(element, "load");
    clearInterval(watch);
    const data = await aei.decode(await fetch("/files/photo.aei"));
    const box = element.getBoundingClientRect();
    return {
      same: await shows(element, data.data),
      natural: [element.naturalWidth, element.naturalHeight],
      box: [box.width, box.height],
      sizes: [...new Set(sizes)],
      label: canvas.getAttribute("aria-label"),
      role: canvas.getAttribute("role"),
      complete: element.complete,
      sawEmptyOfItsSize: states[0] === false,
    };
  },
  async previews() {
    const order = [];
    await aei.decode(await fetch("/files/photo.aei"), {
      onStart: ({ width }) => order.push(`start ${width}`),
      onPreview: ({ width }) => order.push(`preview ${width}`),
      onBand: () => order.push("band"),
      onProgress: ({ done, total }) => done === total && order.push("done"),
    });
    return order.filter((what, i) => what !== order[i - 1]);
  },
  async early() {
    // the start of a file whose rest is on its way for ever
    const element = add({ src: "/files/start.aei" }),
      canvas = canvasOf(element);
    await event(element, "error"); // cut short: by then the preview was there
    const whole = await aei.decodePreview(await fetch("/files/start.aei"));
    return {
      size: [canvas.width, canvas.height],
      preview: [whole.width, whole.height],
      seen: await eventually(() => pixels(canvas).some((v) => v), Boolean),
    };
  },
  async sizes() {
    const wide = add({ src: "/files/photo.aei", width: 50 });
    await event(wide, "load");
    const narrow = document.createElement("div");
    narrow.style.width = "80px";
    document.body.append(narrow);
    const held = add({ src: "/files/photo.aei" });
    narrow.append(held);
    await event(held, "load");
    return [wide, held]
      .map((e) => canvasOf(e).getBoundingClientRect())
      .map((r) => [r.width, r.height]);
  },
  async fails() {
    const bare = add({ src: "/files/damaged.aei", alt: "what it was" });
    const { error } = await event(bare, "error");
    const own = add({ src: "/files/nothing.aei" }, '<b slot="error">gone</b><i>instead</i>');
    await event(own, "error");
    const shown = (e) =>
      Array.from(e.querySelectorAll("*"), (n) => n.getBoundingClientRect().width > 0);
    const good = add({ src: "/files/photo.aei" }, "<i>instead</i>");
    await event(good, "load");
    return {
      name: error.name,
      text: bare.shadowRoot.querySelector("slot[name=error]").textContent,
      shown: shown(own),
      hidden: shown(good),
    };
  },
  async unknown() {
    const element = add({ src: "/files/unknown.aei" });
    return (await event(element, "error")).error.name;
  },
  async turns() {
    const out = [];
    for (let orientation = 1; orientation <= 8; orientation++) {
      const element = add({ src: `/files/turned-${orientation}.aei` });
      await event(element, "load");
      const image = await aei.decode(await fetch(`/files/turned-${orientation}.aei`));
      const canvas = canvasOf(element);
      const { width, height } = canvas;
      out.push([width, height, await shows(element, await asPng(image, "srgb"))]);
    }
    return out;
  },
  async alpha() {
    const element = add({ src: "/files/alpha.aei" });
    await event(element, "load");
    const image = await aei.decode(await fetch("/files/alpha.aei"));
    const alpha = (data) => data.filter((_, i) => i % 4 === 3);
    const measure = () => furthest(alpha(pixels(canvasOf(element))), alpha(image.data)) === 0;
    return {
      alphaSame: await eventually(measure, Boolean),
      some: image.data.some((v, i) => i % 4 === 3 && v < 255),
    };
  },
  async grey() {
    const element = add({ src: "/files/grey.aei" });
    await event(element, "load");
    const image = await aei.decode(await fetch("/files/grey.aei"));
    return [image.header.grey, await shows(element, image.data)];
  },
  async colours() {
    const out = {};
    for (const name of ["p3", "adobe"]) {
      const element = add({ src: `/files/${name}.aei` });
      await event(element, "load");
      const image = await aei.decode(await fetch(`/files/${name}.aei`)),
        canvas = canvasOf(element);
      const wanted = await asPng(image, "display-p3");
      out[name] = {
        colours: image.colours,
        asPng: await eventually(
          () => furthest(pixels(canvas, "display-p3"), wanted),
          (off) => off <= 1,
        ),
        managed: furthest(pixels(canvas, "srgb", "display-p3"), image.data),
        asIs: furthest(pixels(canvas, "display-p3"), image.data),
        srgb: Array.from(pixels(canvas, "srgb", "display-p3").slice(0, 3)),
      };
    }
    return out;
  },
  async aborts() {
    const abort = new AbortController(),
      begun = aei.decode(await fetch("/files/photo.aei"), {
        signal: abort.signal,
        onStart: () => abort.abort(),
      });
    const first = await begun.then(
      () => "finished",
      (e) => e.name,
    );
    const many = new AbortController();
    const line = Array.from({ length: 20 }, async () =>
      aei.decode(await fetch("/files/photo.aei"), { signal: many.signal }).then(
        () => "finished",
        (e) => e.name,
      ),
    );
    setTimeout(() => many.abort(), 300);
    const names = await Promise.all(line);
    const again = await aei.decode(await fetch("/files/photo.aei"));
    return {
      first,
      others: [...new Set(names)].sort(),
      aborted: names.includes("AbortError"),
      again: again.width,
    };
  },
  async together() {
    const wanted = await aei.decode(await fetch("/files/photo.aei"));
    const many = await Promise.all(
      Array.from({ length: 12 }, async () =>
        aei.decode(await (await fetch("/files/photo.aei")).blob()),
      ),
    );
    return many.every((image) => furthest(image.data, wanted.data) === 0);
  },
  async upgrades() {
    const image = document.createElement("img");
    image.src = "/files/photo.aei";
    image.alt = "kept";
    const picture = document.createElement("picture");
    picture.innerHTML =
      '<source type="image/x-aei" srcset="/files/photo.aei"><img src="/files/other.png">';
    document.body.append(image);
    const end = upgradeImages();
    document.body.append(picture);
    const inner = picture.querySelector("img");
    while (![image, inner].every((i) => i.src.startsWith("blob:") && i.complete))
      await new Promise((r) => setTimeout(r, 20));
    end();
    return [image, inner].map((i) => [i.naturalWidth, i.naturalHeight, i.alt]);
  },
  async serviceWorker() {
    await navigator.serviceWorker.register("/sw.js");
    await navigator.serviceWorker.ready;
    if (!navigator.serviceWorker.controller)
      await event(navigator.serviceWorker, "controllerchange");
    const image = new Image();
    image.src = "/files/photo.aei?by-worker";
    await event(image, "load");
    const plain = (await (await fetch("/files/photo.aei")).arrayBuffer()).byteLength;
    return { size: [image.naturalWidth, image.naturalHeight], fetched: plain };
  },
  async caches() {
    const found = await caches.open("aei-weights-1");
    return (await found.keys()).map((r) => new URL(r.url).pathname);
  },
};

const { only } = await (await fetch("/cases.json")).json();
for (const [name, check] of Object.entries(checks)) {
  if (only && !only.includes(name)) continue;
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error("takes too long")), 60000),
  );
  seen[name] = await Promise.race([check(), late]).catch((error) => ({
    failed: String(error?.stack ?? error),
  }));
}
await fetch("/report", { method: "POST", body: JSON.stringify(seen) });
document.title = "done";
