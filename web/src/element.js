/**
 * <aei-image src alt width height loading>: an image of an .aei file, as <img> would show it.
 *
 * Its size is known from the first bytes; a preview comes first, while the rest of the file is on
 * its way if the file has one in it, then bands. What stands inside it,
 * `slot="error"` or without a slot, is shown where the file cannot be.
 */
import { Drawing } from "./drawing.js";
import {
  HEAD_BYTES,
  decode,
  decodePreview,
  encodePng,
  readHeader,
  startWorker,
} from "./index.js";

const Base = globalThis.HTMLElement ?? class {};
const SHEET = `
:host { display: inline-block; max-width: 100%; line-height: 0 }
:host([hidden]) { display: none }
canvas { display: block; width: 100%; height: auto }
slot { line-height: normal }
`;
const MOST_START = 2 ** 18; // bytes among which a preview is looked for
let sheet;

let artist,
  views = 0;

/** The worker that draws on the canvases of a page, so that the page does not. */
class Artist {
  #worker = startWorker();
  #asked = new Map();
  #number = 0;

  constructor() {
    this.#worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#asked.get(id);
      this.#asked.delete(id);
      if (error) reject(Object.assign(new Error(error.message), { name: error.name }));
      else resolve(result);
    };
    this.#worker.onerror = (event) => {
      artist = undefined;
      event.preventDefault();
      for (const { reject } of this.#asked.values())
        reject(new Error("the worker of aei-decode does not run"));
    };
  }

  ask(kind, task, transfer = []) {
    const id = ++this.#number;
    this.#worker.postMessage({ id, kind, task }, transfer);
    const answer = new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
    answer.catch(() => {}); // whoever waits for it hears
    return answer;
  }
}

/** A Drawing that the artist has. */
class Away {
  #view = ++views;

  constructor(canvas, told) {
    artist ??= new Artist();
    const own = canvas.transferControlToOffscreen();
    this.plain = artist.ask("canvas", { view: this.#view, canvas: own, told }, [own]);
  }

  draw(what) {
    return artist?.ask("draw", { view: this.#view, what }, what.data ? [what.data.buffer] : []);
  }

  end() {
    artist?.ask("end", { view: this.#view });
  }
}

/** What is drawn of one file, on a canvas of its own. */
class View {
  #canvas;
  #signal;
  #told = null;
  #drawing;
  #drawn;
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
      this.#stretch(found);
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
      onPreview: this.#previewed ? undefined : (small) => this.#stretch(small),
      onBand: ({ data, columns, rows, left, top }) =>
        this.#draw({ data, width: columns, height: rows, left, top }),
    });
    if (!(await this.#drawing.plain) && !this.#signal.aborted)
      this.#draw({ blob: await encodePng({ ...image, exif: null }) });
    await this.#drawn;
    return this.#signal.aborted ? null : image;
  }

  end() {
    this.#drawing?.end?.();
  }

  #begin(told) {
    if (this.#told) return;
    this.#told = told;
    const { orientation, icc, colours, width, height } = told;
    this.size(...(orientation > 4 ? [height, width] : [width, height]));
    const Kind = this.#canvas.transferControlToOffscreen ? Away : Drawing;
    this.#drawing = new Kind(this.#canvas, { orientation, icc, colours, width, height });
  }

  /** A small picture over the whole; an eighth of the sides may stand over the last pixels. */
  #stretch({ data, width: w, height: h }) {
    const { width, height } = this.#told,
      eighth = w === Math.ceil(width / 8) && h === Math.ceil(height / 8);
    const [columns, rows] = eighth ? [8 * w, 8 * h] : [width, height];
    this.#draw({ data, width: w, height: h, columns, rows });
  }

  #draw(what) {
    if (!this.#signal.aborted) this.#drawn = this.#drawing.draw(what);
  }
}

export class AeiImageElement extends Base {
  static observedAttributes = ["src", "alt", "width", "height"];
  #canvas;
  #slots = {};
  #abort = null;
  #watch = null;
  #view = null;

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
    this.#view?.end();
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
    this.#view?.end();
    const abort = (this.#abort = new AbortController()),
      { signal } = abort;
    this.image = null;
    this.#newCanvas();
    this.#reveal(null);
    try {
      const view = (this.#view = new View(this.#canvas, signal));
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

if (globalThis.customElements && !customElements.get("aei-image"))
  customElements.define("aei-image", AeiImageElement);
