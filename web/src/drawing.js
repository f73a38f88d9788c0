/** One image on a canvas: by the worker that a page has for that, or by the page itself. */

/** Where pixels of the file go on a canvas that shows them the right way up. */
function turn(context, orientation, width, height) {
  const mirrored = [2, 3, 7, 8].includes(orientation),
    flipped = [3, 4, 6, 7].includes(orientation);
  const [p, e] = mirrored ? [-1, width] : [1, 0],
    [q, f] = flipped ? [-1, height] : [1, 0];
  context.setTransform(...(orientation > 4 ? [0, p, q, 0, f, e] : [p, 0, 0, q, e, f]));
}

export class Drawing {
  #context;
  #turned;
  #space;
  #last = Promise.resolve();

  /** canvas: of the size that is shown; told: { width, height, orientation, colours, icc }. */
  constructor(canvas, { width, height, orientation = 1, colours, icc }) {
    const wide =
      colours === "Display P3" || (icc && colours !== "sRGB" && !colours.startsWith("Grey"));
    const context = canvas.getContext("2d", wide ? { colorSpace: "display-p3" } : undefined);
    const colorSpace = context.getContextAttributes?.().colorSpace;
    this.#context = context;
    this.#turned = orientation > 1;
    this.#space = colorSpace && { colorSpace };
    turn(context, orientation, width, height);
    /** Whether pixels are drawn as they come; else they go through an image with its profile. */
    this.plain =
      !icc ||
      ["sRGB", "Grey, sRGB's curve"].includes(colours) ||
      (colours === "Display P3" && colorSpace === "display-p3");
  }

  /** Draw after all that came before: pixels { data, width, height } at left, top, as large as
   *  columns, rows; or a file { blob } that the browser knows. */
  draw(what) {
    return (this.#last = this.#last.then(() => (what.blob ? this.#file(what) : this.#some(what))));
  }

  async #some({ data, width, height, left = 0, top = 0, columns = width, rows = height }) {
    if (!this.plain) return;
    const bytes = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
    const pixels = new ImageData(bytes, width, height, this.#space);
    if (columns === width && !this.#turned) this.#context.putImageData(pixels, left, top);
    else this.#put(await createImageBitmap(pixels), left, top, columns, rows);
  }

  async #file({ blob }) {
    const bitmap = await createImageBitmap(blob);
    this.#put(bitmap, 0, 0, bitmap.width, bitmap.height);
  }

  #put(bitmap, ...place) {
    this.#context.clearRect(...place);
    this.#context.drawImage(bitmap, ...place);
    bitmap.close();
  }
}
