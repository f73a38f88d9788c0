// The viewer: drop files, look, zoom, compare, save. Weights lie in aei-models/, or in the page
// itself, or are dropped.
import { addWeights, encodePng } from "../dist/aei-decode.js";
import "../dist/element.js";

const by = (id) => document.getElementById(id);
const image = by("image"),
  other = by("other"),
  stage = by("stage"),
  frame = by("frame");
let file = null,
  compared = null,
  zoom = 0,
  began = 0; // zoom 0: as large as there is room for

const bytes = (n) =>
  n < 1e4 ? `${n} bytes` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`;

function say(text, bad = false) {
  by("message").textContent = text;
  by("message").classList.toggle("bad", bad);
}

function tell(facts) {
  by("facts").replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const dt = document.createElement("dt"),
        dd = document.createElement("dd");
      dt.textContent = name;
      dd.textContent = value;
      return [dt, dd];
    }),
  );
}

function layout() {
  const { naturalWidth: w, naturalHeight: h } = image;
  if (!w) return;
  const style = getComputedStyle(stage),
    pad = parseFloat(style.paddingLeft) * 2;
  const fit = Math.min(1, (stage.clientWidth - pad) / w, (stage.clientHeight - pad) / h);
  const scale = zoom || fit;
  frame.style.width = `${Math.max(1, w * scale)}px`;
  frame.classList.toggle("pixels", scale >= 3);
  by("fit").setAttribute("aria-pressed", String(!zoom));
  by("one").textContent = `${Math.round(scale * 100)} %`;
}

function zoomBy(factor) {
  const { naturalWidth: w } = image;
  if (!w) return;
  const now = zoom || frame.getBoundingClientRect().width / w;
  zoom = Math.min(16, Math.max(0.05, now * factor));
  layout();
}

function split() {
  const at = Number(by("split").value);
  other.style.clipPath = `inset(0 0 0 ${at}%)`;
  by("line").style.left = `calc(${at}% - 1px)`;
}

function showCompared() {
  const both = !!(compared && image.image);
  for (const id of ["other", "line", "compare"]) by(id).hidden = !both;
  if (!both) return;
  by("left").textContent = `aei, ${bytes(file.size)}`;
  by("right").textContent = `${compared.name.split(".").pop()}, ${bytes(compared.size)}`;
  split();
}

function shown() {
  const { header, colours, orientation, icc, exif, xmp } = image.image;
  const ms = performance.now() - began,
    pixels = header.width * header.height;
  tell([
    ["file", file.name],
    ["size", `${header.width} × ${header.height} pixels`],
    ["bytes", `${bytes(file.size)}, ${((8 * file.size) / pixels).toFixed(3)} bits a pixel`],
    ["channels", (header.grey ? "grey" : "colour") + (header.alpha ? " and alpha" : "")],
    ["colours", colours + (icc ? `, ${icc.length} bytes of ICC` : "")],
    ["model", header.model],
    ["gain index", String(header.gainIndex)],
    ["tiles", header.tiled ? "yes" : "no"],
    ["metadata", [exif && "Exif", xmp && "XMP"].filter(Boolean).join(", ") || "none"],
    ["orientation", orientation === 1 ? "upright" : `${orientation}, applied`],
    ["decoded in", `${(ms / 1000).toFixed(2)} s`],
  ]);
  say("");
  layout();
  showCompared();
}

image.addEventListener("load", shown);
image.addEventListener("error", ({ error }) => {
  tell([]);
  const more =
    error.name === "UnknownModelError"
      ? " Drop its .aeiw file here (made by: aei model web -o FOLDER)."
      : "";
  say(`${error.message}.${more}`, true);
});

function open(next) {
  file = next;
  began = performance.now();
  by("welcome").hidden = true;
  frame.hidden = false;
  for (const id of ["save", "in", "out", "fit", "one"]) by(id).disabled = false;
  zoom = 0;
  say("Decoding…");
  tell([]);
  image.setAttribute("alt", next.name);
  image.show(next);
}

async function take(files) {
  for (const one of files) {
    if (one.name.endsWith(".aeiw")) {
      addWeights(one.name.split(".")[0], await one.arrayBuffer());
      if (file && !image.image) open(file);
    } else if (one.name.toLowerCase().endsWith(".aei")) open(one);
    else if (one.type.startsWith("image/")) {
      URL.revokeObjectURL(other.src);
      other.src = URL.createObjectURL(one);
      compared = one;
      showCompared();
      if (!image.image)
        say(
          `${one.name}: to compare it, drop an .aei file too (made by: aei encode "${one.name}").`,
        );
    } else say(`${one.name}: neither an .aei file nor an image`, true);
  }
}

by("files").addEventListener("change", ({ target }) => take(target.files));
by("split").addEventListener("input", split);
by("in").addEventListener("click", () => zoomBy(1.5));
by("out").addEventListener("click", () => zoomBy(1 / 1.5));
by("fit").addEventListener("click", () => ((zoom = 0), layout()));
by("one").addEventListener("click", () => ((zoom = 1), layout()));
by("save").addEventListener("click", async () => {
  if (!image.image) return;
  const link = document.createElement("a"),
    url = URL.createObjectURL(await encodePng(image.image, { turn: true }));
  link.href = url;
  link.download = file.name.replace(/\.aei$/i, "") + ".png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
});
addEventListener("resize", layout);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.localName === "input") return;
  const keys = {
    "+": () => zoomBy(1.5),
    "-": () => zoomBy(1 / 1.5),
    0: () => ((zoom = 0), layout()),
    1: () => ((zoom = 1), layout()),
  };
  keys[event.key]?.();
});
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    stage.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files);
  });

/** ?file=photo.aei shows a file of this site. */
async function openNamed(named) {
  const response = await fetch(new URL(named, location.href));
  if (response.ok) take([new File([await response.blob()], named.split("/").pop())]);
  else say(`${named}: ${response.status}`, true);
}
const named = new URLSearchParams(location.search).get("file");
if (named) openNamed(named);

// Weights that the page itself holds, as `aei model page` writes them.
for (const { dataset, textContent } of document.querySelectorAll("script[data-fingerprint]"))
  addWeights(
    dataset.fingerprint,
    Uint8Array.from(atob(textContent), (c) => c.charCodeAt(0)),
  );
