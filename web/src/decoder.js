/** What a worker does: latents of a tile, pixels of a window, by the core. */
import { DamagedFileError, LimitError, ModelError, UnsupportedError } from "./errors.js";
import { Arena } from "./core.js";

const BAND_CELLS = 1024;
const MARGIN = 3; // pixels beyond a pixel that a post-filter may see
const STATUS = { UNDECODABLE: 1, IMPOSSIBLE: 2, TOO_LONG: 3, NO_MEMORY: 4 };

/** Rows and columns of the grids of y and of z. */
export function gridOf(program, width, height) {
  const { size, stride, hyper_stride: more } = program;
  if (size && (size[0] !== width || size[1] !== height))
    throw new UnsupportedError(
      `image of ${width}x${height} pixels: this model handles ${size[0]}x${size[1]} only`,
    );
  const rows = Math.ceil(height / stride),
    columns = Math.ceil(width / stride);
  return { rows, columns, zRows: Math.ceil(rows / more), zColumns: Math.ceil(columns / more) };
}

const outOfMemory = () => new LimitError("decoding takes more memory than WebAssembly has here");

/** { y, z }: int32 (rows, columns, M) and (.., Z) of a payload. */
export function decodeLatents(core, model, { payload, width, height, gainIndex, codeAll }) {
  const grid = gridOf(model.program, width, height);
  const M = model.program.latents,
    Z = model.program.hyper_latents;
  const n = grid.rows * grid.columns * M,
    nz = grid.zRows * grid.zColumns * Z;
  return core.scoped((arena) => {
    const geometry = arena.alloc(48),
      y = arena.alloc(4 * n),
      z = arena.alloc(4 * nz),
      check = arena.alloc(4);
    core
      .i64(geometry, 6)
      .set([gainIndex, grid.rows, grid.columns, grid.zRows, grid.zColumns, 0].map(BigInt));
    const status = core.x.aei_decode(
      model.prior,
      0,
      0,
      geometry,
      arena.put(payload),
      BigInt(payload.length),
      codeAll ? 1 : 0,
      z,
      y,
      check,
    );
    if (status === STATUS.NO_MEMORY) throw outOfMemory();
    if (status === STATUS.UNDECODABLE) throw new DamagedFileError("the image data does not decode");
    if (status === STATUS.IMPOSSIBLE)
      throw new DamagedFileError("the image data holds an impossible value");
    if (status && status !== STATUS.TOO_LONG) throw new ModelError(`aei_decode: status ${status}`);
    if (core.i32(check, 1)[0] !== (core.x.web_crc32(y, 4 * n) & 255))
      throw new DamagedFileError("the decoded data fails its check: the file is damaged");
    if (status) throw new DamagedFileError("the image data is longer than its content");
    return { y: core.i32(y, n).slice(), z: core.i32(z, nz).slice() };
  });
}

/** Rows first .. last of a window of cells, out of the pieces that lie in it, to a place. */
function gather(core, pieces, window, M, first, last, at) {
  const out = core.i32(at, (last - first) * window.width * M);
  for (const { box, y } of pieces) {
    const left = Math.max(box.left, window.left),
      right = Math.min(box.right, window.right);
    const top = Math.max(box.top, window.top + first),
      bottom = Math.min(box.bottom, window.top + last);
    for (let row = top; row < bottom; row++) {
      const from = ((row - box.top) * box.width + left - box.left) * M;
      const to = ((row - window.top - first) * window.width + left - window.left) * M;
      out.set(y.subarray(from, from + Math.max(0, right - left) * M), to);
    }
  }
}

