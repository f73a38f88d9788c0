/** A turn for others, between two parts of long work: messages come in, the page stays alive. */
const waiting = [];
let channel;

/** Resolves in a turn of its own, without the four milliseconds that timers wait. */
export function pause() {
  if (typeof setImmediate === "function") return new Promise((resolve) => setImmediate(resolve));
  if (!channel) {
    channel = new MessageChannel();
    channel.port2.onmessage = () => waiting.shift()();
  }
  return new Promise((resolve) => {
    waiting.push(resolve);
    channel.port1.postMessage(0);
  });
}

const AT_ONCE = 2 ** 18;

/** A copy of numbers from `begin` to `end`, with pauses, for what is large. */
export async function copied(numbers, begin, end) {
  const out = new numbers.constructor(end - begin);
  for (let at = begin; at < end; at += AT_ONCE) {
    out.set(numbers.subarray(at, Math.min(at + AT_ONCE, end)), at - begin);
    await pause();
  }
  return out;
}
