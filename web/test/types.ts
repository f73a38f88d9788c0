// Compiled, not run: the types say what the guide shows.
import { LimitError, configure, decode, encodePng, readHeader } from "aei-decode";
import type { DecodedImage } from "aei-decode";
import "aei-decode/element";
import { upgradeImages } from "aei-decode/upgrade";

configure({ weights: "/aei-models/", workers: 2 });
export async function show(canvas: HTMLCanvasElement): Promise<Blob> {
  const signal = AbortSignal.timeout(5000);
  const image: DecodedImage = await decode(await fetch("photo.aei"), {
    signal, region: [0, 0, 64, 64], scale: 2, limits: { pixels: 1e7 },
    onProgress: ({ done, total }) => console.log(done / total),
  });
  canvas.getContext("2d")!.putImageData(new ImageData(image.data, image.width, image.height), 0, 0);
  const { width } = readHeader(new Uint8Array(16));
  if (width > 1000) throw new LimitError("large");
  const end = upgradeImages(document);
  end();
  document.querySelector("aei-image")!.src = "other.aei";
  // @ts-expect-error scales are 1, 2, 4 or 8
  await decode(new Uint8Array(), { scale: 3 });
  return encodePng(image, { turn: true });
}
