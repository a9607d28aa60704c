import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { evaluateEach } from './evaluate-each';
import { evaluationTable } from './evaluation-metrics';
import { openTasks } from './evaluate-tasks';
import { pipeline } from './pipeline';
import { planPipeline } from './plan-pipeline';
import { readTexts } from './read-texts';
import { runPipeline } from './run-pipeline';
import { evaluate, sft, startFrom } from './stages';
import { readPipelineConfig } from './yaml-pipeline';

const model = fileURLToPath(new URL('../../models/fixtures/smollm2', import.meta.url));
const here = { backend: 'cpu', inline: true } as const;
const sums = Array.from({ length: 4 }, (_, i) => ({ prompt: `${i}+1=`, completion: `${i + 1}`, answer: `${i + 1}`, reward: 'numeric' }));
const words = ['cab', 'fed'].map((word) => ({ prompt: word, answer: [...word].sort().join(''), reward: 'exact' }));

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'espalier-evaluate-'));
  await writeFile(join(dir, 'words.jsonl'), words.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

describe('evaluateEach', () => {
  it('measures the first policy and what each stage makes of it: tasks, their intervals, perplexity', async () => {
    const suite = { ...here, tasks: [{ name: 'sums', dataset: sums }, join(dir, 'words.jsonl')], texts: ['the cat sat'], samples: 2, maxCompletionLength: 3 } as const;
    const line = evaluateEach(pipeline(startFrom(model), sft({ ...here, dataset: sums, maxSteps: 1, perDeviceTrainBatchSize: 2 })), suite);
    expect(line.stages.map(({ name }) => name)).toEqual(['model', 'evaluate-model', 'sft', 'evaluate-sft']);
    expect((await planPipeline(line, {}))[1].note).toBe('measures sums, words (6 rows × 2 completions) and the perplexity of 1 texts');
    const outputDir = join(dir, 'run');
    const report = await runPipeline(line, { outputDir });
    const [before, after] = [report.stages[1].metrics, report.stages[3].metrics];
    for (const metrics of [before, after])
      for (const name of ['tasks/sums/accuracy', 'tasks/sums/accuracy_low', 'tasks/sums/pass@2', 'tasks/words/accuracy_high', 'tasks/words/rewards/exact/mean', 'perplexity']) expect(metrics[name]).toBeTypeOf('number');
    expect(after['perplexity']).not.toBe(before['perplexity']); // one step of training was taken
    const samples = (await readFile(join(outputDir, '02-evaluate-model', 'samples.jsonl'), 'utf8')).trim().split('\n').map((text) => JSON.parse(text) as { task: string });
    expect(samples.map(({ task }) => task)).toEqual(['sums', 'sums', 'sums', 'sums', 'words', 'words']);
    const table = evaluationTable(report)!.split('\n');
    expect(table[0]).toMatch(/^model after\s+sums\s+words\s+perplexity$/);
    expect(table[2]).toMatch(/^model\s+\d+\.\d % \(\d+\.\d–\d+\.\d\)/);
    expect(table[3]).toMatch(/^sft\s.* [+−]?\d|\(/);
    const again = await runPipeline(line, { outputDir, resume: true });
    expect(again.stages.every(({ skipped }) => skipped)).toBe(true);

    const changed = evaluateEach(pipeline(startFrom(model), sft({ ...here, dataset: sums, maxSteps: 1, perDeviceTrainBatchSize: 2 })), { ...suite, tasks: [{ name: 'sums', dataset: sums.slice(1) }, join(dir, 'words.jsonl')] });
    expect((await runPipeline(changed, { outputDir, resume: true })).stages.map(({ skipped }) => skipped)).toEqual([true, false, true, false]);
  });

  it('is `evaluate_each` in YAML', async () => {
    const read = (text: string) => readPipelineConfig(parse(text), { path: 'p.yaml', baseDir: dir, loadPlugin: async () => Promise.reject(new Error('none')) });
    const config = await read(`stages: [{ model: ${model} }]\nevaluate_each: { perplexity: general, max_completion_length: 4 }`);
    expect(config.pipeline.stages.map(({ name }) => name)).toEqual(['model', 'evaluate-model']);
    await expect(read(`stages: [{ model: m }]\nevaluate_each: [1]`)).rejects.toThrow('`evaluate_each` is [1]');
    await expect(read(`stages: [{ model: m }]\nevaluate_each: { perplexty: general }`)).rejects.toThrow('did you mean `perplexity`');
  });
});

describe('tasks', () => {
  it('are called by their short names, or by their whole ones where those are alike', async () => {
    expect((await openTasks(['arithmetic:size=3', join(dir, 'words.jsonl')], { rewards: [] })).map(({ name, rows }) => [name, rows.size])).toEqual([['arithmetic', 3], ['words', 2]]);
    expect((await openTasks(['arithmetic:size=3', 'arithmetic:size=4,difficulty=1'], { limit: 2 })).map(({ name, rows }) => [name, rows.size])).toEqual([['arithmetic:size=3', 2], ['arithmetic:size=4,difficulty=1', 2]]);
    await expect(openTasks(['arithmetic:size=3', 'arithmetic:size=3'], {})).rejects.toThrow('is given twice');
    await expect(openTasks([{ dataset: [{ prompt: 'a' }] }], {})).rejects.toThrow('nothing scores the rows');
    await expect(openTasks(['nothing-such'], {})).rejects.toMatchObject({ code: 'not_found' });
  });

  it('need something to be measured on', () => {
    expect(() => evaluate({ reward: 'numeric' })).toThrow('has nothing to measure on');
    expect(() => evaluate({ texts: ['a b'], reward: 'numeric' })).toThrow('`dataset` is missing');
    expect(() => evaluate({ tasks: [{ dataset: sums, reward: 'numerc' }] })).toThrow('did you mean numeric?');
  });
});

describe('readTexts', () => {
  it('reads what comes with the package, a file, and rows', async () => {
    const texts = await readTexts('general');
    expect(texts).toHaveLength(10);
    for (const text of texts) expect(text.split(/\s+/).length).toBeGreaterThan(60);
    expect(texts.join('')).not.toContain('* * *');
    await writeFile(join(dir, 'plain.txt'), 'one text\n\nof two paragraphs');
    expect(await readTexts(join(dir, 'plain.txt'))).toEqual(['one text\n\nof two paragraphs']);
    await writeFile(join(dir, 'texts.jsonl'), ['a', 'b', 'c'].map((text) => `${JSON.stringify({ text })}\n`).join(''));
    expect(await readTexts(join(dir, 'texts.jsonl'), { limit: 2 })).toEqual(['a', 'b']);
  });

  it('says what is wrong with a text', async () => {
    await expect(readTexts(join(dir, 'no.txt'))).rejects.toMatchObject({ code: 'not_found' });
    await writeFile(join(dir, 'latin1.txt'), Uint8Array.of(0x61, 0xff));
    await expect(readTexts(join(dir, 'latin1.txt'))).rejects.toThrow('is not UTF-8');
    await writeFile(join(dir, 'empty.txt'), ' \n');
    await expect(readTexts(join(dir, 'empty.txt'))).rejects.toThrow('is empty');
  });
});
