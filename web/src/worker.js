/** A worker's side of pool.js. The first message brings the compiled module. */
import { packError } from "./errors.js";
import { pngOf } from "./png.js";
import { Tasks } from "./tasks.js";

let tasks;
const cancelled = new Set();
const channel = new MessageChannel();
// Lets messages in, without the four milliseconds that timers wait.
const pause = () =>
  new Promise((resolve) => {
    channel.port2.onmessage = resolve;
    channel.port1.postMessage(0);
  });

async function work(id, kind, task) {
  const own = await tasks;
  if (kind === "png") return [await pngOf(task)];
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
