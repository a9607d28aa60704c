import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { kindNames } from './kinds';
import { run } from './main';

let dir: string;
const before = process.cwd();
let written: { out: string; err: string };

beforeEach(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'create-espalier-plugin-')));
  process.chdir(dir);
  written = { out: '', err: '' };
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((written.out += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((written.err += String(text)), true));
});
afterEach(async () => {
  vi.restoreAllMocks();
  process.chdir(before);
  await rm(dir, { recursive: true });
});

describe('create-espalier-plugin', () => {
  it('writes a plugin into a folder of its name, and says what comes next', async () => {
    expect(await run(['short-answers', '--kind', 'reward', '--yes'])).toBe(0);
    expect(await readdir(join(dir, 'espalier-plugin-short-answers'))).toContain('package.json');
    expect(written.out).toContain('espalier-plugin-short-answers, with the reward function "short-answers"');
    expect(written.out).toContain('  cd espalier-plugin-short-answers\n');
    expect(written.err).toBe('');
  });

  it('takes a folder and a description, and needs no --yes where there is no terminal', async () => {
    expect(await run(['@me/x', '--kind=judge', '--dir', 'a b/c', '--description', 'Judges by length'])).toBe(0);
    expect(written.out).toContain('cd "a b/c"');
  });

  it('lists every kind and flag in its help', async () => {
    expect(await run(['--help'])).toBe(0);
    for (const word of [...kindNames, '--kind', '--dir', '--description', '--yes', '--version', 'Exit status']) expect(written.out).toContain(word);
    expect(await run(['-v'])).toBe(0);
    expect(written.out).toMatch(/\d+\.\d+\.\d+\n$/);
    expect(await readdir(dir)).toEqual([]);
  });

  it.each([
    [['x', '--kind', 'rewards', '-y'], '--kind rewards: there is no such kind (one of reward, objective'],
    [['x', '--kid', 'reward'], "Unknown option '--kid' (--help lists the flags)"],
    [['x', 'reward', '-y'], 'one name is taken, 2 were given: x, reward'],
    [['My Plugin', '--kind', 'reward', '-y'], 'my-plugin)'],
    [['--kind', 'reward', '-y'], 'no name was given, and nothing is asked with --yes'],
    [['x', '-y'], 'no --kind was given, and nothing is asked with --yes (such as: npm create espalier-plugin x -- --kind reward)'],
    [['x'], 'no --kind was given, and nothing is asked without a terminal'],
    [['x', '--kind', 'reward', '--dir', ' '], '--dir is empty'],
    [['x', '--kind', 'reward', '--dir', 'full'], 'full is not empty: it holds mine.txt'],
  ])('ends with status 2 on %j, in one line', async (argv, message) => {
    await mkdir('full');
    await writeFile('full/mine.txt', 'mine');
    expect(await run(argv)).toBe(2);
    expect(written.err).toContain(message);
    expect(written.err.trimEnd().split('\n')).toHaveLength(1);
    expect(written.out).toBe('');
    expect(await readdir(dir)).toEqual(['full']);
  });
});
