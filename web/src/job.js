/** One image: which tiles, which bands, in which order, whoever does the work. */
import { box, cellsOf, grown, intersection, tilesTouching } from "./container.js";
import { DamagedFileError, UnsupportedError, aborted, unpackError } from "./errors.js";
import { checkMemory, checkWork } from "./limits.js";
import { copied } from "./pause.js";
import { neededCells } from "./synthesis.js";

const BLOCK = 1024; // rows of pixels of a band of a tiled image, at least
const LEAST_BAND = 256; // of a plain one that several workers share
const STRIP = 16384; // columns of a band: those of a wider one would take ever more memory
const FILTER_MARGIN = 3;
// Of the estimate of memory, as the Python package has them.
const LATENT_BYTES = 60,
  CELL_BYTES = 512,
  PAYLOAD_BYTES = 32,
  BAND_BYTES = 60000,
  BAND_CELLS = 1024;
const CELL_PIXELS = 256;

function checkedRegion(region, whole) {
  if (region === undefined || region === null) return whole;
  const numbers = Array.from(region);
  if (numbers.length !== 4 || !numbers.every(Number.isInteger))
    throw new UnsupportedError("region: give four whole numbers, left, top, width, height");
  const wanted = box(...numbers),
    same = intersection(wanted, whole);
  if (
    Math.min(wanted.width, wanted.height) < 1 ||
    same.width !== wanted.width ||
    same.height !== wanted.height
  )
    throw new UnsupportedError(
      `region ${numbers} is not within the image of ${whole.width}x${whole.height} pixels`,
    );
  return wanted;
}

/** Raises what the limits say of a box of a file, in the order of the Python package. */
function checkCosts(file, model, wanted, size, limits) {
  const { header, boxes, entries, side } = file;
  const whole = box(0, 0, header.width, header.height),
    own = side || Math.max(header.width, header.height);
  const margin = (model.halo + 1) * model.stride;
  const touched = tilesTouching(grown(wanted, margin, whole), header.width, own);
  let pixels = 0,
    payload = 0,
    longest = 0;
  for (const i of touched) {
    const bytes = entries[i].end - entries[i].start;
    pixels += boxes[i].width * boxes[i].height;
    payload += bytes;
    longest = Math.max(longest, bytes);
  }
  checkWork(limits, Math.max(pixels, wanted.width * wanted.height), touched.length, payload);
  const rows = Math.ceil((Math.max(BLOCK, own) + 2 * margin) / own) + 1;
  const strip = Math.min(STRIP, wanted.width);
  const capacity = rows * (Math.ceil((strip + 2 * margin) / own) + 2);
  const tile = boxes[0].width * boxes[0].height,
    m = model.latents;
  const window = BAND_BYTES * Math.max(BAND_CELLS, Math.ceil(strip / model.stride));
  const kept = Math.floor((Math.min(capacity, boxes.length) * tile * m * 4) / CELL_PIXELS);
  const prior =
    Math.floor((tile * (m * LATENT_BYTES + CELL_BYTES)) / CELL_PIXELS) + PAYLOAD_BYTES * longest;
  checkMemory(limits, 4 * size.width * size.height + kept + Math.max(window, prior));
}

/** Boxes of pixels painted by themselves, from the top; those of a height from the left. */
function bandsOf(wanted, side, workers, multiple) {
  let step = wanted.height;
  if (side) step = side * Math.max(1, Math.floor(BLOCK / side));
  else if (workers > 1)
    step = Math.max(LEAST_BAND, Math.ceil(wanted.height / workers / multiple) * multiple);
  const out = [];
  for (let top = wanted.top; top < wanted.bottom; top += step)
    for (let left = wanted.left; left < wanted.right; left += STRIP)
      out.push(
        box(left, top, Math.min(STRIP, wanted.right - left), Math.min(step, wanted.bottom - top)),
      );
  return out;
}

