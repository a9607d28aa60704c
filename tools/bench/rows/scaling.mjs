// How cost grows: time a token over the length at the same number of tokens; memory and time over the length of one sequence and over the batch.
import { alternate } from '../lib/child.mjs';
import { espalier } from '../lib/contestants.mjs';
import { check, median, secondsOf } from '../lib/stats.mjs';

const lengths = [128, 256, 512, 1024, 2048];

export const length = {
  id: 'length',
  title: 'Time a token over length: forward and backward, 2,048 tokens a time',
  async run(context) {
    const { log, verbose } = context;
    // By turns in one process: what is compared should not depend on the minute, nor on where a process came to lie.
    const turns = lengths.map((n) => ({ rows: 2048 / n, length: n }));
    const { answers: all = [] } = (await alternate([espalier(context, 'lengths', 'step', { precision: context.precision, rows: 2, length: 1024, update: false, whole: true, attention: true, warm: 2 }, { gigabytes: 5, turns })], { rounds: context.rounds, log, verbose })).get('lengths');
    const each = lengths.map((n, i) => {
      const answers = all[i] ?? [];
      const microseconds = (seconds) => (answers.length > 0 ? (1e6 * median(answers.map(seconds))) / 2048 : null);
      return { length: n, whole: microseconds(({ seconds }) => seconds), attention: microseconds(({ attention }) => attention), rest: microseconds(({ seconds, attention }) => seconds - attention) };
    });
    const [first, last] = [each[0], each[each.length - 1]];
    const text = (value) => value?.toFixed(0) ?? 'failed';
    const plot = (of) => each.map((point) => [point.length, point[of]]);
    return {
      table: { header: ['length', 'µs a token', 'of which attention', 'the rest'], rows: each.map((point) => [String(point.length), text(point.whole), text(point.attention), text(point.rest)]) },
      plots: [{ file: 'time-over-length.svg', title: 'Time a token, forward and backward', x: 'tokens a sequence', y: 'µs', points: plot('whole') }],
      checks: [check('growth of time a token from 128 to 2,048, without attention', first.rest && last.rest ? 100 * (last.rest / first.rest - 1) : null, 15, { unit: ' %', most: true, digits: 0, note: 'bar of ours for "flat"' })],
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
      const result = (await alternate([espalier(context, name, 'step', { precision: context.precision, rows, length: tokens, whole: true, warm: 1 }, { gigabytes: 6 })], { rounds: Math.min(2, context.rounds), log, verbose })).get(name);
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
