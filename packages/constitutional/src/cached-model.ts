import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EspalierError, type CompleteOptions, type OptionQuestion, type TextModel } from '@espalier/spec';

export interface CachedModelOptions {
  /** Folder of the cache; several processes may share it. */
  dir: string;
  /** What the model is, weights included: a digest, a versioned name. Answers of another model are never given. */
  id: string;
}

export interface CachedModel extends TextModel {
  stats: { hits: number; misses: number };
}

/**
 * A model whose answers are kept on disk by content: model, prompt, options and seed. The same question is put once. An entry is written whole or not at all;
 * one that cannot be read counts as not there.
 * @throws EspalierError `bad_config` for an empty id
 */
export function cachedModel(model: TextModel, { dir, id }: CachedModelOptions): CachedModel {
  if (id === '') throw new EspalierError('bad_config', 'a cache needs the `id` of its model', { fix: 'a digest of its weights, or a name with a version' });
  const stats = { hits: 0, misses: 0 };
  let written = 0;
  const pathOf = (question: unknown): string => {
    const key = createHash('sha256').update(JSON.stringify([id, question])).digest('hex');
    return join(dir, key.slice(0, 2), `${key.slice(2)}.json`);
  };
  const read = async <T>(path: string, is: (value: unknown) => value is T): Promise<T | undefined> => {
    try {
      const { value } = JSON.parse(await readFile(path, 'utf8')) as { value?: unknown };
      return is(value) ? value : undefined;
    } catch {
      return undefined; // not there, or damaged
    }
  };
  const write = async (path: string, question: unknown, value: unknown): Promise<void> => {
    const temporary = `${path}.${process.pid}-${++written}`;
    try {
      await mkdir(join(path, '..'), { recursive: true });
      await writeFile(temporary, JSON.stringify({ id, question, value }));
      await rename(temporary, path);
    } catch (cause) {
      await rm(temporary, { force: true });
      const full = ['ENOSPC', 'EDQUOT'].includes((cause as NodeJS.ErrnoException).code ?? '');
      throw new EspalierError(full ? 'no_space' : 'io', `writing the judge's cache in ${dir} failed: ${(cause as Error).message}`, { cause });
    }
  };
  /** Answers what is known, asks for the rest at once; a question that stands twice is put once. */
  const through = async <T>(questions: readonly unknown[], is: (value: unknown) => value is T, ask: (missing: readonly number[]) => Promise<readonly T[]>): Promise<T[]> => {
    const paths = questions.map(pathOf);
    const known = new Map<string, T>();
    const missing = new Map<string, number>();
    for (const [i, path] of paths.entries()) {
      if (known.has(path) || missing.has(path)) continue;
      const value = await read(path, is);
      if (value === undefined) missing.set(path, i);
      else known.set(path, value);
    }
    stats.misses += missing.size;
    stats.hits += questions.length - missing.size;
    if (missing.size > 0) {
      const answers = await ask([...missing.values()]);
      for (const [k, path] of [...missing.keys()].entries()) {
        known.set(path, answers[k]);
        await write(path, questions[missing.get(path)!], answers[k]);
      }
    }
    return paths.map((path) => known.get(path)!);
  };

  const cached: CachedModel = {
    stats,
    async complete(prompts, options = {}) {
      const { signal, seed = 0, seeds, ...settings } = options;
      const seedOf = (i: number) => seeds?.[i] ?? seed + i;
      // A greedy answer does not depend on the seed.
      const questions = prompts.map((prompt, i) => ({ prompt, ...settings, ...((settings.temperature ?? 0) > 0 ? { seed: seedOf(i) } : {}) }));
      return through(questions, isText, (missing) => model.complete(missing.map((i) => prompts[i]), { ...settings, seeds: missing.map(seedOf), ...(signal ? { signal } : {}) } satisfies CompleteOptions));
    },
  };
  if (model.optionLogps || model.optionLogpsAll) {
    const ask = async (questions: readonly OptionQuestion[], how: { signal?: AbortSignal }): Promise<readonly (readonly number[])[]> =>
      model.optionLogpsAll ? model.optionLogpsAll(questions, how) : Promise.all(questions.map(({ prompt, options }) => model.optionLogps!(prompt, options)));
    // JSON has no −∞ and no NaN: they are kept as text.
    const all = async (questions: readonly OptionQuestion[], how: { signal?: AbortSignal } = {}) => {
      const kept = await through(questions.map(({ prompt, options }) => ({ prompt, options })), isNumbers, async (missing) => (await ask(missing.map((i) => questions[i]), how)).map((list) => list.map((logp) => (Number.isFinite(logp) ? logp : String(logp)))));
      return kept.map((list) => list.map(Number));
    };
    cached.optionLogpsAll = all;
    cached.optionLogps = async (prompt, options) => (await all([{ prompt, options }]))[0];
  }
  return cached;
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isNumbers = (value: unknown): value is (number | string)[] => Array.isArray(value) && value.every((entry) => typeof entry === 'number' || entry === 'NaN' || entry === 'Infinity' || entry === '-Infinity');
