// The caller's thread: a timer during work, processor time when idle, what messages cost.
import { alternate } from '../lib/child.mjs';
import { espalier } from '../lib/contestants.mjs';
import { check } from '../lib/stats.mjs';

export const timer = {
  id: 'timer',
  title: "The caller's thread stays free",
  async run(context) {
    const { log, verbose } = context;
    const result = (await alternate([espalier(context, 'Espalier', 'thread', {}, { turns: ['timer', 'idle', 'transfer'] })], { rounds: 1, log, verbose })).get('Espalier');
    const [felt, idle, transfer] = result.answers.map(([answer]) => answer ?? null);
    return {
      table: {
        header: ['', ''],
        rows: [
          ['longest that a timer set for 50 ms took, training', felt ? `${felt.training.longest.toFixed(0)} ms (of ${felt.training.timers})` : 'failed'],
          ['the same, generation', felt ? `${felt.generation.longest.toFixed(0)} ms (of ${felt.generation.timers})` : 'failed'],
          ['processor time when idle', idle ? `${(100 * idle.share).toFixed(2)} % of one` : 'failed'],
          ["a step's messages between the threads", transfer ? `${(1e3 * transfer.cost).toFixed(2)} ms of ${transfer.step.toFixed(2)} s` : 'failed'],
        ],
      },
      checks: [
        check('a 50 ms timer during training fires within', felt?.training.longest, 100, { unit: ' ms', most: true, digits: 0 }),
        check('a 50 ms timer during generation fires within', felt?.generation.longest, 100, { unit: ' ms', most: true, digits: 0 }),
        check('processor time when idle', idle && 100 * idle.share, 1, { unit: ' %', most: true }),
        check('messages between threads, of a step', transfer && 100 * transfer.share, 1, { unit: ' %', most: true, digits: 3 }),
      ],
    };
  },
};
