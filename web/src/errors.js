/** Everything that can go wrong with a file, by the names that the Python package has. */

/** Base of all errors that are raised on purpose; the message is one sentence for a person. */
export class AeiError extends Error {
  constructor(message) {
    super(message);
    this.name = new.target.label;
  }
}
// Names that survive minifiers.
AeiError.label = "AeiError";

/** The data does not begin with the .aei signature. */
export class NotAnAeiFileError extends AeiError {}
NotAnAeiFileError.label = "NotAnAeiFileError";

/** The data began as an .aei file but is truncated, corrupt or inconsistent. */
export class DamagedFileError extends AeiError {}
DamagedFileError.label = "DamagedFileError";

/** A well-formed request or file that this release cannot serve. */
export class UnsupportedError extends AeiError {}
UnsupportedError.label = "UnsupportedError";

/** The file asks for more pixels, work or memory than the caller's limits allow. */
export class LimitError extends AeiError {}
LimitError.label = "LimitError";

/** The weights of the model that the file names are not where they were looked for. */
export class UnknownModelError extends AeiError {}
UnknownModelError.label = "UnknownModelError";

/** Weights that are damaged, or not what they say. */
export class ModelError extends AeiError {}
ModelError.label = "ModelError";

const KINDS = [
  AeiError,
  NotAnAeiFileError,
  DamagedFileError,
  UnsupportedError,
  LimitError,
  UnknownModelError,
  ModelError,
];

/** An error as a message can carry it, and back. */
export function packError(error) {
  return { name: error?.name ?? "Error", message: error?.message ?? String(error) };
}

export function unpackError({ name, message }) {
  const Kind = KINDS.find((k) => k.label === name);
  if (Kind) return new Kind(message);
  if (name === "AbortError") return aborted();
  return Object.assign(new Error(message), { name });
}

export function aborted() {
  return new DOMException("decoding was cancelled", "AbortError");
}