/** What one band needs: a task for `paint`, without its pieces, and the tiles that they are of. */
function planBand(file, model, band, scale, small) {
  const { header, side, planes } = file;
  const whole = box(0, 0, header.width, header.height),
    grid = cellsOf(whole, model.stride);
  const own = side || Math.max(header.width, header.height);
  let window,
    wanted = band,
    outer = band;
  if (small) {
    window = cellsOf(band, model.stride);
    wanted = box(
      band.left / scale,
      band.top / scale,
      Math.ceil(band.width / scale),
      Math.ceil(band.height / scale),
    );
  } else {
    if (planes) outer = grown(band, FILTER_MARGIN, whole);
    const [top, bottom] = neededCells(model.synthesis, outer.top, outer.bottom, grid.height);
    const [left, right] = neededCells(model.synthesis, outer.left, outer.right, grid.width);
    window = box(left, top, right - left, bottom - top);
  }
  const s = model.stride;
  const pixels = intersection(
    box(window.left * s, window.top * s, window.width * s, window.height * s),
    whole,
  );
  return {
    tiles: tilesTouching(pixels, header.width, own),
    task: {
      model: model.fingerprint,
      gainIndex: header.gainIndex,
      grey: header.grey,
      box: band,
      window,
      wanted,
      outer,
      scale: small ? scale : 1,
      reduce: small ? 1 : scale,
      planes: small ? null : planes,
    },
  };
}

function throwIfAborted(signal) {
  if (signal?.aborted) throw aborted();
}

/** The first and the last row of a piece { box } that windows look at; [0, 0] where none does. */
function rowsSeen({ box: own }, windows) {
  const tops = windows.map((w) => Math.max(own.top, w.top)),
    bottoms = windows.map((w) => Math.min(own.bottom, w.bottom));
  return [Math.min(...tops), Math.max(...bottoms)].map((row) => (windows.length ? row : 0));
}

/**
 * What a window sees of a piece { box, y }, for a worker to have, and what is kept for the windows
 * after it, or null. One of the two is the piece as it is, the other a copy of the rows that it
 * takes: of few, and with pauses, so that the page does not stand still. latents: numbers of a
 * cell.
 */
async function shareOf(piece, window, after, latents) {
  const { box: own, y } = piece;
  const [first, last] = rowsSeen(piece, [window]),
    [begin, end] = rowsSeen(piece, after);
  const line = own.width * latents;
  const rows = async (top, bottom) => ({
    box: box(own.left, top, own.width, bottom - top),
    y: await copied(y, (top - own.top) * line, (bottom - own.top) * line),
  });
  if (begin >= end) return [piece, null];
  if (last - first <= end - begin) return [await rows(first, last), piece];
  return [piece, await rows(begin, end)];
}

/**
 * Decode a file. runner: { workers, open, model, tile, paint }, see runners.js. options: { region,
 * scale, limits, signal, onStart, onPreview, onBand, onProgress, preview }. Returns { width,
 * height, data, metadata, header }.
 */
