// Time to accuracy: GRPO on two-number sums. TRL makes 60 steps; ours has a quarter of that time. 20 to 60 minutes: not part of the default set.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { alternate } from '../lib/child.mjs';
import { espalier } from '../lib/contestants.mjs';
import { check, median } from '../lib/stats.mjs';

/** TRL's script as it was measured; its last lines hold seconds and accuracy. */
function trlRun(context, steps) {
  const how = context.precision === 'bf16' ? 'autocast' : 'float32';
  return new Promise((resolve) => {
    const child = spawn(context.python, [join(context.here, 'peers/trl_arithmetic.py'), context.peerModel, String(steps), '5e-6', '1', how], { stdio: ['ignore', 'pipe', context.verbose ? 'inherit' : 'ignore'], env: { ...process.env, HF_HUB_OFFLINE: '1' } });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part) => {
      text += part;
      for (const line of part.split('\n')) if (/^(step \d+0|held-out) /.test(line)) context.log(`  TRL ${line}`);
    });
    child.on('error', () => resolve(null));
    child.on('close', (status) => {
      const number = (pattern) => Number(pattern.exec(text)?.[1]);
      resolve(status === 0 ? { seconds: number(/train seconds ([\d.]+)/), before: number(/held-out before ([\d.]+)/), accuracy: number(/held-out after ([\d.]+)/) } : null);
    });
  });
}

/** Seconds of training at which an evaluation was first as good as `wanted`; infinite where none was. */
const reached = (run, wanted) => run.curve.find(({ accuracy }) => accuracy >= wanted)?.seconds ?? Infinity;

export const arithmetic = {
  id: 'arithmetic',
  title: "Time to accuracy: GRPO on sums, greedy accuracy on 512 held-out sums, ours in a quarter of TRL's time",
  optional: true,
  async run(context) {
    const { log, verbose, root, quick, seeds, trl } = context;
    const peerSteps = quick ? 6 : 60;
    const every = quick ? 5 : 20;
    const peer = trl ? { seconds: trl[0], before: trl[1], accuracy: trl[2] } : context.python ? await trlRun(context, peerSteps) : null;
    const limit = peer ? peer.seconds / 4 : 120;
    const data = join(root, 'examples/smollm2-arithmetic');
    const turns = Array.from({ length: quick ? 1 : seeds }, (_, i) => ({ seed: i + 1, seconds: limit, every }));
    const result = (await alternate([espalier(context, 'Espalier', 'arithmetic', { train: join(data, 'arithmetic-train.jsonl'), heldOut: join(data, 'arithmetic-heldout.jsonl') }, { turns })], { rounds: 1, log, verbose })).get('Espalier');
    const own = result.answers.flat();
    for (const { seconds, steps, accuracy, curve } of own) log(`  Espalier: ${accuracy.toFixed(3)} after ${seconds.toFixed(0)} s and ${steps} steps; ${curve.map((point) => `${point.step}: ${point.accuracy.toFixed(3)}`).join(', ')}`);
    const accuracyOf = (run) => run.accuracy.toFixed(3);
    const firsts = own.map((run) => (peer ? reached(run, peer.accuracy) : Infinity));
    const points = [...new Set(own.flatMap(({ curve }) => curve.map(({ step }) => step)))].sort((a, b) => a - b);
    const line = (name, run, steps) => [name, `${steps}`, `${run.seconds.toFixed(0)} s`, run.before.toFixed(3), accuracyOf(run), run.curve && Number.isFinite(reached(run, peer?.accuracy)) ? `${reached(run, peer.accuracy).toFixed(0)} s` : ''];
    return {
      table: {
        header: ['', 'steps', 'time', 'accuracy before', 'after', "TRL's first reached after"],
        rows: [...(peer ? [line(trl ? 'TRL, seed 1, of a run before' : 'TRL, seed 1', peer, peerSteps)] : [['TRL', '', 'failed', '', '', '']]), ...own.map((run, i) => line(`Espalier, seed ${turns[i].seed}`, run, run.steps))],
      },
      note: `Time is that of training alone; evaluations are not counted. TRL's rate is constant, as its script says; ours falls to zero over the steps that there is time for. Ours on the way: ${points
        .map((step) => `step ${step} ${own.map(({ curve }) => curve.find((point) => point.step === step)?.accuracy.toFixed(3) ?? '-').join(', ')}`)
        .join('; ')}.`,
      checks: [
        check("our accuracy after a quarter of TRL's time, less TRL's in the end (median of the seeds)", peer && own.length > 0 ? median(own.map(({ accuracy }) => accuracy)) - peer.accuracy : null, 0, { digits: 3 }),
        check("TRL's time, in that of ours until its accuracy is first reached (median of the seeds; 0: in none)", peer && firsts.length > 0 ? peer.seconds / median(firsts) : null, 4, { unit: '×' }),
      ],
    };
  },
};