/** Pixel units of a window as they come: yields { at, rows }, int16 (rows, rate width, 3). */
function* synthesised(core, model, program, { window, pieces, gainIndex }) {
  const M = model.program.latents,
    arena = new Arena(core);
  const step = Math.max(1, Math.floor(BAND_CELLS / window.width));
  let picture = 0;
  try {
    picture = core.x.aei_open_picture(
      program.at,
      0,
      BigInt(gainIndex),
      BigInt(window.height),
      BigInt(window.width),
      1n,
    );
    if (!picture) throw outOfMemory();
    const y = arena.alloc(4 * step * window.width * M),
      made = arena.alloc(8);
    let done = 0;
    for (let first = 0; first < window.height; first += step) {
      const last = Math.min(first + step, window.height);
      gather(core, pieces, window, M, first, last, y);
      const room = last * program.rate - done;
      const out = arena.alloc(6 * room * window.width * program.rate + 64);
      const status = core.x.aei_feed_picture(
        picture,
        0,
        y,
        BigInt(last - first),
        out,
        BigInt(room),
        made,
      );
      if (status === STATUS.NO_MEMORY) throw outOfMemory();
      if (status) throw new ModelError(`aei_feed_picture: status ${status}`);
      const rows = Number(core.i64(made, 1)[0]);
      done += rows;
      yield { at: out, rows };
      arena.free(out);
    }
  } finally {
    if (picture) core.x.aei_close_picture(picture);
    arena.close();
  }
}

/** Filters rows of int16 (h, w, 3) -> int32 at `out`. planes: as readFilter gives them. */
function filterRows(core, planes, x, h, w, out) {
  core.scoped((arena) => {
    const described = arena.alloc(96),
      weights = planes.map((f) => (f ? arena.put(f.weights) : 0));
    const view = new DataView(core.buffer, described, 96);
    for (let k = 0; k < 3; k++) {
      const f = planes[k] ?? { knots: 0, radius: 0, shift: 0 };
      [f.knots, f.radius, f.shift].forEach((v, i) =>
        view.setBigInt64(32 * k + 8 * i, BigInt(v), true),
      );
      view.setUint32(32 * k + 24, weights[k] ?? 0, true);
    }
    if (core.x.aei_post_filter(0, described, x, BigInt(h), BigInt(w), out)) throw outOfMemory();
  });
}

/** A box of the alpha plane, uint8, out of pieces { box, plane }, opaque where there is none. */
function alphaOf(pieces, wanted) {
  const out = new Uint8Array(wanted.width * wanted.height).fill(255);
  for (const { box, plane } of pieces) {
    const left = Math.max(box.left, wanted.left),
      right = Math.min(box.right, wanted.right);
    if (left >= right) continue;
    for (let y = Math.max(box.top, wanted.top); y < Math.min(box.bottom, wanted.bottom); y++) {
      const from = (y - box.top) * box.width + left - box.left;
      out.set(
        plane.subarray(from, from + right - left),
        (y - wanted.top) * wanted.width + left - wanted.left,
      );
    }
  }
  return out;
}

/** Bytes (height, width, channels) at 1/scale of their sides, rounded up. */
function reduced(core, data, width, height, channels, scale) {
  return core.scoped((arena) => {
    const n = Math.ceil(width / scale) * Math.ceil(height / scale) * channels;
    const out = arena.alloc(n + 64);
    core.x.web_reduce(arena.put(data), width, height, channels, scale, out);
    return core.u8(out, n).slice();
  });
}

/**
 * What a task shows, from its top: yields { top, height, data }, RGBA, in pixels of the result.
 *
 * task: as `painted` has it, and box: of the picture; reduce: by how much what was painted is made
 * smaller; alphas: pieces { box, plane } of the picture's pixels, or null where it is opaque.
 */
export function* paint(core, model, task) {
  const { box, scale, reduce, alphas, wanted } = task;
  let kept = new Uint8Array(0),
    rows = 0,
    top = 0; // that wait for enough rows to be reduced
  for (const band of painted(core, model, task)) {
    const { data } = band,
      n = band.height;
    if (alphas) {
      const above = (band.top - wanted.top) * scale;
      const full = {
        left: box.left,
        right: box.right,
        width: box.width,
        top: box.top + above,
        bottom: Math.min(box.bottom, box.top + above + n * scale),
      };
      full.height = full.bottom - full.top;
      const plane = alphaOf(alphas, full);
      const alpha = scale === 1 ? plane : reduced(core, plane, full.width, full.height, 1, scale);
      for (let i = 0; i < alpha.length; i++) data[4 * i + 3] = alpha[i];
    }
    if (reduce === 1) {
      yield { top: band.top - wanted.top, height: n, data };
      continue;
    }
    const all = new Uint8Array(kept.length + data.length);
    all.set(kept);
    all.set(data, kept.length);
    rows += n;
    const last = band.top + n === wanted.bottom;
    const count = last ? rows : rows - (rows % reduce),
      line = 4 * wanted.width;
    if (count) {
      const small = reduced(core, all.subarray(0, count * line), wanted.width, count, 4, reduce);
      const height = Math.ceil(count / reduce);
      yield { top, height, data: small };
      top += height;
    }
    kept = all.subarray(count * line);
    rows -= count;
  }
}

