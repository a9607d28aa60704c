import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { arithmeticTask, checkRow, datasetByRef, datasetOf, detectRowType, extractPrompt, hash32, loadJsonl, Random, readJsonl, ShuffledCursor, splitDataset, toPrompt } from './index';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-data-'))));
afterAll(() => rm(dir, { recursive: true }));

const write = async (name: string, text: string) => {
  const path = join(dir, name);
  await writeFile(path, text);
  return path;
};

describe('readJsonl', () => {
  it('reads rows with their lines, over a byte order mark, empty lines and CRLF', async () => {
    const path = await write('good.jsonl', '\uFEFF{"prompt":"a"}\r\n\r\n{"prompt":"ü\\n","answer":3}');
    const rows = [];
    for await (const entry of readJsonl(path, { accepted: ['prompt_only'] })) rows.push(entry);
    expect(rows).toEqual([{ row: { prompt: 'a' }, line: 1 }, { row: { prompt: 'ü\n', answer: 3 }, line: 3 }]);
  });
  const failing = async (text: string, options = {}) => loadJsonl(await write('bad.jsonl', text), options);
  it('names file and line of bad JSON', async () => {
    await expect(failing('{"prompt":"a"}\n{"prompt":')).rejects.toThrow(/bad\.jsonl:2: not valid JSON/);
    await expect(failing('[{"prompt":"a"},\n{}]')).rejects.toThrow('not an array over several');
    await expect(failing('{"a":1}\n[1]')).rejects.toThrow(/bad\.jsonl:2: a row must be a JSON object, this line is an array/);
    await expect(failing('{"a":1}\nnull')).rejects.toThrow('this line is null');
    await expect(failing('\n\n')).rejects.toThrow('has no rows');
  });
  it('names file, line and field of a wrong row', async () => {
    await expect(failing('{"prompt":"a"}\n{"prompt":7}', { accepted: ['prompt_only'] })).rejects.toThrow(/bad\.jsonl:2: `prompt`: must be text or a list of messages \{ role, content \}, found 7/);
    await expect(failing('{"question":"a"}', { accepted: ['prompt_only'] })).rejects.toThrow(/bad\.jsonl:1: `prompt`: .*it is missing/);
    await expect(failing('{"prompt":"a","completion":3}', { accepted: ['prompt_completion', 'language_modeling'] })).rejects.toThrow(/:1: `completion`: .*found 3/);
    await expect(failing('{"prompt":"a","completion":[{"role":"assistant","content":"b"}]}', { accepted: ['prompt_completion'] })).rejects.toThrow('`prompt` is plain text beside columns of messages');
    await expect(failing('{"prompt":"a","answer":1}', { schema: z.looseObject({ answer: z.string() }) })).rejects.toThrow(/:1: `answer`: .*found 1/);
  });
  it('says when there is no such file', async () => {
    await expect(loadJsonl(join(dir, 'none.jsonl'))).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('none.jsonl') });
    await expect(loadJsonl(dir)).rejects.toMatchObject({ code: 'bad_data' });
  });
  it('stops when it is told to, and when its reader does', async () => {
    const path = await write('long.jsonl', '{"prompt":"a"}\n'.repeat(1000));
    const controller = new AbortController();
    const read = async () => {
      for await (const { line } of readJsonl(path, { signal: controller.signal })) if (line === 10) controller.abort();
    };
    await expect(read()).rejects.toMatchObject({ code: 'aborted' });
    for await (const { line } of readJsonl(path)) if (line === 3) break;
  });
});

