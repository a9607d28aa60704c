// Runs our side of every comparison with TRL and writes the table of docs/parity.md, each row linked to its test.
//
//   node tools/parity/report.mjs [--make] [--python python3]
//
// The other side is what TRL's own trainers computed, committed as fixtures; `--make` computes it anew first (a Python with trl 1.16.0, torch and transformers;
// PPO and process reward models need trl 1.9.0, the last release that has them: `--only` names the sides to make, by trainer).
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What is compared, the test that does it, and the script that computed TRL's side. */
const sides = [
  { trainer: 'SFTTrainer', against: 'TRL 1.16.0', what: 'loss of 20 steps, each parameter’s gradient, token masks', test: 'packages/sft/src/parity.test.ts', made: 'tools/parity/sft.py' },
  { trainer: 'DPOTrainer, KTOTrainer, CPOTrainer, ORPOTrainer, OnlineDPOTrainer', against: 'TRL 1.16.0', what: 'loss and metrics of 20 steps, each parameter’s gradient', test: 'packages/dpo/src/parity.test.ts', made: 'tools/fixtures/make-preference-parity.py' },
  { trainer: 'the losses of the DPO family', against: 'TRL 1.16.0', what: 'loss, metrics and gradients in float64', test: 'packages/dpo/src/loss.test.ts', made: 'packages/dpo/fixtures/losses.py' },
  { trainer: 'RewardTrainer', against: 'TRL 1.16.0', what: 'tokens, loss of 20 steps, each parameter’s gradient', test: 'packages/reward-models/src/parity.test.ts', made: 'tools/fixtures/make-reward-fixtures.py' },
  { trainer: 'PRMTrainer', against: 'TRL 1.9.0', what: 'tokens and labels, loss, each parameter’s gradient', test: 'packages/reward-models/src/prm-parity.test.ts', made: 'tools/fixtures/make-prm-fixture.py' },
  { trainer: 'GRPOTrainer, RLOOTrainer', against: 'TRL 1.16.0', what: 'loss and metrics of 20 steps, each parameter’s gradient', test: 'packages/grpo/src/trainer-parity.test.ts', made: 'tools/parity/policy.py' },
  { trainer: 'the losses of the GRPO family', against: 'TRL 1.16.0', what: 'loss, metrics and gradients in float64', test: 'packages/grpo/src/loss-parity.test.ts', made: 'packages/grpo/fixtures/losses.py' },
  { trainer: 'PPOTrainer', against: 'TRL 1.9.0', what: 'whole updates of policy and critic, each parameter’s gradient', test: 'packages/ppo/src/update-parity.test.ts', made: 'tools/fixtures/make-ppo-fixtures.py' },
  { trainer: 'the losses of PPO', against: 'TRL 1.9.0', what: 'token rewards, advantages, losses and gradients in float64', test: 'packages/ppo/src/loss.test.ts', made: 'tools/fixtures/make-ppo-fixtures.py' },
  { trainer: 'DistillTrainer (GKDTrainer)', against: 'TRL 1.16.0', what: 'loss of 20 steps, each parameter’s gradient', test: 'packages/distill/src/trainer-parity.test.ts', made: 'tools/parity/distill.py' },
  { trainer: 'packing', against: 'TRL 1.16.0', what: '`bfd`, `bfd_split`, `wrapped`', test: 'packages/data/src/packing.test.ts', made: 'tools/fixtures/make-packing-expectations.py' },
];

const { values } = parseArgs({ options: { make: { type: 'boolean', default: false }, python: { type: 'string', default: 'python3' }, only: { type: 'string' } } });
if (values.make) for (const made of new Set(sides.filter(({ trainer }) => !values.only || trainer.includes(values.only)).map((side) => side.made))) execFileSync(values.python, [made], { cwd: root, stdio: 'inherit' });

const folder = mkdtempSync(join(tmpdir(), 'espalier-parity-'));
try {
  const outputFile = join(folder, 'tests.json');
  spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', '--reporter=json', `--outputFile=${outputFile}`, ...sides.map(({ test }) => test)], { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  const { testResults } = JSON.parse(readFileSync(outputFile, 'utf8'));
  const rows = sides.map((side) => {
    const found = testResults.find(({ name }) => relative(root, name) === side.test);
    const of = (status) => found?.assertionResults.filter((test) => test.status === status).length ?? 0;
    return { ...side, passed: of('passed'), failed: of('failed'), missing: !found || found.assertionResults.length === 0 };
  });
  const table = [
    '| what | against | compared | test | passed | the other side |',
    '|---|---|---|---|---|---|',
    ...rows.map(({ trainer, against, what, test, passed, failed, made }) => `| ${trainer} | ${against} | ${what} | [${test.split('/').at(-1)}](../${test}) | ${passed} of ${passed + failed} | [${made.split('/').at(-1)}](../${made}) |`),
  ].join('\n');
  const file = join(root, 'docs/parity.md');
  const [begin, end] = ['<!-- made by tools/parity/report.mjs -->', '<!-- end of what tools/parity/report.mjs makes -->'];
  const text = readFileSync(file, 'utf8');
  if (!text.includes(begin) || !text.includes(end)) throw new Error(`${file} has no place for the table`);
  writeFileSync(file, `${text.slice(0, text.indexOf(begin) + begin.length)}\n\n${table}\n\n${text.slice(text.indexOf(end))}`);
  const wrong = rows.filter(({ failed, missing }) => failed > 0 || missing);
  for (const { test, missing } of wrong) console.error(`${test}: ${missing ? 'did not run' : 'failed'}`);
  console.log(`${rows.reduce((sum, { passed }) => sum + passed, 0)} comparisons hold, ${wrong.length} files do not`);
  process.exitCode = wrong.length > 0 ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
