/**
 * <aei-image src alt width height loading>: an image of an .aei file, as <img> would show it.
 *
 * Its size is known from the first bytes; a preview comes first, then bands. What stands inside it,
 * `slot="error"` or without a slot, is shown where the file cannot be.
 */
import { HEAD_BYTES, decode, encodePng, readHeader } from "./index.js";

const Base = globalThis.HTMLElement ?? class {};
const SHEET = `
:host { display: inline-block; max-width: 100%; line-height: 0 }
:host([hidden]) { display: none }
canvas { display: block; width: 100%; height: auto }
slot { line-height: normal }
`;
let sheet;

/** An upside-down canvas: how what is drawn on it comes out the right way up. */
function turn(context, orientation, width, height) {
  const matrices = [
    null,
    [1, 0, 0, 1, 0, 0],
    [-1, 0, 0, 1, width, 0],
    [-1, 0, 0, -1, width, height],
    [1, 0, 0, -1, 0, height],
    [0, 1, 1, 0, 0, 0],
    [0, 1, -1, 0, height, 0],
    [0, -1, -1, 0, height, width],
    [0, -1, 1, 0, 0, width],
  ];
  context.setTransform(...matrices[orientation]);
}

export class AeiImageElement extends Base {
  static observedAttributes = ["src", "alt", "width", "height"];
  #canvas;
  #slots = {};
  #abort = null;
  #watch = null;

  /** What is shown: { width, height, header, orientation, colours, .. }, or null. */
  image = null;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    if (!sheet) {
      sheet = new CSSStyleSheet();
      sheet.replaceSync(SHEET);
    }
    root.adoptedStyleSheets = [sheet];
    for (const name of ["error", ""]) {
      const slot = document.createElement("slot");
      if (name) slot.name = name;
      slot.hidden = true;
      this.#slots[name || "fallback"] = slot;
    }
    this.#newCanvas();
    root.append(this.#canvas, ...Object.values(this.#slots));
  }

  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(value) {
    this.setAttribute("src", value);
  }

  get complete() {
    return this.#abort === null;
  }

  get naturalWidth() {
    return this.image ? this.#canvas.width : 0;
  }

  get naturalHeight() {
    return this.image ? this.#canvas.height : 0;
  }