describe('row formats', () => {
  const chat = (content: string, role = 'user') => [{ role, content }];
  it.each([
    ['language_modeling', { text: 'a' }], ['language_modeling', { messages: chat('a') }], ['prompt_only', { prompt: 'a', answer: 3 }], ['prompt_completion', { prompt: 'a', completion: 'b' }],
    ['preference', { chosen: 'a', rejected: 'b' }], ['preference', { prompt: chat('a'), chosen: chat('b', 'assistant'), rejected: chat('c', 'assistant') }],
    ['unpaired_preference', { prompt: 'a', completion: 'b', label: true }], ['stepwise_supervision', { prompt: 'a', completions: ['b', 'c'], labels: [true, false] }],
  ] as const)('%s: %j', (type, row) => {
    expect(detectRowType(row)).toBe(type);
    expect(checkRow(row, [type])).toEqual({ type, conversational: Object.values(row).some((v) => Array.isArray(v) && typeof v[0] === 'object') });
  });
  it('a row with more columns is of the smaller type too', () => expect(checkRow({ prompt: 'a', completion: 'b' }, ['prompt_only'])).toEqual({ type: 'prompt_only', conversational: false }));
  it('names what is wrong', () => {
    expect(() => checkRow({ foo: 1 }, ['prompt_completion', 'language_modeling'])).toThrow('has `prompt` and `completion`');
    expect(() => checkRow({ messages: [{ role: 'user' }] }, ['language_modeling'])).toThrow('`messages.0.content`');
    expect(() => checkRow({ prompt: 'a', completions: ['b'], labels: [true, false] }, ['stepwise_supervision'])).toThrow('2 entries for 1 completions');
  });
  it('toPrompt', () => {
    expect(toPrompt({ prompt: 'a' })).toBe('a');
    expect(toPrompt({ messages: [...chat('a'), ...chat('b', 'assistant')] })).toEqual(chat('a'));
    expect(toPrompt({ chosen: 'The sky is blue', rejected: 'The sky is green' })).toBe('The sky is');
    expect(() => toPrompt({ text: 'a' }, { file: 'f.jsonl', line: 4 })).toThrow('f.jsonl:4: there is no `prompt`');
    expect(() => toPrompt({ prompt: 3 }, { file: 'f.jsonl', line: 4 })).toThrow('f.jsonl:4: `prompt`');
  });
  it('extractPrompt (the example of TRL\'s documentation)', () => {
    expect(extractPrompt({ chosen: [...chat('Sky?'), ...chat('Blue.', 'assistant')], rejected: [...chat('Sky?'), ...chat('Green.', 'assistant')] })).toEqual({
      prompt: chat('Sky?'), chosen: chat('Blue.', 'assistant'), rejected: chat('Green.', 'assistant'),
    });
    expect(extractPrompt({ chosen: 'The sky is blue', rejected: 'The sky is green' })).toEqual({ prompt: 'The sky is', chosen: ' blue', rejected: ' green' });
  });
});

describe('ShuffledCursor', () => {
  it('gives every row once an epoch, in an order of its own', () => {
    const cursor = new ShuffledCursor(50, { seed: 3 });
    const [first, second] = [cursor.take(50), cursor.take(50)];
    const all = Array.from({ length: 50 }, (_, i) => i);
    expect([...first].sort((a, b) => a - b)).toEqual(all);
    expect([...second].sort((a, b) => a - b)).toEqual(all);
    expect(first).not.toEqual(all);
    expect(first).not.toEqual(second);
    expect(cursor.epoch).toBe(2);
    expect(new ShuffledCursor(50, { seed: 4 }).take(50)).not.toEqual(first);
    expect(new ShuffledCursor(50, { shuffle: false }).take(50)).toEqual(all);
  });
  it('goes on from a saved position at any place', () => {
    const whole = new ShuffledCursor(7, { seed: 1 }).take(30);
    for (let at = 0; at <= 30; at++) {
      const cursor = new ShuffledCursor(7, { seed: 1 });
      cursor.take(at);
      const state = JSON.parse(JSON.stringify(cursor.state()));
      expect(ShuffledCursor.restore(7, state).take(30 - at)).toEqual(whole.slice(at));
    }
  });
  it('walks a dataset without end', () => {
    const cursor = new ShuffledCursor(Infinity);
    cursor.take(5);
    expect(ShuffledCursor.restore(Infinity, JSON.parse(JSON.stringify(cursor.state()))).take(2)).toEqual([5, 6]);
  });
  it('refuses another dataset', () => {
    expect(() => ShuffledCursor.restore(8, new ShuffledCursor(7).state())).toThrow('had 7 rows when this position was saved, now it has 8');
    expect(() => ShuffledCursor.restore(7, { seed: 0, epoch: 0, index: 9, size: 7 })).toThrow('is no position');
    expect(() => new ShuffledCursor(0)).toThrow('nothing to give');
  });
});

