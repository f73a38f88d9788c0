/** What a worker, or a thread that is its own worker, is asked to do. Each is a plain call. */
import { SECTION, parse, parsePreview, parseStart, readFilter, readVarint } from "./container.js";
import { Core } from "./core.js";
import { decodeLatents, paint } from "./decoder.js";
import { DICTIONARY } from "./dictionary.js";
import { DamagedFileError, ModelError, UnsupportedError, packError } from "./errors.js";
import { checkPixels } from "./limits.js";
import { loadModel } from "./model.js";

const KNOWN_PROFILES = 5;

export class Tasks {
  /** @param {WebAssembly.Module} module */
  static async of(module) {
    return new Tasks(await Core.of(module));
  }

  constructor(core) {
    this.core = core;
    this.models = new Map();
  }

  /** Unpack weights: what the caller has to know of the model. */
  load({ weights, fingerprint }) {
    const model = this.models.get(fingerprint) ?? loadModel(this.core, weights);
    if (model.fingerprint !== fingerprint)
      throw new ModelError(
        `the weights are those of model ${model.fingerprint}, not ${fingerprint}`,
      );
    this.models.set(fingerprint, model);
    const described = (p) => p && { rate: p.rate, layers: p.layers, result: p.result };
    const { stride, hyper_stride: hyperStride, latents } = model.program;
    return {
      fingerprint,
      name: model.name,
      synthesisHash: model.synthesisHash,
      halo: model.halo,
      stride,
      hyperStride,
      latents,
      synthesis: described(model.synthesis),
      previews: Object.fromEntries(
        Object.entries(model.previews).map(([scale, p]) => [scale, described(p)]),
      ),
    };
  }

  /**
   * A file taken apart: { header, boxes, entries, side, alpha }, and either { metadata, planes } or
   * `refused`, an error that counts once the file's model is known to be there.
   */
  open({ data, limits }) {
    const { header, boxes, entries, side, sections } = parse(data, limits, (b) =>
      this.core.crc32(b),
    );
    const found = {
      header,
      boxes,
      entries,
      side,
      alpha: sections.get(SECTION.ALPHA)?.slice() ?? null,
      preview: this.preview(header, sections, limits),
    };
    try {
      found.metadata = this.metadata(sections, limits);
      const filter = sections.get(SECTION.FILTER);
      found.planes = filter ? readFilter(filter) : null;
    } catch (error) {
      found.refused = packError(error);
    }
    return found;
  }

  /** What the start of a file says: { header, metadata, preview }. */
  start({ data, limits }) {
    const { header, sections } = parseStart(data);
    checkPixels(limits, header.width, header.height);
    return {
      header,
      metadata: this.metadata(sections, limits),
      preview: this.preview(header, sections, limits),
    };
  }

  /** The bytes of a file's preview, or null where it has none that is sound. */
  preview(header, sections, limits) {
    const data = sections.get(SECTION.PREVIEW);
    if (!data) return null;
    try {
      const small = parsePreview(data, header, limits, (b) => this.core.crc32(b));
      return small && data.slice();
    } catch {
      return null;
    }
  }

  metadata(sections, limits) {
    const found = { profile: 0, icc: null, exif: null, xmp: null };
    for (const name of ["ICC", "EXIF", "XMP"]) {
      const content = sections.get(SECTION[name]);
      if (!content) continue;
      if (name === "ICC" && content.length === 1) {
        if (content[0] < 1 || content[0] > KNOWN_PROFILES)
          throw new UnsupportedError(
            `the file has colour profile ${content[0]}, which this release does not know`,
          );
        found.profile = content[0];
      } else found[name.toLowerCase()] = this.core.inflate(content, limits.metadata, DICTIONARY);
    }
    return found;
  }

  /**
   * One tile, from its bytes: { y, z, alpha }, the latter a plane, or null where it is opaque.
   * crc: of the bytes, or null. alpha: "inside" where the plane's stream lies before the payload, a
   * stream, or null. wantsAlpha: whether it is to be inflated.
   */
  tile(task) {
    let { payload, alpha } = task;
    if (
      task.crc !== null &&
      (payload.length !== task.length || this.core.crc32(payload) !== task.crc)
    )
      throw new DamagedFileError(
        `tile ${task.number} is truncated or damaged: its checksum does not match`,
      );
    if (alpha === "inside") {
      const [length, start] = readVarint(payload, 0, 4);
      if (start + length > payload.length)
        throw new DamagedFileError("a tile's alpha plane is longer than the tile");
      alpha = length ? payload.subarray(start, start + length) : null;
      payload = payload.subarray(start + length);
    }
    const { y, z } = decodeLatents(this.core, this.models.get(task.model), { ...task, payload });
    const wanted = alpha && task.wantsAlpha;
    return { y, z, alpha: wanted ? this.core.alphaPlane(alpha, task.width, task.height) : null };
  }

  /** Bands of a window: see `paint` in decoder.js. */
  paint(task) {
    return paint(this.core, this.models.get(task.model), task);
  }
}
