import * as fs from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { writeFileDurably } from './files';

/** What the next flush fails with. */
let failure: string | null = null;
const calls: string[] = [];
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  return {
    ...real,
    async open(path: string, flags: string) {
      const handle = await real.open(path, flags);
      const sync = handle.sync.bind(handle);
      handle.sync = async () => {
        calls.push(`sync ${flags}`);
        if (failure !== null) throw Object.assign(new Error(failure), { code: failure });
        await sync();
      };
      return handle;
    },
    rename: async (from: string, to: string) => (calls.push('rename'), real.rename(from, to)),
  };
});

let dir: string;
beforeEach(async () => {
  dir = await fs.mkdtemp(join(tmpdir(), 'espalier-files-'));
  failure = null;
  calls.length = 0;
});
afterEach(() => fs.rm(dir, { recursive: true }));

describe('writeFileDurably', () => {
  it('flushes before it renames, and the folder after, and leaves nothing beside', async () => {
    const path = join(dir, 'a.json');
    await writeFileDurably(path, 'old');
    await writeFileDurably(path, new TextEncoder().encode('new'));
    expect(await fs.readFile(path, 'utf8')).toBe('new');
    expect(calls.slice(3)).toEqual(['sync wx', 'rename', 'sync r']);
    expect(await fs.readdir(dir)).toEqual(['a.json']);
  });

  it.each([['ENOSPC', 'no_space'], ['EDQUOT', 'no_space'], ['EIO', 'io']] as const)('on %s what was there stays, and the error is %s', async (errno, code) => {
    const path = join(dir, 'a.json');
    await writeFileDurably(path, 'old');
    failure = errno;
    await expect(writeFileDurably(path, 'new')).rejects.toMatchObject({ code, message: expect.stringContaining(path) });
    expect([await fs.readFile(path, 'utf8'), await fs.readdir(dir)]).toEqual(['old', ['a.json']]);
  });

  it('leaves a file that is there where it may not be replaced, and says where there is no folder', async () => {
    const path = join(dir, 'a.json');
    await writeFileDurably(path, 'first', { replace: false });
    await expect(writeFileDurably(path, 'second', { replace: false })).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('is there already') });
    expect([await fs.readFile(path, 'utf8'), await fs.readdir(dir)]).toEqual(['first', ['a.json']]);
    await expect(writeFileDurably(join(dir, 'none', 'a.json'), 'x')).rejects.toMatchObject({ code: 'io' });
  });
});
