/**
 * The llama.cpp plugin against the real thing: installs node-llama-cpp into a temporary folder (or takes it from the folder NODE_LLAMA_CPP names), loads a GGUF, and
 * holds tokens, greedy answers and option log-probs against Espalier's own engine on the same file.
 *
 *   npx tsx --conditions @espalier/source tools/checks/llama-cpp.mts model.gguf
 */
import { execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { openEngine } from '@espalier/engine';
import { localRolloutEngine, textModel } from '@espalier/rollouts';
import { llamaCppModel } from '../../packages/plugin-llama-cpp/src/index';

const [model] = process.argv.slice(2);
if (!model) {
  console.error('usage: llama-cpp.mts model.gguf');
  process.exit(2);
}
const given = process.env.NODE_LLAMA_CPP;
const folder = given ?? (await mkdtemp(join(tmpdir(), 'espalier-llama-cpp-')));
let failed = 0;
const check = (what: string, good: boolean, seen: unknown) => {
  if (!good) failed++;
  console.log(`${good ? 'ok  ' : 'FAIL'} ${what}: ${JSON.stringify(seen)}`);
};
try {
  if (given === undefined) execFileSync('npm', ['install', '--no-audit', '--no-fund', '--prefix', folder, 'node-llama-cpp@3'], { stdio: 'inherit' });
  const entry = pathToFileURL(createRequire(join(folder, 'package.json')).resolve('node-llama-cpp')).href;
  const llama = await llamaCppModel({ model, gpu: false, contextSize: 1024, threads: 2 }, () => import(entry));
  const engine = await openEngine({ model, inline: true });
  const own = textModel(localRolloutEngine(engine), engine.tokenizer);

  const prompts = ['The capital of France is', [{ role: 'user', content: 'What is two plus three? Answer with the number alone.' }]];
  const options = { maxNewTokens: 12, temperature: 0 };
  const [theirs, ours] = [await llama.complete(prompts, options), await own.complete(prompts, options)];
  check('greedy answers', theirs.every((text, i) => text.trim().slice(0, 6) === ours[i].trim().slice(0, 6)), { theirs, ours });

  // A quantised file is multiplied with activations of 8 bits by llama.cpp, with ones of 32 bits by Espalier: the sums agree to some tenths of a nat.
  const questions = [{ prompt: 'Fire is hot. Ice is', options: [' cold', ' hot', ' a kind of fire'] }, { prompt: [{ role: 'user', content: 'Is ice cold? Answer (A) yes or (B) no.' }], options: ['(A', '(B'] }];
  const [a, b] = [await llama.optionLogpsAll!(questions), await own.optionLogpsAll!(questions)];
  const gaps = a.flatMap((list, q) => list.map((logp, k) => Math.abs(logp - b[q][k])));
  check('option log-probs within 0.4 nats', Math.max(...gaps) < 0.4, { llama: a, espalier: b });
  const [shared, alone] = [await llama.optionLogpsAll!(questions), await llama.optionLogps(questions[0].prompt, [' a kind of fire'])];
  check('the same again, whatever was asked before', Math.abs(shared[0][2] - alone[0]) < 1e-3 && shared.every((list, q) => list.every((logp, k) => Math.abs(logp - a[q][k]) < 1e-3)), [shared[0][2], alone[0]]);
  const sampled = await llama.complete(['Once upon a time', 'Once upon a time', 'Once upon a time'], { maxNewTokens: 8, temperature: 1, seeds: [1, 1, 2] });
  check('a seed decides the sample', sampled[0] === sampled[1] && sampled[0] !== sampled[2], sampled);
  const [stopped] = await llama.complete(['1, 2, 3, 4,'], { maxNewTokens: 20, stop: [' 7'] });
  check('a stop string ends the answer', !stopped.includes(' 7'), stopped);
  await llama.close();
  await engine.close();
} finally {
  if (given === undefined) await rm(folder, { recursive: true, force: true });
}
if (failed > 0) process.exitCode = 1;