export async function decodeFile(runner, data, options) {
  const { limits, signal, scale = 1 } = options;
  throwIfAborted(signal);
  const file = await runner.open({ data, limits });
  const { header, side, boxes, entries } = file;
  options.onStart?.(header, file.metadata ?? null);
  throwIfAborted(signal);
  const model = await runner.model(header.model, options);
  const unit = Math.max(64, model.stride * model.hyperStride);
  if (side % unit)
    throw new DamagedFileError(`tiles of ${side} pixels do not suit the file's model`);
  const whole = box(0, 0, header.width, header.height);
  const wanted = checkedRegion(options.region, whole);
  if (![1, 2, 4, 8].includes(scale))
    throw new UnsupportedError(`scale ${scale}: choose 1, 2, 4 or 8`);
  if (file.refused) throw unpackError(file.refused);
  const size = { width: Math.ceil(wanted.width / scale), height: Math.ceil(wanted.height / scale) };
  checkCosts(file, model, wanted, size, limits);
  const small = scale in model.previews && wanted.left % scale === 0 && wanted.top % scale === 0;
  if (!model.synthesis)
    throw new UnsupportedError("the file's model has no integer synthesis, which browsers need");

  let previewed = false;
  if (file.preview && options.onPreview && !small && !options.region) {
    const shown = await decodePreview(runner, file.preview, options);
    if (shown) options.onPreview(shown);
    previewed = shown !== null;
  }
  const out = new Uint8ClampedArray(4 * size.width * size.height);
  const inside = new Set(
    tilesTouching(wanted, header.width, side || Math.max(header.width, header.height)),
  );
  const tiles = new Map();
  const tileOf = (i) => {
    if (!tiles.has(i)) {
      const { start, end, crc, codeAll } = entries[i],
        { width, height } = boxes[i];
      const made = runner.tile(
        {
          model: model.fingerprint,
          gainIndex: header.gainIndex,
          payload: data.slice(start, end),
          length: end - start,
          crc: side ? crc : null,
          number: i + 1,
          codeAll,
          width,
          height,
          alpha: side ? (header.alpha ? "inside" : null) : file.alpha,
          wantsAlpha: inside.has(i),
        },
        signal,
      );
      made.catch(() => {}); // is awaited where it is wanted
      tiles.set(i, made);
    }
    return tiles.get(i);
  };

  const bands = bandsOf(wanted, side, small ? 1 : runner.workers, model.stride).map((band) =>
    planBand(file, model, band, scale, small),
  );
  const total = new Set(bands.flatMap((b) => b.tiles)).size + bands.length;
  let steps = 0;
  const progress = () => options.onProgress?.({ done: ++steps, total });
  const painting = new Set();
  let failed = null;
  /** A band's task with the pieces that it needs; tiles keep what bands after it need. */
  const supplied = async ({ task, tiles: needed }, after) => {
    const pieces = [],
      alphas = header.alpha ? [] : null;
    for (const i of needed) {
      const made = await tileOf(i);
      const piece = { box: made.box ?? cellsOf(boxes[i], model.stride), y: made.y };
      const [own, kept] = await shareOf(piece, task.window, after(i), model.latents);
      if (kept) tiles.set(i, Promise.resolve({ ...made, ...kept }));
      else tiles.delete(i);
      pieces.push(own);
      if (made.alpha) alphas?.push({ box: boxes[i], plane: made.alpha });
    }
    return { ...task, pieces, alphas };
  };
  const paintBand = async (task) => {
    const left = (task.box.left - wanted.left) / scale,
      top = (task.box.top - wanted.top) / scale;
    await runner.paint(task, true, signal, (band) => {
      const columns = Math.ceil(task.box.width / scale);
      for (let row = 0; row < band.height; row++)
        out.set(
          band.data.subarray(4 * columns * row, 4 * columns * (row + 1)),
          4 * (size.width * (top + band.top + row) + left),
        );
      options.onBand?.({
        ...size,
        left,
        top: top + band.top,
        columns,
        rows: band.height,
        data: band.data,
      });
    });
    progress();
  };
  for (let b = 0; b < bands.length && !failed; b++) {
    const needed = new Set(bands.slice(b).flatMap((band) => band.tiles));
    for (const i of tiles.keys()) if (!needed.has(i)) tiles.delete(i);
    // the next band's tiles are asked for too, so that no worker waits
    for (const i of new Set([...bands[b].tiles, ...(bands[b + 1]?.tiles ?? [])])) {
      if (tiles.has(i)) continue;
      tileOf(i).then(progress, () => {});
    }
    await Promise.all(bands[b].tiles.map(tileOf));
    throwIfAborted(signal);
    if (b === 0 && options.onPreview && !small && !previewed)
      await showPreview(runner, file, model, options, tileOf);
    const later = bands.slice(b + 1);
    const after = (i) => later.filter((band) => band.tiles.includes(i)).map((o) => o.task.window);
    const one = paintBand(await supplied(bands[b], after))
      .catch((error) => (failed ??= error))
      .finally(() => painting.delete(one));
    painting.add(one);
    if (painting.size >= runner.workers) await Promise.race(painting);
  }
  await Promise.all(painting);
  throwIfAborted(signal);
  if (failed) throw failed;
  return { ...size, data: out, metadata: file.metadata, header };
}

/** The picture of a preview's bytes: { width, height, data }, or null where it is broken. */
export async function decodePreview(runner, bytes, { limits, signal }) {
  try {
    const { width, height, data } = await decodeFile(runner, bytes, { limits, signal });
    return { width, height, data };
  } catch {
    throwIfAborted(signal);
    return null;
  }
}

/** A plain file's picture at an eighth of its sides, right from the latents. */
async function showPreview(runner, file, model, options, tileOf) {
  const { header, side, boxes } = file,
    scale = 8;
  if (side || options.region || !(scale in model.previews)) return;
  const whole = box(0, 0, header.width, header.height),
    { task } = planBand(file, model, whole, scale, true);
  const { y, alpha } = await tileOf(0),
    rows = [];
  const pieces = [{ box: cellsOf(boxes[0], model.stride), y }];
  const alphas = header.alpha && alpha ? [{ box: whole, plane: alpha }] : null;
  await runner.paint({ ...task, pieces, alphas }, false, options.signal, (band) => rows.push(band));
  const { width, height } = task.wanted,
    data = new Uint8ClampedArray(4 * width * height);
  for (const band of rows) data.set(band.data, 4 * width * band.top);
  options.onPreview({ width, height, data });
}
