/** Who does the work: this thread (Node, service workers), or a pool of workers (pages). */
import { UnknownModelError, aborted } from "./errors.js";
import { pause } from "./pause.js";
import { Tasks } from "./tasks.js";

/** Works in this thread, and lets others have a turn between bands. */
export class Inline {
  /** module: a promise of a WebAssembly.Module; weights: of a fingerprint and options, a promise of
   *  bytes. */
  constructor(module, weights) {
    this.workers = 1;
    this.tasks = Promise.resolve(module).then((m) => Tasks.of(m));
    this.weights = weights;
    this.models = new Map();
  }

  async open(task) {
    return (await this.tasks).open(task);
  }

  async start(task) {
    return (await this.tasks).start(task);
  }

  model(fingerprint, options) {
    if (!this.models.has(fingerprint)) {
      const made = this.#load(fingerprint, options);
      this.models.set(fingerprint, made);
      made.catch(() => this.models.delete(fingerprint));
    }
    return this.models.get(fingerprint);
  }

  async #load(fingerprint, options) {
    const weights = await this.weights(fingerprint, options);
    if (!weights)
      throw new UnknownModelError(
        `the file was written with model ${fingerprint}, whose weights are not here`,
      );
    return (await this.tasks).load({ weights, fingerprint });
  }

  async tile(task, signal) {
    await pause();
    if (signal?.aborted) throw aborted();
    return (await this.tasks).tile(task);
  }

  async paint(task, moved, signal, onBand) {
    for (const band of (await this.tasks).paint(task)) {
      onBand(band);
      await pause();
      if (signal?.aborted) throw aborted();
    }
  }
}
