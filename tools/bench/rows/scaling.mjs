// How cost grows: time a token over the length at the same number of tokens; memory and time over the length of one sequence and over the batch.
import { alternate } from '../lib/child.mjs';
import { espalier } from '../lib/contestants.mjs';
import { check, secondsOf } from '../lib/stats.mjs';

const lengths = [128, 256, 512, 1024, 2048];

/** Multiply-adds of attention's own products against all, of a model like SmolLM2-135M: what time a token may grow by. */
function attentionShare({ layers = 30, width = 576, inner = 1536, kv = 192, vocabulary = 49152 }, length) {
  const linear = layers * (2 * width * width + 2 * width * kv + 3 * width * inner) + vocabulary * width;
  return (layers * width * length) / linear; // q·k and p·v, causal: half of 2 · width · length
}

export const length = {
  id: 'length',
  title: 'Time a token over length: forward and backward, 2,048 tokens a time',
  async run(context) {
    const { log, verbose } = context;
    const results = new Map();
    // One after another, each in a process of its own: these take much memory.
    const points = lengths.map((n) => espalier(context, String(n), 'step', { precision: 'bf16', rows: 2048 / n, length: n, update: false, whole: true, warm: 1 }, { gigabytes: 5 }));
    for (const point of points) for (const [name, result] of await alternate([point], { rounds: Math.min(3, context.rounds), log, verbose })) results.set(name, result);
    const each = lengths.map((n) => { const found = secondsOf(results.get(String(n))); return { x: n, seconds: found?.median ?? null, microseconds: found ? (1e6 * found.median) / 2048 : null }; });
    const [first, last] = [each[0], each[each.length - 1]];
    const own = attentionShare({}, 2048) - attentionShare({}, 128);
    const growth = first.seconds && last.seconds ? last.seconds / first.seconds - 1 : null;
    return {
      table: { header: ['length', 'µs a token', 'times that of 128', "attention's own products, of all"], rows: each.map(({ x, microseconds }) => [String(x), microseconds?.toFixed(0) ?? 'failed', first.microseconds && microseconds ? (microseconds / first.microseconds).toFixed(2) : '', `${(100 * attentionShare({}, x)).toFixed(0)} %`]) },
      plots: [{ file: 'time-over-length.svg', title: 'Time a token, forward and backward', x: 'tokens a sequence', y: 'µs', points: each.map(({ x, microseconds }) => [x, microseconds]) }],
      checks: [check("growth of time a token from 128 to 2,048, less attention's own term", growth === null ? null : 100 * (growth - own), 15, { unit: ' %', most: true, digits: 0, note: `attention's own products grow by ${(100 * own).toFixed(0)} % of the rest; bar of ours for "flat"` })],
    };
  },
};

export const memory = {
  id: 'memory',
  title: 'Memory and time over length (one sequence) and over batch (128 tokens each), a whole step',
  async run(context) {
    const { log, verbose } = context;
    const one = async (rows, tokens) => {
      const name = `${rows} × ${tokens}`;
      const result = (await alternate([espalier(context, name, 'step', { precision: 'bf16', rows, length: tokens, whole: true, warm: 1 }, { gigabytes: 6 })], { rounds: Math.min(2, context.rounds), log, verbose })).get(name);
      return { rows, tokens: rows * tokens, seconds: secondsOf(result)?.median ?? null, bytes: result.end?.peak ?? null };
    };
    const overLength = [];
    for (const n of lengths) overLength.push(await one(1, n));
    const overBatch = [];
    for (const rows of [1, 2, 4, 8, 16]) overBatch.push(await one(rows, 128));
    const line = ({ rows, tokens, seconds, bytes }) => [`${rows} × ${tokens / rows}`, seconds?.toFixed(2) ?? 'failed', bytes ? (bytes / 1e9).toFixed(2) : ''];
    /** Bytes a token between two points. */
    const slope = (points, from, to) => (points[from].bytes && points[to].bytes ? (points[to].bytes - points[from].bytes) / (points[to].tokens - points[from].tokens) : null);
    const last = lengths.length - 1;
    const upper = slope(overLength, last - 1, last);
    const batch = slope(overBatch, 3, 4);
    const plot = (file, title, x, y, points, value) => ({ file, title, x, y, points: points.map(value) });
    return {
      table: { header: ['sequences × tokens', 'seconds a step', 'peak memory, GB'], rows: [...overLength.map(line), ...overBatch.map(line)] },
      plots: [
        plot('memory-over-length.svg', 'Peak memory of a step, one sequence', 'tokens', 'GB', overLength, ({ tokens, bytes }) => [tokens, bytes && bytes / 1e9]),
        plot('step-over-length.svg', 'Time of a step, one sequence', 'tokens', 's', overLength, ({ tokens, seconds }) => [tokens, seconds]),
        plot('memory-over-batch.svg', 'Peak memory of a step, 128 tokens a sequence', 'sequences', 'GB', overBatch, ({ rows, bytes }) => [rows, bytes && bytes / 1e9]),
        plot('step-over-batch.svg', 'Time of a step, 128 tokens a sequence', 'sequences', 's', overBatch, ({ rows, seconds }) => [rows, seconds]),
      ],
      checks: [check('memory a token from 1,024 to 2,048 in one sequence, of that from 8 to 16 sequences', upper && batch ? upper / batch : null, 1.25, { unit: '×', most: true, note: 'linear in tokens: 1; a [T, T] in memory would make it several' })],
    };
  },
};
