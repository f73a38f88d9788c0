/**
 * Show <img src="photo.aei">, and <source type="image/x-aei"> of a <picture>, in `root`, now and
 * whenever more come. Returns a function that ends it. What fails is told by an "aei-error" event.
 */
export function upgradeImages(root?: Document | Element): () => void;