  connectedCallback() {
    this.#watch?.disconnect();
    if (this.getAttribute("loading") !== "lazy") return void this.#load();
    this.#watch = new IntersectionObserver(
      (entries) => {
        if (!entries.some((e) => e.isIntersecting)) return;
        this.#watch.disconnect();
        this.#load();
      },
      { rootMargin: "50%" },
    );
    this.#watch.observe(this);
  }

  disconnectedCallback() {
    this.#watch?.disconnect();
    this.#abort?.abort();
    this.#abort = null;
  }

  attributeChangedCallback(name, before, now) {
    if (name === "src") {
      if (this.isConnected && before !== now) this.connectedCallback();
    } else this.#describe();
  }

  /** Show bytes, a Blob or a Response instead of what `src` names. */
  show(input) {
    return this.#load(input);
  }

  #newCanvas() {
    const canvas = document.createElement("canvas");
    canvas.part = "image";
    canvas.setAttribute("role", "img");
    canvas.width = canvas.height = 1;
    this.#canvas?.replaceWith(canvas);
    this.#canvas = canvas;
    this.#describe();
  }

  #describe() {
    if (!this.#canvas) return;
    const alt = this.getAttribute("alt");
    if (alt !== null) this.#canvas.setAttribute("aria-label", alt);
    if (alt === "") this.#canvas.setAttribute("role", "presentation");
    for (const side of ["width", "height"]) {
      const value = Number(this.getAttribute(side));
      this.#canvas.style[side] = value > 0 ? `${value}px` : "";
    }
  }

  async #load(input) {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController()),
      { signal } = abort;
    this.image = null;
    this.#newCanvas();
    this.#reveal(null);
    try {
      if (input === undefined) {
        if (!this.src) return void (this.#abort = null);
        input = await this.#fetched(signal);
      }
      if (signal.aborted) return;
      await this.#decode(input, signal);
      if (signal.aborted) return;
      this.#abort = null;
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (signal.aborted) return;
      this.#abort = null;
      this.#reveal(error);
      this.dispatchEvent(new ErrorEvent("error", { error, message: error.message }));
    }
  }

  /** The file's bytes; the canvas has its size as soon as the first of them are there. */
  async #fetched(signal) {
    const response = await fetch(new URL(this.src, document.baseURI), { signal });
    if (!response.ok) throw new Error(`${this.src}: ${response.status} ${response.statusText}`);
    const parts = [],
      reader = response.body.getReader();
    let size = 0,
      known = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (!known && size >= HEAD_BYTES) {
        known = true;
        const head = new Uint8Array(await new Blob(parts).slice(0, HEAD_BYTES).arrayBuffer());
        const { width, height } = readHeader(head);
        this.#size(width, height);
      }
    }
    return new Blob(parts);
  }

  #size(width, height) {
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
  }

  async #decode(input, signal) {
    let told,
      context,
      plain = true,
      turned;
    const begin = () => {
      if (context) return;
      const { orientation = 1, icc, colours } = told;
      const wide =
        colours === "Display P3" || (icc && colours !== "sRGB" && !colours.startsWith("Grey"));
      turned = orientation > 1;
      this.#size(...(orientation > 4 ? [told.height, told.width] : [told.width, told.height]));
      context = this.#canvas.getContext("2d", wide ? { colorSpace: "display-p3" } : undefined);
      turn(context, orientation, told.width, told.height);
      // what this canvas has no space for goes through an image that says its profile
      plain =
        !icc ||
        ["sRGB", "Grey, sRGB's curve"].includes(colours) ||
        (colours === "Display P3" && colourSpace(context)?.colorSpace === "display-p3");
    };
    const pixels = (data, width, height) =>
      new ImageData(
        new Uint8ClampedArray(data.buffer, data.byteOffset, data.length),
        width,
        height,
        colourSpace(context),
      );
    const drawn = async (data, width, height, top, factor) => {
      const bitmap = await createImageBitmap(pixels(data, width, height), {
        premultiplyAlpha: "default",
      });
      if (!signal.aborted) context.drawImage(bitmap, 0, top, width * factor, height * factor);
      bitmap.close();
    };
    let previewed = Promise.resolve();
    const image = await decode(input, {
      signal,
      onStart: (header) => {
        told = header;
        begin();
      },
      onPreview: ({ width, height, data }) => {
        if (plain) previewed = drawn(data, width, height, 0, 8);
      },
      onBand: ({ data, columns, rows, left, top }) => {
        if (plain && !turned)
          previewed = previewed.then(() =>
            context.putImageData(pixels(data, columns, rows), left, top),
          );
      },
    });
    await previewed;
    if (signal.aborted) return;
    if (!plain) {
      const bitmap = await createImageBitmap(await encodePng({ ...image, exif: null }));
      context.clearRect(0, 0, image.width, image.height);
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
    } else if (turned) {
      context.clearRect(0, 0, image.width, image.height);
      await drawn(image.data, image.width, image.height, 0, 1);
    }
    this.image = image;
  }

  #reveal(error) {
    const { error: own, fallback } = this.#slots;
    this.#canvas.hidden = !!error;
    this.#canvas.style.display = error ? "none" : "";
    own.hidden = fallback.hidden = !error;
    if (!error) return;
    if (!own.assignedNodes().length && !fallback.assignedNodes().some((n) => n.nodeType === 1)) {
      own.textContent = this.getAttribute("alt") || error.message; // as <img> shows its alt
    }
  }
}

function colourSpace(context) {
  const space = context.getContextAttributes?.().colorSpace;
  return space ? { colorSpace: space } : undefined;
}

if (globalThis.customElements && !customElements.get("aei-image"))
  customElements.define("aei-image", AeiImageElement);
