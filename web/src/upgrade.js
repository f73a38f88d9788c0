/**
 * Images of pages that stay as they are: <img src="photo.aei">, and <source type="image/x-aei"> of
 * a <picture>, get what the file shows, as PNG. Nothing happens until `upgradeImages` is called.
 */
import { decode, encodePng } from "./index.js";

const done = new WeakMap(); // of <img>: the address that was taken care of

const isAei = (address) => /\.aei$/i.test(new URL(address, document.baseURI).pathname);

/** The address of an .aei file that an image is to show, or null. */
function wanted(image) {
  const picture = image.parentElement?.localName === "picture" ? image.parentElement : null;
  for (const source of picture?.querySelectorAll('source[type="image/x-aei"]') ?? []) {
    if (source.media && !matchMedia(source.media).matches) continue;
    const address = source.srcset.trim().split(/\s+/)[0];
    if (address) return address;
  }
  const own = image.getAttribute("src");
  return own && !own.startsWith("blob:") && isAei(own) ? own : null;
}

async function upgrade(image) {
  const address = wanted(image);
  if (!address || done.get(image) === address) return;
  done.set(image, address);
  try {
    const decoded = await decode(await fetch(new URL(address, document.baseURI)));
    const url = URL.createObjectURL(await encodePng(decoded, { turn: true }));
    image.addEventListener("load", () => URL.revokeObjectURL(url), { once: true });
    image.parentElement
      ?.querySelectorAll?.(":scope > source")
      .forEach((s) => image.parentElement.localName === "picture" && s.remove());
    image.removeAttribute("srcset");
    image.src = url;
  } catch (error) {
    // what the page has for browsers without .aei stays; an <img> shows its alt
    image.dispatchEvent(
      new ErrorEvent("aei-error", { error, message: error.message, bubbles: true }),
    );
  }
}

/** Upgrade what is in `root` now, and what comes. Returns a function that ends it. */
export function upgradeImages(root = document) {
  const look = (node) => {
    if (node.localName === "img") upgrade(node);
    node.querySelectorAll?.("img").forEach(upgrade);
  };
  look(root);
  const observer = new MutationObserver((records) => {
    for (const { target, addedNodes } of records) {
      addedNodes.forEach(look);
      if (target.localName === "img") upgrade(target);
    }
  });
  observer.observe(root, { subtree: true, childList: true, attributeFilter: ["src"] });
  return () => observer.disconnect();
}
