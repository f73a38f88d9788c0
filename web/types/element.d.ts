import type { DecodedImage } from "./index.js";

/**
 * <aei-image src alt width height loading="lazy">. Events: "load", and "error", an ErrorEvent. What
 * stands inside it is shown where the file cannot be.
 */
export class AeiImageElement extends HTMLElement {
  src: string;
  /** What is shown, or null. */
  image: DecodedImage | null;
  readonly complete: boolean;
  readonly naturalWidth: number;
  readonly naturalHeight: number;
  /** Show this instead of what `src` names. */
  show(input: Uint8Array | ArrayBuffer | Blob | Response): Promise<void>;
}

declare global {
  interface HTMLElementTagNameMap {
    "aei-image": AeiImageElement;
  }
}
