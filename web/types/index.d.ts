/** A rectangle of pixels: left, top, width, height. */
export type Region = readonly [left: number, top: number, width: number, height: number];

/** What a file says first. */
export interface Header {
  width: number;
  height: number;
  /** 0 (smallest) to 255. */
  gainIndex: number;
  /** Fingerprint of the model's prior, eight hexadecimal digits. */
  model: string;
  grey: boolean;
  alpha: boolean;
  tiled: boolean;
}

export interface Metadata {
  /** ICC profile; null: sRGB. */
  icc: Uint8Array | null;
  /** Exif, without the "Exif" prefix. */
  exif: Uint8Array | null;
  xmp: Uint8Array | null;
  /** Exif's, 1 to 8, 1 without one. Pixels are as they are stored: it is yours to apply, once. */
  orientation: number;
  /** "sRGB", "Display P3", "Adobe RGB (1998)", "ICC profile", .. */
  colours: string;
}

export interface DecodedImage extends Metadata {
  width: number;
  height: number;
  /** Red, green, blue and straight alpha, row by row. */
  data: Uint8ClampedArray<ArrayBuffer>;
  header: Header;
}

/** Bounds of what a file may cost, as in the Python package; beyond one is a LimitError. */
export interface Limits {
  /** Width times height; 2^28. */
  pixels: number;
  /** Bytes, as estimated; 3 GiB. */
  memory: number;
  /** Bytes of one piece of metadata, inflated; 16 MiB. */
  metadata: number;
  /** In pixels; by default twice `pixels` and a megapixel. */
  work?: number;
}

export interface Band {
  /** Of the whole result. */
  width: number;
  height: number;
  /** Where this band lies in it. */
  left: number;
  top: number;
  columns: number;
  rows: number;
  /** RGBA. */
  data: Uint8Array | Uint8ClampedArray;
}

export interface Preview {
  width: number;
  height: number;
  /** RGBA. */
  data: Uint8ClampedArray<ArrayBuffer>;
}

export interface DecodeOptions {
  signal?: AbortSignal;
  /** Only this part of the picture; only the tiles that it needs are decoded. */
  region?: Region | null;
  /** 1/scale of the size, rounded up. 4 and 8 come straight from the latents, much faster. */
  scale?: 1 | 2 | 4 | 8;
  limits?: Partial<Limits>;
  /** Once the file was read: what it is. */
  onStart?: (header: Header & Partial<Metadata>) => void;
  /**
   * The file's preview, or an eighth of the sides of an image without tiles, before its bands; to
   * be stretched over the whole picture.
   */
  onPreview?: (preview: Preview) => void;
  onBand?: (band: Band) => void;
  onProgress?: (progress: { done: number; total: number }) => void;
  /** Of weights that are being fetched; total is 0 where it is not known. */
  onWeights?: (progress: { loaded: number; total: number }) => void;
}

/** Weights of a fingerprint: their bytes, an address, or null where there are none. */
export type Weights = string | URL | Uint8Array | ArrayBuffer | null;

export interface Configuration {
  /**
   * The folder of the weights, against the page's address; "aei-models/" by default. Or what tells
   * of a fingerprint: their bytes, an address, or null. In Node: a folder, or a URL.
   */
  weights?: string | URL | ((fingerprint: string) => Weights | Promise<Weights>);
  /** How many workers; by default one a core, four at most. Browsers only. */
  workers?: number;
  /** The address of aei-decode/worker, for pages whose policy forbids blob: workers. */
  workerUrl?: string | URL;
}

/** Decode a file. */
export function decode(
  input: Uint8Array | ArrayBuffer | ArrayBufferView | Blob | Response,
  options?: DecodeOptions,
): Promise<DecodedImage>;

/**
 * The preview in a file, from as many bytes of its start as hold header and sections (64 KiB mostly
 * do); null where it has none. Width and height are the preview's, `header` is the file's.
 * Where the bytes end too soon it is a DamagedFileError.
 */
export function decodePreview(
  input: Uint8Array | ArrayBuffer | ArrayBufferView | Blob | Response,
  options?: Pick<DecodeOptions, "signal" | "limits" | "onWeights">,
): Promise<DecodedImage | null>;

/** Before the first image. */
export function configure(options: Configuration): void;

/** Weights that are at hand; files of their model need no others. */
export function addWeights(fingerprint: string, bytes: Uint8Array | ArrayBuffer): void;

/** Fetch and unpack weights before they are needed. */
export function preload(
  fingerprint: string,
  options?: Pick<DecodeOptions, "onWeights">,
): Promise<{
  fingerprint: string;
  name: string;
  /** SHA-256 of the synthesis: which pixels the model gives. */
  synthesis: string | null;
}>;

/** A PNG file with the image's colour profile. turn: its pixels the right way up, without Exif. */
export function encodePng(image: DecodedImage, options?: { turn?: boolean }): Promise<Blob>;

/** Bytes from the start of a file that `readHeader` needs. */
export const HEAD_BYTES: number;

/** Size and so on from the first bytes of a file; nothing is checked but them. */
export function readHeader(bytes: Uint8Array): Header;

export const DEFAULT_LIMITS: Readonly<Limits>;

/** Base of all errors that are raised on purpose; `name` is the class's name. */
export class AeiError extends Error {}
/** The data does not begin with the .aei signature. */
export class NotAnAeiFileError extends AeiError {}
/** The data began as an .aei file but is truncated, corrupt or inconsistent. */
export class DamagedFileError extends AeiError {}
/** A well-formed request or file that this release cannot serve. */
export class UnsupportedError extends AeiError {}
/** The file asks for more than the limits allow, or than there is memory for. */
export class LimitError extends AeiError {}
/** The weights of the file's model are not where they were looked for. */
export class UnknownModelError extends AeiError {}
/** Weights that are damaged, or not what they say. */
export class ModelError extends AeiError {}
