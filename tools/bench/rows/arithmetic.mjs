// Time to accuracy: GRPO on two-number sums, 60 steps, beside TRL's. About 20 minutes: not part of the default set.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { alternate } from '../lib/child.mjs';
import { espalier } from '../lib/contestants.mjs';
import { check } from '../lib/stats.mjs';

/** TRL's script as it was measured; its last lines hold seconds and accuracy. */
function trlRun(context, steps) {
  const how = context.precision === 'bf16' ? 'autocast' : 'float32';
  return new Promise((resolve) => {
    const child = spawn(context.python, [join(context.here, 'peers/trl_arithmetic.py'), context.peerModel, String(steps), '5e-6', '1', how], { stdio: ['ignore', 'pipe', context.verbose ? 'inherit' : 'ignore'], env: { ...process.env, HF_HUB_OFFLINE: '1' } });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
      for (const line of part.split('\n')) if (/^step \d+0 /.test(line)) context.log(`  TRL ${line}`);
    });
    child.on('error', () => resolve(null));
    child.on('close', (status) => {
      const number = (pattern) => Number(pattern.exec(text)?.[1]);
      resolve(status === 0 ? { seconds: number(/train seconds ([\d.]+)/), before: number(/held-out before ([\d.]+)/), accuracy: number(/held-out after ([\d.]+)/) } : null);
    });
  });
}

export const arithmetic = {
  id: 'arithmetic',
  title: 'Time to accuracy: GRPO on sums, 60 steps, greedy accuracy on 512 held-out sums',
  optional: true,
  async run(context) {
    const { log, verbose, root, quick } = context;
    const steps = quick ? 6 : 60;
    const data = join(root, 'examples/smollm2-arithmetic');
    const result = (await alternate([espalier(context, 'Espalier', 'arithmetic', { train: join(data, 'arithmetic-train.jsonl'), heldOut: join(data, 'arithmetic-heldout.jsonl'), steps })], { rounds: 1, log, verbose })).get('Espalier');
    const own = result.answers[0][0] ?? null;
    const peer = context.python ? await trlRun(context, steps) : null;
    const line = (name, run) => [name, run ? `${run.seconds.toFixed(0)} s` : 'failed', run ? run.before.toFixed(3) : '', run ? run.accuracy.toFixed(3) : ''];
    return {
      table: { header: ['', `${steps} steps`, 'accuracy before', 'after'], rows: [line('Espalier', own), line('TRL', peer)] },
      note: 'One seed: accuracies after 60 steps differ by some hundredths from seed to seed on both sides.',
      checks: [
        check("TRL's time, in ours", own && peer ? peer.seconds / own.seconds : null, 4, { unit: '×' }),
        check("our accuracy less TRL's", own && peer ? own.accuracy - peer.accuracy : null, 0, { digits: 3 }),
      ],
    };
  },
};
