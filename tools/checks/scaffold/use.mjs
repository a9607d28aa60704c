// Runs in an empty folder into which packed plugins were installed: uses each by its package's name, through today's registry, pipelines and command. Prints
// a line for each use; throws where something is not as it should be.
//
//   node use.mjs '{"reward": "espalier-plugin-short-answers", …}'
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { createModel, characterTokenizer } from '@espalier/models';
import { createRegistry, loadPlugin, pipeline, resolveRewards, runPipeline } from '@espalier/pipeline';

const packages = JSON.parse(process.argv[2]);
const registry = createRegistry();
for (const name of Object.values(packages)) registry.register(await loadPlugin(name));
const partOf = (kind) => registry.list().find(({ plugin }) => plugin === packages[kind]);
const dir = mkdtempSync('used-');
const close = (found, expected) => assert.ok(Math.abs(found - expected) < 1e-6, `${found} in place of ${expected}`);

const sample = (completion) => ({ prompt: 'Is ice cold?', completion, completionTokens: Int32Array.of(1, 2), finishReason: 'stop', group: 'a', row: {} });
const words = (count) => Array.from({ length: count }, () => 'word').join(' ');

const uses = {
  async reward() {
    const [{ reward, weight }] = await resolveRewards(['short-answers:maxWords=10,weight=0.2'], registry);
    assert.equal(weight, 0.2);
    assert.deepEqual(await reward.score([sample(words(15)), sample('')], { step: 0 }), [0.5, null]);
    return 'a reward by name, with options and a weight';
  },

  async objective() {
    const objective = await registry.lookup('objectives', 'focal-loss')({ gamma: 2 });
    const batch = { tokens: Int32Array.of(1, 2, 3), offsets: Int32Array.of(0, 3), actionIndex: Int32Array.of(1, 2), columns: {}, normalizer: { tokens: 2, sequences: 1 } };
    const { loss, grads } = objective.evaluate({ logps: Float32Array.of(Math.log(0.5), Math.log(0.25)) }, batch);
    close(loss, (0.5 ** 2 * Math.log(2) + 0.75 ** 2 * Math.log(4)) / 2);
    assert.equal(grads.logps.length, 2);
    return 'an objective, which gives the loss of its formula';
  },

  async 'rollout-engine'() {
    const engine = await registry.lookup('rolloutEngines', 'bigrams')({ text: 'abcd\n' });
    const texts = [];
    for await (const { text } of engine.generate([{ id: 'a', prompt: Int32Array.of(97), n: 2, seed: 1, sampling: { temperature: 0 } }])) texts.push(text);
    assert.deepEqual(texts, ['bcd', 'bcd']);
    await engine.close();
    return 'a rollout engine, which says what it has read';
  },

  async environment() {
    const environment = await registry.lookup('environments', 'guess-the-number')({ max: 4 });
    await environment.reset({}, 3);
    for (let guess = 1; ; guess++) {
      const { done, reward } = await environment.step({ role: 'assistant', content: `${guess}` });
      if (!done) continue;
      assert.ok(reward > 0);
      return `an environment, won with guess ${guess}`;
    }
  },

  async judge() {
    const judge = await registry.lookup('judges', 'shorter')({});
    assert.ok((await judge.compare({ prompt: 'Is ice cold?', first: 'Yes.', second: words(30) })).probability > 0.5);
    return 'a judge, which prefers the shorter answer';
  },

  async stage() {
    const path = join(dir, 'rows.jsonl');
    writeFileSync(path, ['a', 'b', 'a'].map((prompt) => `${JSON.stringify({ prompt })}\n`).join(''));
    const given = { specVersion: 'v1', name: 'given', needs: [], gives: ['rows'], run: async () => ({ rows: { kind: 'rows', path, digest: 'of three rows', count: 3 } }) };
    const made = pipeline(given, await registry.lookup('stages', 'first-of-each')({}));
    const { artifacts } = await runPipeline(made, { outputDir: join(dir, 'pipeline') });
    assert.equal(artifacts.rows.count, 2);
    return 'a stage in a pipeline, which leaves two rows of three';
  },

  async example() {
    const name = partOf('example').name;
    const [{ reward }] = await resolveRewards([name], registry);
    const [plain, hard] = (await reward.score([sample('The cat sat on the mat. It was warm. The dog came in and sat down too.'), sample('Notwithstanding considerable methodological heterogeneity, epidemiological investigations consistently demonstrate multifactorial interdependencies.')], { step: 0 })).map((each) => (typeof each === 'number' ? each : each.total));
    assert.ok(plain > hard, `${plain} is not above ${hard}`);
    return `the reward "${name}" of the example: ${plain.toFixed(2)} for plain text, ${hard.toFixed(2)} for other`;
  },
};

