// The side of a benchmark's process: it prepares, says that it is ready, and repeats its work each time it is told to, so that several processes take turns.
//
// In: lines `go JSON` and `end`. Out: lines that begin with @@ and hold JSON; everything else that is printed is ignored.
import { createInterface } from 'node:readline';

const lines = [];
const waiting = [];
createInterface({ input: process.stdin })
  .on('line', (line) => (waiting.length > 0 ? waiting.shift()(line) : lines.push(line)))
  .on('close', () => process.exit(0)); // whoever started this is gone

/** The next line that was sent. */
export const nextCommand = () => new Promise((resolve) => (lines.length > 0 ? resolve(lines.shift()) : waiting.push(resolve)));

export const say = (message) => process.stdout.write(`@@${JSON.stringify(message)}\n`);

/** Waits for the next `go` and gives what came with it; at `end`, says the peak of resident memory and what `finish` has to say, and ends. */
export async function turn(finish) {
  const line = await nextCommand();
  if (line.startsWith('go')) return JSON.parse(line.slice(2).trim() || 'null');
  const more = (await finish?.()) ?? {};
  say({ peak: process.resourceUsage().maxRSS * 1024, ...more });
  process.exit(0);
}

/** `work(argument)` each time it is told to; it answers with `{ seconds, … }`. */
export async function serve(ready, work, finish) {
  say({ ready: true, ...ready });
  for (;;) say(await work(await turn(finish)));
}

export async function timed(body) {
  const start = performance.now();
  await body();
  return (performance.now() - start) / 1000;
}

/** The options that the parent gave, as JSON. */
export const options = JSON.parse(process.argv[2] ?? '{}');

/** Token ids that are the same in every run. */
export function tokenSource(seed = 1) {
  let state = seed;
  return (length) => Int32Array.from({ length }, () => 1000 + ((state = (state * 48271) % 2147483647) % 39000));
}

/** `rows` sequences of `length` tokens, every one but the first predicted. */
export function textBatch(rows, length, seed = 1) {
  const tokens = tokenSource(seed)(rows * length);
  const actionIndex = Int32Array.from(Array.from({ length: rows * length }, (_, i) => i).filter((i) => i % length !== 0));
  return {
    tokens,
    offsets: Int32Array.from({ length: rows + 1 }, (_, i) => i * length),
    actionIndex,
    columns: { weights: new Float32Array(actionIndex.length).fill(1) },
    normalizer: { tokens: actionIndex.length, sequences: rows },
  };
}
