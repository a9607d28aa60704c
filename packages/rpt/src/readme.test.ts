import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { transpileModule, ModuleKind, ScriptTarget } from 'typescript';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
/** The examples that need no model: they print what their comments say. */
const examples = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map((match) => match[1]).filter((code) => /console\.log\(.*\); \/\/ /.test(code));

describe('the examples of the README', () => {
  it('are there', () => expect(examples).toHaveLength(2));

  it.each(examples.map((code, i) => [i, code] as const))('%i runs', async (_, code) => {
    const expected = [...code.matchAll(/console\.log\(.*\); \/\/ (.*)$/gm)].map((match) => match[1]);
    const printed: string[] = [];
    const log = (...values: unknown[]) => void printed.push(values.map((v) => (typeof v === 'string' ? v : JSON.stringify(v))).join(' '));
    const script = transpileModule(code, { compilerOptions: { module: ModuleKind.ESNext, target: ScriptTarget.ES2022 } }).outputText;
    const body = script.replace(/^import (\{[^}]*\}) from '([^']+)';$/gm, (_match, names: string, from: string) => `const ${names} = await load('${from}');`);
    const AsyncFunction = Object.getPrototypeOf(async () => undefined).constructor as new (...args: string[]) => (...args: unknown[]) => Promise<void>;
    await new AsyncFunction('load', 'console', body)((name: string) => import(/* @vite-ignore */ name), { log });
    expect(printed).toEqual(expected);
  });
});