/** The TypeScript in the READMEs, as somebody would paste it: it compiles against what was installed. */
function compileReadmes() {
  const files = Object.values(packages).flatMap((name) => {
    const readme = readFileSync(join('node_modules', name, 'README.md'), 'utf8');
    return [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code], i) => {
      const file = join(dir, `${name.replace('/', '-')}-${i}.ts`);
      writeFileSync(file, code);
      return file;
    });
  });
  const program = ts.createProgram(files, { strict: true, noEmit: true, skipLibCheck: true, target: ts.ScriptTarget.ES2022, lib: ['lib.es2023.d.ts'], module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, types: ['node'] });
  const wrong = ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => `${file?.fileName}:${file ? file.getLineAndCharacterOfPosition(start).line + 1 : ''}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
  assert.deepEqual(wrong, []);
  return `${files.length} pieces of TypeScript in the READMEs compile`;
}

for (const [kind, use] of Object.entries(uses)) if (packages[kind]) console.log(`${await use()} (${packages[kind]})`);
console.log(compileReadmes());

const listing = spawnSync('npx', ['espalier', 'plugins', '--json'], { encoding: 'utf8' });
assert.equal(listing.status, 0, listing.stderr);
const listed = new Map(JSON.parse(listing.stdout).plugins.map((plugin) => [plugin.name, plugin]));
for (const name of Object.values(packages)) {
  assert.deepEqual([listed.get(name)?.state, listed.get(name)?.spec_version, listed.get(name)?.reason], ['installed', 'v1', undefined], `${name} is found by its name: ${listing.stdout}`);
  assert.deepEqual(Object.values(listed.get(name).parts).flat(), registry.list().filter(({ plugin }) => plugin === name).map((part) => part.name));
}
console.log(`\`espalier plugins\` finds ${listed.size}, and what each brings`);

// A run of the command, with every plugin that has a part in one.
await createModel(join(dir, 'model'), { config: { hiddenSize: 32, numLayers: 1, numHeads: 2 }, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
writeFileSync(join(dir, 'train.jsonl'), Array.from({ length: 8 }, (_, i) => `${JSON.stringify({ prompt: `${i}+1=`, answer: `${i + 1}` })}\n`).join(''));
const flags = ['--model', join(dir, 'model'), '--dataset', join(dir, 'train.jsonl'), '--reward', 'numeric', '--output-dir', join(dir, 'run'), '--max-steps', '3', '--logging-steps', '1', '--num-generations', '4', '--per-device-train-batch-size', '8', '--max-completion-length', '4'];
const parts = { reward: ['--reward', 'short-answers=0.1'], algorithm: ['--algorithm', 'by-rank'], tracker: ['--report-to', 'csv-metrics'], example: ['--reward', `${partOf('example')?.name}=0.1`] };
const taking = Object.keys(parts).filter((kind) => packages[kind]);
if (taking.length > 0) {
  const { status, stderr } = spawnSync('npx', ['espalier', 'rpt', ...flags, ...taking.flatMap((kind) => ['--plugin', packages[kind], ...parts[kind]])], { encoding: 'utf8', env: { ...process.env, ESPALIER_BACKEND: 'cpu' } });
  assert.equal(status, 0, stderr);
  const metrics = readFileSync(join(dir, 'run/metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  if (packages.reward) assert.ok(metrics.some((each) => Number.isFinite(each['rewards/short-answers/mean'])), 'the reward is among the metrics');
  if (packages.tracker) {
    const recorded = readFileSync(join(dir, 'run/metrics.csv'), 'utf8').trim().split('\n').slice(1).map((line) => line.split(','));
    assert.deepEqual([...new Set(recorded.map(([step]) => Number(step)))], [1, 2, 3]);
    for (const { step, loss } of metrics.filter((each) => 'loss' in each)) assert.equal(Number(recorded.find(([at, , , metric]) => Number(at) === step && metric === 'loss')[4]), loss);
  }
  console.log(`three steps of \`espalier rpt\` with the plugins' ${taking.map((kind) => (kind === 'example' ? 'other reward' : kind)).join(', ')}`);
}