/**
 * What is shown of a window, from its top: yields { top, height, data }, RGBA of `wanted.width`.
 *
 * task: { scale (1, or of a preview), window: cells, pieces: [{ box, y }], gainIndex, wanted: the
 * pixels (of the picture, or of the preview) that are asked for, outer: what a post-filter needs of
 * them, planes, grey }.
 */
function* painted(core, model, task) {
  const { wanted, grey } = task,
    planes = task.planes ?? null;
  const program = task.scale === 1 ? model.synthesis : model.previews[task.scale];
  if (!program)
    throw new UnsupportedError("the file's model has no integer synthesis, which browsers need");
  const width = task.window.width * program.rate;
  const outer = planes ? task.outer : wanted;
  const first = outer.left - task.window.left * program.rate;
  const arena = new Arena(core);
  try {
    let at = task.window.top * program.rate; // rows of the picture
    // what is kept for the filter, of `outer`: rows from `top` on; `done`: rows that went out
    let kept = 0,
      room = 0,
      rows = 0,
      top = outer.top,
      done = wanted.top;
    const emit = (x, wide, count, left, stride) => {
      // rows of `wanted`, cut out of rows of stride pixels
      const size = wide ? 12 : 6,
        line = arena.alloc(count * wanted.width * size + 64);
      const memory = core.u8(0, core.buffer.byteLength);
      for (let r = 0; r < count; r++) {
        const from = x + (r * stride + left) * size;
        memory.copyWithin(line + r * wanted.width * size, from, from + wanted.width * size);
      }
      const out = arena.alloc(4 * count * wanted.width);
      core.x.web_rgba(line, wide ? 1 : 0, count * wanted.width, grey ? 1 : 0, 0, out);
      const data = core.u8(out, 4 * count * wanted.width).slice();
      arena.free(line);
      arena.free(out);
      const made = { top: done, height: count, data };
      done += count;
      return made;
    };
    for (const part of synthesised(core, model, program, task)) {
      const begin = Math.max(at, outer.top),
        end = Math.min(at + part.rows, outer.bottom);
      const x = part.at + (begin - at) * width * 6;
      at += part.rows;
      if (begin >= end) continue;
      if (!planes) {
        yield emit(x, false, end - begin, first, width);
        continue;
      }
      const n = end - begin;
      if (rows + n > room) {
        room = rows + 2 * n;
        const more = arena.alloc(room * outer.width * 6 + 64);
        if (kept) {
          core.u8(more, rows * outer.width * 6).set(core.u8(kept, rows * outer.width * 6));
          arena.free(kept);
        }
        kept = more;
      }
      const memory = core.u8(0, core.buffer.byteLength);
      for (let r = 0; r < n; r++) {
        const from = x + (r * width + first) * 6;
        memory.copyWithin(kept + (rows + r) * outer.width * 6, from, from + outer.width * 6);
      }
      rows += n;
      const ready = Math.min(wanted.bottom, end === outer.bottom ? end : end - MARGIN);
      if (ready <= done) continue;
      const out = arena.alloc(rows * outer.width * 12 + 64);
      filterRows(core, planes, kept, rows, outer.width, out);
      const band = emit(
        out + (done - top) * outer.width * 12,
        true,
        ready - done,
        wanted.left - outer.left,
        outer.width,
      );
      arena.free(out);
      const gone = Math.max(0, done - MARGIN - top);
      core
        .u8(0, core.buffer.byteLength)
        .copyWithin(kept, kept + gone * outer.width * 6, kept + rows * outer.width * 6);
      rows -= gone;
      top += gone;
      yield band;
    }
  } finally {
    arena.close();
  }
}