describe('splitDataset', () => {
  const dataset = datasetOf(Array.from({ length: 20 }, (_, id) => ({ id })));
  it('divides without overlap, by count or share', () => {
    for (const held of [5, 0.25]) {
      const { train, heldOut } = splitDataset(dataset, held, 1);
      expect([train.size, heldOut.size]).toEqual([15, 5]);
      const ids = [train, heldOut].flatMap((part) => Array.from({ length: part.size }, (_, i) => part.row(i).id as number));
      expect(ids.sort((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    }
  });
  it('refuses to leave one side empty', () => {
    expect(() => splitDataset(dataset, 20)).toThrow('leaves one side empty');
    expect(() => splitDataset(arithmeticTask(), 5)).toThrow('has no end');
  });
});

describe('Random', () => {
  it('refuses a range without integers, which it would draw from for ever', () => {
    expect(() => new Random(1).int(3, 2)).toThrow(RangeError);
    expect(() => new Random(1).int(NaN, 2)).toThrow(RangeError);
    expect(new Random(1).int(2, 2)).toBe(2);
  });

  it('draws evenly, and the same from the same seed', () => {
    const random = new Random(1, 2);
    const counts = new Array<number>(6).fill(0);
    for (let i = 0; i < 60_000; i++) counts[random.int(0, 5)]++;
    // chi-square with 5 degrees of freedom: 20.5 is the 99.9th percentile
    expect(counts.reduce((total, n) => total + (n - 10_000) ** 2 / 10_000, 0)).toBeLessThan(20.5);
    const draws = (seed: number) => { const r = new Random(seed); return Array.from({ length: 5 }, () => r.uint32()); };
    expect(draws(7)).toEqual(draws(7));
    expect(draws(7)).not.toEqual(draws(8));
  });
  it('tells apart seeds beyond 2^32 and the order of numbers', () => {
    expect(hash32(1)).not.toBe(hash32(1 + 2 ** 32));
    expect(hash32(1, 2)).not.toBe(hash32(2, 1));
  });
});

describe('arithmeticTask', () => {
  const expressionsOf = (options: Parameters<typeof arithmeticTask>[0]) => {
    const task = arithmeticTask(options);
    return Array.from({ length: task.size }, (_, i) => task.row(i).expression);
  };
  it('gives right answers at every difficulty', () => {
    for (const difficulty of [1, 2, 3, 4, 5]) {
      const task = arithmeticTask({ difficulty, seed: 5 });
      for (let i = 0; i < 50; i++) {
        const { expression, answer, prompt } = task.row(i);
        // an independent evaluation: JavaScript's own, of nothing but digits, signs and brackets
        expect(expression).toMatch(/^[\d+\-*() ]+$/);
        expect(answer).toBe(String(Number(new Function(`return ${expression}`)())));
        expect(prompt).toEqual([{ role: 'user', content: `What is ${expression}? Reply with the number only.` }]);
      }
    }
  });
  it('is determined by its seed, row by row', () => {
    const [a, b, c] = [1, 1, 2].map((seed) => Array.from({ length: 20 }, (_, i) => arithmeticTask({ seed }).row(i)));
    expect(a).toEqual(b);
    expect(a).not.toEqual(c);
    expect(arithmeticTask({ seed: 1 }).row(19)).toEqual(a[19]);
  });
  it('with a size, all problems differ; more than there are is refused', () => {
    expect(new Set(expressionsOf({ difficulty: 1, size: 100 })).size).toBe(100);
    expect(() => arithmeticTask({ difficulty: 1, size: 101 })).toThrow('not enough different problems');
  });
  it('train and held-out problems do not overlap, nor with operands swapped, whatever the seeds', () => {
    const key = (e: string) => e.split(' + ').map(Number).sort((a, b) => a - b).join('+');
    const train = new Set(expressionsOf({ split: 'train', size: 800, seed: 1 }).map(key));
    const held = expressionsOf({ split: 'held_out', size: 200, seed: 2 }).map(key);
    expect(held.filter((e) => train.has(e))).toEqual([]);
  });
  it('writes text and completions', () => {
    const row = arithmeticTask({ format: 'text', template: '{expression} =', withCompletion: true, min: -9, max: -1 }).row(0);
    expect(row.prompt).toMatch(/^-\d \+ \(-\d\) =$/);
    expect(row.completion).toBe(row.answer);
    expect(checkRow(row, ['prompt_completion'])).toEqual({ type: 'prompt_completion', conversational: false });
    expect(checkRow(arithmeticTask({ withCompletion: true }).row(0), ['prompt_completion']).conversational).toBe(true);
  });
  it('refuses wrong options', () => {
    expect(() => arithmeticTask({ difficulty: 9 })).toThrow('`difficulty`');
    expect(() => arithmeticTask({ min: 5, max: 2 })).toThrow('`min` 5 is over `max` 2');
    expect(() => arithmeticTask({ template: 'no' })).toThrow('must contain {expression}');
  });
});

describe('datasetByRef', () => {
  it('opens files and tasks', async () => {
    const path = await write('rows.jsonl', '{"prompt":"a"}\n');
    const file = await datasetByRef(path, { jsonl: { accepted: ['prompt_only'] } });
    expect([file.name, file.size, file.row(0)]).toEqual(['rows', 1, { prompt: 'a' }]);
    expect(file.origin(0)).toEqual({ file: path, line: 1 });
    const task = await datasetByRef('arithmetic:difficulty=1,size=10,operations=+|-', { task: { size: 5, seed: 1 } });
    expect(task.size).toBe(10);
  });
  it('says what would do', async () => {
    await expect(datasetByRef('arithmetik')).rejects.toMatchObject({ code: 'not_found', message: expect.stringContaining('tasks arithmetic') });
    await expect(datasetByRef('no/such.jsonl')).rejects.toThrow('there is no file no/such.jsonl');
    await expect(datasetByRef('arithmetic:hardness=2')).rejects.toThrow('no option `hardness`');
    await expect(datasetByRef('arithmetic:difficulty')).rejects.toThrow('is no option');
  });
});
