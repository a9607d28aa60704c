import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from '@espalier/engine';
import { byteTokenizer, characterTokenizer, createModel } from '@espalier/models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareViews, viewOf, withAdvantages, type InsightText } from './commands/insight-compare';
import { insightLines } from './commands/insight-table';
import { complaints, espalier, onlyJson } from './testing';

let dir: string;
const config = { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 48 };
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-insight-'));
  await createModel(join(dir, 'a'), { config, tokenizer: byteTokenizer(), seed: 1 });
  await createModel(join(dir, 'b'), { config, tokenizer: byteTokenizer(), seed: 2 });
  await createModel(join(dir, 'c'), { config, tokenizer: characterTokenizer('0123456789+= '), seed: 1 });
});
afterAll(async () => rm(dir, { recursive: true, force: true }));

const text = (prompt: string, completion: string, more: Partial<InsightText> = {}): InsightText => ({ prompt, completion, ended: true, reward: null, components: {}, advantage: null, ...more });
const look = async (name: string, texts: readonly InsightText[]) => {
  const engine = await openEngine({ model: join(dir, name), backend: 'cpu', inline: true });
  try {
    return { view: await viewOf(engine, texts), scores: await engine.score((await viewOf(engine, texts)).ids as Int32Array[]) };
  } finally {
    await engine.close();
  }
};

describe('insight', () => {
  it('has of each token what the engine scores, and its text: characters of several tokens at their last, the end as nothing', async () => {
    const texts = [text('1+1=', 'zwölf'), text('1+1=', '2', { ended: false })];
    const [a, b] = [await look('a', texts), await look('b', texts)];
    const { samples } = compareViews({ before: 'a', after: 'b' }, texts, a.view, b.view);
    expect(samples[0].tokens).toEqual(['z', 'w', '', 'ö', 'l', 'f', '']);
    expect(samples[1].tokens).toEqual(['2']);
    samples.forEach((sample, i) => {
      expect(sample.tokens.join('')).toBe(texts[i].completion);
      for (const [name, { scores }] of [['before', a], ['after', b]] as const) expect(sample[name]).toEqual([...scores[i].subarray(scores[i].length - sample.tokens.length)].map((v) => expect.closeTo(v, 4)));
      for (const entropy of [...sample.entropyBefore, ...sample.entropyAfter]) expect(entropy > 0 && entropy <= Math.log(260)).toBe(true);
    });
    expect(samples[0].before).not.toEqual(samples[0].after);
  });

  it('refuses models that divide a text in other ways, an empty completion, and a text that is too long', async () => {
    const texts = [text('1+1=', '2')];
    await expect((async () => compareViews({ before: 'a', after: 'c' }, texts, (await look('a', texts)).view, (await look('c', texts)).view))()).rejects.toThrow(/a and c divide text 0 into different tokens/);
    await expect(look('a', [text('1', '', { ended: false })])).rejects.toThrow(/text 0 has no completion/);
    await expect(look('a', [text('1', 'x'.repeat(60))])).rejects.toThrow(/text 0 has 62 tokens, and the model 48 positions/);
  });

  it('gives texts of one prompt the advantage of their group, and leaves what a run wrote down', () => {
    const advantages = withAdvantages([text('a', 'x', { reward: 1 }), text('a', 'y', { reward: 0 }), text('b', 'x', { reward: 1 }), text('a', 'z', { reward: null }), text('a', 'w', { reward: 0.5, advantage: 9 })]).map(({ advantage }) => advantage);
    expect(advantages).toEqual([expect.closeTo(0.5 / 0.5001, 6), expect.closeTo(-0.5 / 0.5001, 6), null, null, 9]);
  });

  it('is a table in a terminal, whatever a model wrote', () => {
    const lines = insightLines({ version: 1, before: 'a', after: 'b', samples: [{ prompt: 'p', completion: '\u001b[2Jx\n', tokens: ['\u001b[2J', 'x\n', ''], before: [-1, -4, -0.5], after: [-4, -1, -0.5], entropyBefore: [1, 1, 1], entropyAfter: [2, 2, 2], reward: 0.5, components: { numeric: 0.5 }, advantage: -1 }] });
    const all = lines.join('\n');
    expect(all).not.toContain('\u001b');
    expect(lines.find((line) => line.includes('u001b'))).toMatch(/0\.3679 +0\.0183 +-3\.000 ◀{8}│ +1\.000 → 2\.000$/);
    expect(lines.find((line) => line.includes('x\\n'))).toMatch(/\+3\.000 +│▶{8}/);
    expect(all).toContain('(end)');
    expect(all).toContain('reward 0.5 · advantage -1.000 · numeric 0.5');
  });
});

describe('espalier insight', () => {
  it('compares samples of a run by their rewards, and writes them into its report', async () => {
    const run = join(dir, 'run');
    await import('node:fs/promises').then(({ mkdir }) => mkdir(run));
    await writeFile(join(run, 'metrics.jsonl'), '{"step":1,"loss":2}\n');
    const samples = join(run, 'samples.jsonl');
    await writeFile(samples, [{ step: 1, prompt: '1+1=', completion: '2', reward: 1, rewards: { numeric: 1 }, components: { numeric: { format: 1 } }, advantage: 0.7, finish_reason: 'stop' }, { step: 1, prompt: '1+1=', completion: '3', reward: 0, rewards: { numeric: 0 }, advantage: -0.7, finish_reason: 'length' }].map((row) => `${JSON.stringify(row)}\n`).join(''));
    const given = onlyJson(await espalier(['insight', '--before', join(dir, 'a'), '--after', join(dir, 'b'), '--samples', samples, '--run', run, '--json']));
    expect(given).toMatchObject({ samples: [{ tokens: ['2', ''], reward: 1, advantage: 0.7, components: { numeric: 1, 'numeric/format': 1 } }, { tokens: ['3'], reward: 0, advantage: -0.7 }] });
    expect(JSON.parse(await readFile(join(run, 'insight.json'), 'utf8'))).toEqual(given);
    expect(await readFile(join(run, 'report.html'), 'utf8')).toContain('"insight":{');
    const prompted = await espalier(['insight', '--before', join(dir, 'a'), '--after', join(dir, 'b'), '--prompt', '1+1=', '--max-new-tokens', '3']);
    expect(prompted.stdout.split('\n').filter((line) => line.includes('│'))).toHaveLength(3);
  });

  it.each<[string[], RegExp]>([
    [['--after', 'b', '--prompt', 'x'], /--before is missing/],
    [['--before', 'a', '--after', 'b'], /--prompt is missing/],
    [['--before', 'a', '--after', 'b', '--prompt', 'x', '--samples', 'y'], /--prompt and --samples are both given/],
    [['--before', 'a', '--after', 'b', '--samples', 'y', '--completion', 'z'], /--completion is given with --samples/],
    [['--before', 'a', '--after', 'b', '--prompt', 'x', '--run', '/no/such/folder'], /--run: there is no folder/],
  ])('%j is wrong usage', async (args, message) => {
    const outcome = await espalier(['insight', ...args]);
    expect([outcome.status, complaints(outcome).length]).toEqual([2, 1]);
    expect(complaints(outcome)[0]).toMatch(message);
  });
});
