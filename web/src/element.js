/**
 * <aei-image src alt width height loading>: an image of an .aei file, as <img> would show it.
 *
 * Its size is known from the first bytes; a preview comes first, while the rest of the file is on
 * its way if the file has one in it, then bands. What stands inside it,
 * `slot="error"` or without a slot, is shown where the file cannot be.
 */
import { HEAD_BYTES, decode, decodePreview, encodePng, readHeader } from "./index.js";

const Base = globalThis.HTMLElement ?? class {};
const SHEET = `
:host { display: inline-block; max-width: 100%; line-height: 0 }
:host([hidden]) { display: none }
canvas { display: block; width: 100%; height: auto }
slot { line-height: normal }
`;
const MOST_START = 2 ** 18; // bytes among which a preview is looked for
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

/** What is drawn of one file, on a canvas of its own. */
class View {
  #canvas;
  #signal;
  #told = null;
  #context;
  #plain = true;
  #turned = false;
  #drawn = Promise.resolve();
  #previewed = false;

  constructor(canvas, signal) {
    this.#canvas = canvas;
    this.#signal = signal;
  }

  size(width, height) {
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
  }

  /** Show the preview of a file whose first bytes are there; whether that is settled by now. */
  async early(start) {
    try {
      const found = await decodePreview(start, { signal: this.#signal });
      if (!found || this.#signal.aborted) return true;
      const { width, height } = found.header;
      this.#begin({ ...found, width, height });
      if (this.#plain) this.#drawn = this.#stretch(found);
      this.#previewed = true;
    } catch (error) {
      return error.name !== "DamagedFileError"; // else: more bytes are needed, perhaps
    }
    return true;
  }

  /** Decode and show a whole file: what `decode` gives. */
  async show(input) {
    const image = await decode(input, {
      signal: this.#signal,
      onStart: (header) => this.#begin(header),
      onPreview: this.#previewed
        ? undefined
        : (small) => {
            if (this.#plain) this.#drawn = this.#stretch(small);
          },
      onBand: ({ data, columns, rows, left, top }) => {
        if (this.#plain && !this.#turned)
          this.#drawn = this.#drawn.then(() =>
            this.#context.putImageData(this.#pixels(data, columns, rows), left, top),
          );
      },
    });
    await this.#drawn;
    if (this.#signal.aborted) return null;
    const context = this.#context;
    if (!this.#plain) {
      const bitmap = await createImageBitmap(await encodePng({ ...image, exif: null }));
      context.clearRect(0, 0, image.width, image.height);
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
    } else if (this.#turned) {
      context.clearRect(0, 0, image.width, image.height);
      await this.#draw(image, image.width, image.height);
    }
    return image;
  }

  #begin(told) {
    if (this.#told) return;
    this.#told = told;
    const { orientation = 1, icc, colours, width, height } = told;
    const wide =
      colours === "Display P3" || (icc && colours !== "sRGB" && !colours.startsWith("Grey"));
    this.#turned = orientation > 1;
    this.size(...(orientation > 4 ? [height, width] : [width, height]));
    this.#context = this.#canvas.getContext("2d", wide ? { colorSpace: "display-p3" } : undefined);
    turn(this.#context, orientation, width, height);
    // what this canvas has no space for goes through an image that says its profile
    this.#plain =
      !icc ||
      ["sRGB", "Grey, sRGB's curve"].includes(colours) ||
      (colours === "Display P3" && colourSpace(this.#context)?.colorSpace === "display-p3");
  }

  #pixels(data, width, height) {
    const bytes = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
    return new ImageData(bytes, width, height, colourSpace(this.#context));
  }

  /** A small picture over the whole; an eighth of the sides may stand over the last pixels. */
  #stretch(small) {
    const { width, height } = this.#told,
      eighth = small.width === Math.ceil(width / 8) && small.height === Math.ceil(height / 8);
    return eighth
      ? this.#draw(small, 8 * small.width, 8 * small.height)
      : this.#draw(small, width, height);
  }

  async #draw({ data, width, height }, columns, rows) {
    const bitmap = await createImageBitmap(this.#pixels(data, width, height), {
      premultiplyAlpha: "default",
    });
    if (!this.#signal.aborted) this.#context.drawImage(bitmap, 0, 0, columns, rows);
    bitmap.close();
  }
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
      const view = new View(this.#canvas, signal);
      if (input === undefined) {
        if (!this.src) return void (this.#abort = null);
        input = await this.#fetched(view, signal);
      }
      if (signal.aborted) return;
      this.image = await view.show(input);
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
  async #fetched(view, signal) {
    const response = await fetch(new URL(this.src, document.baseURI), { signal });
    if (!response.ok) throw new Error(`${this.src}: ${response.status} ${response.statusText}`);
    const parts = [],
      reader = response.body.getReader();
    let size = 0,
      known = false,
      early = false;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      size += value.length;
      if (!known && size >= HEAD_BYTES) {
        known = true;
        const head = new Uint8Array(await new Blob(parts).slice(0, HEAD_BYTES).arrayBuffer());
        const { width, height } = readHeader(head);
        view.size(width, height);
      }
      if (known && !early && size <= MOST_START) early = await view.early(new Blob(parts));
    }
    return new Blob(parts);
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
