/** A worker's side of pool.js. The first message brings the compiled module. */
import { Drawing } from "./drawing.js";
import { packError } from "./errors.js";
import { pause } from "./pause.js";
import { pngOf } from "./png.js";
import { Tasks } from "./tasks.js";

let tasks;
const cancelled = new Set();
const drawings = new Map(); // of the one that draws

async function work(id, kind, task) {
  const own = await tasks;
  if (kind === "png") return [await pngOf(task)];
  if (kind === "canvas") {
    const made = new Drawing(task.canvas, task.told);
    drawings.set(task.view, made);
    return [made.plain];
  }
  if (kind === "draw") return [await drawings.get(task.view)?.draw(task.what)];
  if (kind === "end") return [void drawings.delete(task.view)];
  if (kind !== "paint") {
    const result = own[kind](task);
    return [result, kind === "tile" ? [result.y.buffer, result.z.buffer] : []];
  }
  for (const band of own.paint(task)) {
    postMessage({ id, band }, [band.data.buffer]);
    await pause();
    if (cancelled.has(id)) break;
  }
  return [null];
}

onmessage = async ({ data }) => {
  const { id, kind, task, module, cancel } = data;
  if (module) {
    tasks = Tasks.of(module);
    tasks.catch(() => {}); // comes with the first task
    return;
  }
  if (cancel !== undefined) return void cancelled.add(cancel);
  try {
    const [result, transfer] = await work(id, kind, task);
    postMessage({ id, result }, transfer ?? []);
  } catch (error) {
    postMessage({ id, error: packError(error) });
  }
  cancelled.delete(id);
};
