/** A file of weights (see web/README.md), unpacked, verified, and ready to run. */
import { hex } from "./container.js";
import { DamagedFileError, ModelError } from "./errors.js";
import { packPrior } from "./prior.js";
import { packProgram } from "./synthesis.js";

const MAGIC = "AEIW\x01";
const KINDS = {
  "|u1": Uint8Array,
  "|i1": Int8Array,
  "<i2": Int16Array,
  "<i4": Int32Array,
  "<i8": BigInt64Array,
};
const MOST_NUMBERS = 2 ** 26; // of an array
const MOST_HEADER = 2 ** 24;

const damaged = (why) => new ModelError(`the weights are damaged: ${why}`);

function readHead(core, data) {
  if (data.length < 21 || String.fromCharCode(...data.subarray(0, 5)) !== MAGIC)
    throw damaged("they are no file of weights, or one of another version");
  const sizes = new DataView(data.buffer, data.byteOffset + 5, 16);
  const [size, packed, lengths, packedLengths] = [0, 4, 8, 12].map((i) => sizes.getUint32(i, true));
  const end = 21 + packed + packedLengths;
  if (size > MOST_HEADER || lengths > 65536 || lengths % 256 || end > data.length)
    throw damaged("their header does not hold");
  try {
    const header = core.inflate(data.subarray(21, 21 + packed), size);
    const found = core.inflate(data.subarray(21 + packed, end), lengths);
    if (header.length !== size || found.length !== lengths)
      throw damaged("their header does not hold");
    const text = new TextDecoder().decode(header);
    return { header: JSON.parse(text), lengths: found, bits: data.subarray(end) };
  } catch (error) {
    if (error instanceof DamagedFileError || error instanceof SyntaxError)
      throw damaged("their header does not hold");
    throw error;
  }
}

/** The arrays of a part, by name; its text and they go into a SHA-256, which is given back. */
function readPart(core, unpacker, part, arrays) {
  return core.scoped((arena) => {
    const state = arena.alloc(128),
      encoder = new TextEncoder();
    const add = (at, n) => core.x.web_sha256_add(state, at, n);
    const addText = (text) => {
      const bytes = encoder.encode(text),
        at = arena.put(bytes);
      add(at, bytes.length);
      arena.free(at);
    };
    core.x.web_sha256_start(state);
    addText(part.text + "\0");
    for (const [name, kind, shape, transposed, differences] of part.arrays) {
      const Kind = KINDS[kind],
        size = shape.reduce((n, v) => n * v, 1);
      const rows = shape.length > 1 ? shape[0] : 1;
      if (!Kind || !(size >= 0 && size <= MOST_NUMBERS)) throw damaged("an array does not hold");
      const width = Kind.BYTES_PER_ELEMENT,
        at = arena.alloc(size * width + 64);
      const columns = rows ? size / rows : 0;
      if (size && !core.x.web_unpack(unpacker, width, rows, columns, transposed, differences, at))
        throw damaged("they end early");
      addText(`${name}\0${kind} (${shape.join(", ")}${shape.length === 1 ? "," : ""})\0`);
      add(at, size * width);
      arrays.set(name, { shape, view: new Kind(core.buffer, at, size).slice() });
      arena.free(at);
    }
    const out = arena.alloc(32);
    core.x.web_sha256_end(state, out);
    return hex(core.u8(out, 32));
  });
}

/**
 * Weights, ready to run: { fingerprint, name, synthesisHash, program, prior, synthesis, previews }.
 * `prior` is the place of a block; `synthesis` and `previews` (by scale) are programs, see
 * packProgram, and null where the model's pixels are not made of integers. Raises ModelError.
 */
export function loadModel(core, data) {
  const { header, lengths, bits } = readHead(core, data);
  const parts = header.parts.map(() => new Map());
  core.scoped((arena) => {
    const unpacker = core.x.web_unpack_open(
      arena.put(bits),
      bits.length,
      arena.put(lengths),
      lengths.length / 256,
    );
    if (!unpacker) throw damaged("their codes do not hold");
    try {
      const hashes = header.parts.map((part, i) => readPart(core, unpacker, part, parts[i]));
      if (!core.x.web_unpack_ended(unpacker)) throw damaged("there are bytes behind them");
      if (hashes[0].slice(0, 8) !== header.fingerprint)
        throw damaged("the prior does not match its fingerprint");
      if ((hashes[1] ?? null) !== header.synthesis)
        throw damaged("the synthesis does not match its SHA-256");
    } finally {
      core.x.web_unpack_close(unpacker);
    }
  });
  const program = JSON.parse(header.parts[0].text);
  const model = {
    fingerprint: header.fingerprint,
    name: header.name,
    synthesisHash: header.synthesis,
    halo: header.halo,
    program,
    prior: packPrior(core, program, parts[0]),
    synthesis: null,
    previews: {},
  };
  if (parts[1]) {
    const described = JSON.parse(header.parts[1].text),
      { latents } = program;
    model.synthesis = packProgram(core, described.synthesis, parts[1], latents);
    for (const [scale, layers] of Object.entries(described.previews ?? {}))
      model.previews[scale] = packProgram(core, layers, parts[1], latents);
  }
  return model;
}
