import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kindNames } from './kinds';
import { scaffold } from './scaffold';

let root: string;
beforeAll(async () => void (root = await mkdtemp(join(tmpdir(), 'create-espalier-plugin-'))));
afterAll(() => rm(root, { recursive: true }));

const filesBelow = async (dir: string) => (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));

describe.each(kindNames)('a plugin of kind %s', (kind) => {
  it('has every file, its names everywhere, and TypeScript that parses', async () => {
    const dir = join(root, kind);
    const { name, files } = await scaffold({ name: '@me/two-words', kind, dir });
    expect(name.package).toBe('@me/espalier-plugin-two-words');
    for (const expected of ['package.json', 'tsconfig.json', 'tsup.config.ts', 'eslint.config.js', 'vitest.config.ts', 'README.md', 'LICENSE', '.gitignore', '.changeset/config.json', '.changeset/first-release.md', '.github/workflows/ci.yml', '.github/workflows/release.yml', 'src/index.ts']) expect(files).toContain(expected);
    expect(files.some((file) => file.endsWith('.test.ts'))).toBe(true);
    expect((await filesBelow(dir)).length).toBe(files.length);
    for (const file of await filesBelow(dir)) {
      const text = await readFile(file, 'utf8');
      expect(text, file).not.toMatch(/__[A-Za-z]+__/);
      if (file.endsWith('.ts')) expect(ts.transpileModule(text, { reportDiagnostics: true }).diagnostics, file).toEqual([]);
    }
    const index = await readFile(join(dir, 'src/index.ts'), 'utf8');
    expect(index).toMatch(/name: '@me\/espalier-plugin-two-words',\n {2}[a-zA-Z]+: \{ 'two-words': twoWords[A-Z]\w+ \}/);
    const readme = await readFile(join(dir, 'README.md'), 'utf8');
    expect(readme).toContain("'two-words'".slice(1, -1));
    expect(readme.match(/^# .*/m)?.[0]).toBe('# @me/espalier-plugin-two-words');
  });

  it('says in its manifest what npm and Espalier look for', async () => {
    const manifest = JSON.parse(await readFile(join(root, kind, 'package.json'), 'utf8')) as Record<string, never>;
    const own = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as { dependencies: Record<string, string> };
    expect(manifest).toMatchObject({ name: '@me/espalier-plugin-two-words', type: 'module', sideEffects: false, license: 'Apache-2.0', files: ['dist'] });
    expect(manifest.keywords).toContain('espalier-plugin');
    expect(manifest.peerDependencies).toEqual({ '@espalier/spec': own.dependencies['@espalier/spec'] });
    expect(Object.keys(manifest.scripts)).toEqual(expect.arrayContaining(['build', 'test', 'lint', 'typecheck', 'check:pack', 'check', 'changeset']));
  });
});

describe('where it is written', () => {
  const write = (dir: string) => scaffold({ name: 'here', kind: 'reward', dir });

  it('may be new, empty, or hold a repository', async () => {
    await mkdir(join(root, 'empty'));
    await mkdir(join(root, 'repository', '.git'), { recursive: true });
    for (const dir of ['new/deep/down', 'empty', 'repository']) await expect(write(join(root, dir))).resolves.toMatchObject({ dir: join(root, dir) });
  });

  it('is left alone where it holds anything', async () => {
    const dir = join(root, 'full');
    await mkdir(dir);
    for (const name of ['package.json', 'b', 'c', 'd']) await writeFile(join(dir, name), 'mine');
    await expect(write(dir)).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/is not empty: it holds .* and 1 more \(another name/) as string });
    expect((await readdir(dir)).sort()).toEqual(['b', 'c', 'd', 'package.json']);
    expect(await readFile(join(dir, 'package.json'), 'utf8')).toBe('mine');
    await expect(write(join(dir, 'b'))).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('is a file') as string });
  });
});
