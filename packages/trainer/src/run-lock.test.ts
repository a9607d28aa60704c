import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { lockRun } from './run-lock';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-lock-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

const write = (holder: object) => writeFile(join(dir, 'run.lock'), JSON.stringify({ host: hostname(), started: null, token: 'x', ...holder }));

describe('lockRun', () => {
  it('lets one run in, and the next when it is given back, and leaves nothing', async () => {
    const release = await lockRun(dir);
    await expect(lockRun(dir)).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining(`is being written by process ${process.pid}`) });
    await release();
    await (await lockRun(dir))();
    expect(await readdir(dir)).toEqual([]);
  });

  it('takes over from a process that has ended, and from what is not a lock', async () => {
    const ended = spawn(process.execPath, ['-e', '']);
    await once(ended, 'exit');
    await write({ pid: ended.pid });
    await (await lockRun(dir))();
    await write({ pid: process.pid }); // an earlier process of the same number
    await (await lockRun(dir))();
    await writeFile(join(dir, 'run.lock'), 'not a lock');
    await (await lockRun(dir))();
    expect(await readdir(dir)).toEqual([]);
  });

  it('keeps out of a run that another process writes, here or on another machine', async () => {
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    try {
      await write({ pid: other.pid });
      await expect(lockRun(dir)).rejects.toThrow(`process ${other.pid} (wait for it`);
      await write({ pid: 1, host: 'elsewhere' });
      await expect(lockRun(dir)).rejects.toThrow('process 1 on elsewhere');
      expect(await readFile(join(dir, 'run.lock'), 'utf8')).toContain('elsewhere');
    } finally {
      other.kill('SIGKILL');
    }
  });

  it('of many that find a stale lock at once, lets one in', async () => {
    await write({ pid: 2 ** 30 });
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => lockRun(dir)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
