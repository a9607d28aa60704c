// Does docs/tutorial.md to the letter, from its text alone, in a clone of this repository: saves the blocks marked `file=PATH`, runs those marked `run`.
//   node tools/docs/run-tutorial.mjs            in a clone that borrows this checkout's node_modules: the blocks marked `run=install` are left out
//   node tools/docs/run-tutorial.mjs --fresh    everything, `npm ci` included, as a stranger would
// Ends with status 0 when every command did and reinforcement made the model better.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const fresh = process.argv.includes('--fresh');
const keep = process.argv.includes('--keep');
const clone = mkdtempSync(join(tmpdir(), 'espalier-tutorial-'));
const begin = Date.now();

/** Fenced blocks: the words behind the fence, and the code. */
const blocks = [...readFileSync(join(root, 'docs/tutorial.md'), 'utf8').matchAll(/^```(\w+)([^\n]*)\n([\s\S]*?)^```/gm)].map(([, language, marks, code]) => ({ language, marks: marks.trim().split(/\s+/), code }));

try {
  execFileSync('git', ['clone', '--quiet', '--local', root, clone]);
  if (!fresh) symlinkSync(join(root, 'node_modules'), join(clone, 'node_modules'));
  let said = '';
  let commands = 0;
  for (const { language, marks, code } of blocks) {
    const file = marks.find((mark) => mark.startsWith('file='))?.slice('file='.length);
    if (file) {
      mkdirSync(dirname(join(clone, file)), { recursive: true });
      writeFileSync(join(clone, file), code);
    }
    const run = language === 'sh' && (marks.includes('run') || (fresh && marks.includes('run=install')));
    if (!run) continue;
    console.log(`\n$ ${code.trim().replaceAll('\n', '\n  ')}`);
    const result = spawnSync('bash', ['-eo', 'pipefail', '-c', code], { cwd: clone, encoding: 'utf8', env: { ...process.env, NX_TUI: 'false' }, maxBuffer: 1 << 26 });
    process.stdout.write(result.stdout);
    process.stderr.write(result.stderr);
    if (result.status !== 0) throw new Error(`status ${result.status}: ${code.trim().split('\n')[0]}`);
    said += result.stdout + result.stderr;
    commands += 1;
  }
  const accuracy = (stage) => JSON.parse(readFileSync(join(clone, 'runs/tutorial/run/pipeline.json'), 'utf8')).stages.find(({ name }) => name === stage).metrics.accuracy;
  if (!(accuracy('after') > accuracy('before'))) throw new Error(`the page promises that \`after\` is above \`before\`: ${accuracy('before')} and ${accuracy('after')}`);
  if (!said.includes('`attn_implementation`: ignored')) throw new Error('the page promises that `attn_implementation` is said to be ignored');
  console.log(`\nthe tutorial holds: ${commands} blocks in ${Math.round((Date.now() - begin) / 1000)} s; accuracy before ${accuracy('before')}, after ${accuracy('after')}`);
} finally {
  if (keep) console.log(clone);
  else rmSync(clone, { recursive: true, force: true });
}
