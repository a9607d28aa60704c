import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from '../testing';
import { askForConfig } from './ask';
import { kinds, onRewards } from './templates';

const model = fixture('smollm2');
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-init-'));
  const rows = Array.from({ length: 10 }, (_, i) => JSON.stringify({ prompt: `${i}+1=`, completion: `${i + 1}`, answer: `${i + 1}` }));
  writeFileSync(join(dir, 'rows.jsonl'), `${rows.join('\n')}\n`);
  writeFileSync(join(dir, 'pairs.jsonl'), '{"prompt": "1+1=", "chosen": "2", "rejected": "3"}\n'.repeat(8));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const init = (...args: string[]) => espalier(['init', ...args], { cwd: dir });

describe('espalier init', () => {
  it.each(kinds)('writes a configuration of %s that runs', async (kind) => {
    const dataset = kind === 'dpo' || kind === 'reward' ? 'pairs.jsonl' : 'rows.jsonl';
    const { file, command } = onlyJson(await init('--kind', kind, '--model', model, '--dataset', dataset, '--max-steps', '1', ...(onRewards(kind) ? ['--reward', 'numeric', '--reward', 'exact=0.5'] : []), '--json')) as { file: string; command: string };
    expect(file).toBe(`${kind}.yaml`);
    expect(readFileSync(join(dir, file), 'utf8')).toContain(`# ${command}`);
    // The tiny model sees 96 positions: everything else is as it was written.
    const [, ...args] = command.split(' ');
    const result = onlyJson(await espalier([...args, ...(onRewards(kind) && kind !== 'pipeline' ? ['--max-completion-length', '4'] : []), '--json'], { cwd: dir })) as { steps?: number; stages?: unknown[] };
    expect(result.steps ?? result.stages?.length).toBe(kind === 'pipeline' ? 4 : 1);
  });

  it('gives a task an end', async () => {
    expect((await init('task.yaml', '--kind', 'sft', '--model', model, '--dataset', 'arithmetic', '--yes')).status).toBe(0);
    expect(readFileSync(join(dir, 'task.yaml'), 'utf8')).toContain('dataset: arithmetic:size=512');
    const plan = onlyJson(await espalier(['sft', '--config', 'task.yaml', '--dry-run', '--json'], { cwd: dir }));
    expect(plan).toMatchObject({ rows: 512, steps: 20 });
  });

  it('writes over nothing, and refuses what would not run', async () => {
    const refused = async (args: string[], message: string) => {
      const before = readdirSync(dir);
      const outcome = await init(...args);
      expect([outcome.status, complaints(outcome)[0]]).toEqual([2, expect.stringContaining(message)]);
      expect(readdirSync(dir)).toEqual(before);
    };
    await refused(['task.yaml', '--kind', 'sft', '--model', model, '--dataset', 'rows.jsonl'], 'task.yaml is there already');
    await refused(['new.yaml', '--kind', 'sft', '--model', model], '--dataset is missing, and nothing is asked');
    await refused(['new.yaml', '--kind', 'sft', '--model', model, '--dataset', 'none.jsonl'], 'there is no file none.jsonl');
    await refused(['new.yaml', '--kind', 'grpo', '--model', model, '--dataset', 'rows.jsonl', '--reward', 'numerc'], 'did you mean numeric?');
    await refused(['new.yaml', '--kind', 'sft', '--model', model, '--dataset', 'rows.jsonl', '--reward', 'numeric'], '--reward is given, and sft has none');
    await refused(['new.yaml', '--kind', 'stf', '--model', model, '--dataset', 'rows.jsonl'], 'it takes one of sft');
  });
});

describe('the questions', () => {
  const defaults = () => ({ reward: ['numeric'], maxSteps: 20, outputDir: 'runs/grpo' });
  /** Answers typed into a terminal, each when its question has come up. */
  async function typed(keys: readonly string[], given: Parameters<typeof askForConfig>[0] = {}) {
    const [input, output] = [new PassThrough(), new PassThrough()];
    Object.assign(input, { isTTY: true, setRawMode: () => input });
    output.resume();
    const answers = askForConfig(given, defaults, { input, output });
    for (const key of keys) {
      await new Promise((resolve) => setTimeout(resolve, 60));
      input.write(key);
    }
    return answers;
  }

  it('are asked for what is not known', async () => {
    expect(await typed(['\r', 'm.gguf\r', 'rows.jsonl\r', '\r', '\r'])).toEqual({ kind: 'sft', model: 'm.gguf', dataset: 'rows.jsonl', reward: [], maxSteps: 20, outputDir: 'runs/grpo' });
    expect(await typed(['rows.jsonl\r', '\r', '5\r'], { kind: 'grpo', model: 'm', outputDir: 'runs/x' })).toEqual({ kind: 'grpo', model: 'm', dataset: 'rows.jsonl', reward: ['numeric'], maxSteps: 205, outputDir: 'runs/x' });
  });

  it('can be left', async () => {
    expect(await typed(['\u0003'])).toBeNull();
  });
});
