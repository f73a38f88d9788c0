/** Workers: each does one task at a time, tasks wait in line, images wait for their turn. */
import { UnknownModelError, aborted, unpackError } from "./errors.js";

const MOST_WORKERS = 4;

export class Pool {
  /**
   * start: makes a Worker; module: gives a promise of a WebAssembly.Module; weights: of a
   * fingerprint and options, a promise of bytes, or of null.
   */
  constructor({ start, module, weights, workers }) {
    const cores = globalThis.navigator?.hardwareConcurrency || 2;
    this.workers = Math.max(1, workers ?? Math.min(cores, MOST_WORKERS));
    this.begin = start;
    this.module = module;
    this.weights = weights;
    this.models = new Map();
    this.crew = []; // { worker, busy, models }
    this.queue = [];
    this.number = 0;
  }

  open(task) {
    return this.#do({ kind: "open", task });
  }

  start(task) {
    return this.#do({ kind: "start", task });
  }

  png(task) {
    return this.#do({ kind: "png", task, transfer: [task.data.buffer] });
  }

  tile(task, signal) {
    return this.#do({ kind: "tile", task, signal, transfer: [task.payload.buffer] });
  }

  /** moved: nobody else wants the pieces, which move to the worker. */
  paint(task, moved, signal, onBand) {
    const transfer = moved ? task.pieces.map((p) => p.y.buffer) : [];
    return this.#do({ kind: "paint", task, signal, onBand, transfer });
  }

  /** What there is to know of a model, once a worker has its weights. */
  model(fingerprint, options = {}) {
    if (!this.models.has(fingerprint)) {
      const made = this.#load(fingerprint, options);
      this.models.set(fingerprint, made);
      made.catch(() => this.models.delete(fingerprint));
    }
    return this.models.get(fingerprint);
  }

  async #load(fingerprint, options) {
    for (let again = false; ; again = true) {
      const weights = await this.weights(fingerprint, { ...options, again });
      if (!weights)
        throw new UnknownModelError(
          `the file was written with model ${fingerprint}, whose weights are not here`,
        );
      const loads = Array.from({ length: this.workers }, (_, place) =>
        this.#do({ kind: "load", task: { weights, fingerprint }, place }),
      );
      loads.forEach((load) => load.catch(() => {}));
      try {
        return await Promise.any(loads);
      } catch ({ errors: [error] }) {
        if (error.name !== "ModelError" || again) throw error; // once more, not from the cache
      }
    }
  }

  #do(job) {
    return new Promise((resolve, reject) => {
      if (job.signal?.aborted) return reject(aborted());
      const waiting = { ...job, id: ++this.number, resolve, reject };
      job.signal?.addEventListener("abort", () => this.#cancel(waiting), { once: true });
      this.queue.push(waiting);
      this.#next();
    });
  }

  #cancel(job) {
    const place = this.queue.indexOf(job);
    if (place >= 0) this.queue.splice(place, 1);
    else this.crew.find((w) => w.job === job)?.worker.postMessage({ cancel: job.id });
    job.reject(aborted());
  }

  #hire() {
    const one = { job: null, models: new Set(), place: this.crew.length, worker: this.begin() };
    one.worker.onmessage = ({ data }) => this.#hear(one, data);
    one.worker.onerror = (event) => this.#lose(one, event);
    this.crew.push(one);
    this.module().then(
      (module) => one.worker.postMessage({ module }),
      (error) => this.#lose(one, error),
    );
  }

  #lose(one, event) {
    event.preventDefault?.();
    one.worker.terminate();
    this.crew.splice(this.crew.indexOf(one), 1);
    this.crew.forEach((w, i) => (w.place = i));
    const error = new Error(
      "the worker of aei-decode does not run: " +
        (event.message || "see guide/web.md about its policy"),
    );
    // whoever comes next begins anew
    [...(one.job ? [one.job] : []), ...this.queue.splice(0)].forEach((job) => job.reject(error));
    this.models.clear();
  }

  #hear(one, { id, band, result, error }) {
    const { job } = one;
    if (!job || job.id !== id) return;
    if (band) return void (job.signal?.aborted || job.onBand(band));
    one.job = null;
    if (error) job.reject(unpackError(error));
    else {
      if (job.kind === "load") one.models.add(job.task.fingerprint);
      job.resolve(result);
    }
    this.#next();
  }

  /** Gives waiting tasks to workers that can do them. */
  #next() {
    for (let i = 0; i < this.queue.length;) {
      const job = this.queue[i],
        wants = job.kind === "load" ? null : job.task.model;
      const fits = (w) =>
        !w.job &&
        (job.place === undefined || w.place === job.place) &&
        (!wants || w.models.has(wants));
      let one = this.crew.find(fits);
      if (
        !one &&
        this.crew.length < this.workers &&
        !wants &&
        (job.place === undefined || job.place === this.crew.length)
      ) {
        this.#hire();
        one = this.crew.find(fits);
      }
      if (!one) {
        i++;
        continue;
      }
      this.queue.splice(i, 1);
      one.job = job;
      const { id, kind, task, transfer } = job;
      this.module().then(
        () => one.worker.postMessage({ id, kind, task }, transfer ?? []),
        () => {},
      );
    }
  }
}
