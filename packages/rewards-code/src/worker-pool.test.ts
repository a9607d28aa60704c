import { spawn } from 'node:child_process';
import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { WorkerPool, type PoolOptions } from './worker-pool';

/** A worker that does as it is told. */
const obedient = `
process.send({ ready: true });
process.on('disconnect', () => process.exit());
process.on('message', ({ order, value }) => {
  if (order === 'echo') process.send({ value });
  if (order === 'limit') process.send({ value, limit: 'time' });
  if (order === 'die') process.exit(3);
  if (order === 'abort') process.abort();
  if (order === 'spin') for (;;);
});`;
const start = async () => spawn(process.execPath, ['-e', obedient], { stdio: ['pipe', 'ignore', 'pipe', 'ipc'] });

const pools: WorkerPool[] = [];
const open = (options: Partial<PoolOptions> = {}) => {
  const pool = new WorkerPool({ start, size: 1, ...options });
  pools.push(pool);
  return pool;
};
afterEach(() => Promise.all(pools.splice(0).map((pool) => pool.close())));

const patient = { wallMs: 60_000 };

describe('WorkerPool', () => {
  it('answers in order with as many workers as it may have', async () => {
    const pool = open({ size: 2 });
    const replies = await Promise.all(Array.from({ length: 20 }, (_, value) => pool.run({ order: 'echo', value }, patient)));
    expect(replies).toEqual(Array.from({ length: 20 }, (_, value) => ({ reply: { value } })));
    expect(pool.started).toBe(2);
  });
  it('kills what is over its time, and goes on', async () => {
    const pool = open();
    const [spun, echoed] = await Promise.all([pool.run({ order: 'spin' }, { wallMs: 100, cpuMs: 50 }), pool.run({ order: 'echo', value: 1 }, patient)]);
    expect(spun).toEqual({ ended: 'time' });
    expect(echoed).toEqual({ reply: { value: 1 } });
    expect([pool.started, pool.alive]).toEqual([2, 1]);
  });
  it('replaces a worker whose reply says that a limit was hit, one that has served long, and one that died', async () => {
    const pool = open({ maxRequests: 3 });
    expect(await pool.run({ order: 'limit', value: 1 }, patient)).toEqual({ reply: { value: 1, limit: 'time' } });
    expect(pool.alive).toBe(0);
    for (let i = 0; i < 4; i++) await pool.run({ order: 'echo' }, patient);
    expect(pool.started).toBe(3);
    expect(await pool.run({ order: 'die' }, patient)).toEqual({ ended: 'crash' });
    expect(await pool.run({ order: 'abort' }, patient)).toEqual({ ended: 'memory' }); // as V8 does when its heap is full
    expect(await pool.run({ order: 'echo', value: 2 }, patient)).toEqual({ reply: { value: 2 } });
  });
  it('ends workers that have had nothing to do', async () => {
    const pool = open({ idleMs: 20 });
    await pool.run({ order: 'echo' }, patient);
    await expect.poll(() => pool.alive).toBe(0);
    expect(await pool.run({ order: 'echo', value: 3 }, patient)).toEqual({ reply: { value: 3 } });
  });
  it('an abort ends its own request alone, whether it waits or runs', async () => {
    const pool = open();
    const [running, waiting] = [new AbortController(), new AbortController()];
    const spun = pool.run({ order: 'spin' }, { ...patient, signal: running.signal });
    const waited = pool.run({ order: 'echo' }, { ...patient, signal: waiting.signal });
    const echoed = pool.run({ order: 'echo', value: 4 }, patient);
    waiting.abort();
    await expect(waited).rejects.toMatchObject({ code: 'aborted' });
    running.abort();
    await expect(spun).rejects.toMatchObject({ code: 'aborted' });
    expect(await echoed).toEqual({ reply: { value: 4 } });
    await expect(pool.run({ order: 'echo' }, { ...patient, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
  it('listens once to a signal that many requests share, and lets go of it', async () => {
    const pool = open();
    const { signal } = new AbortController();
    const all = Array.from({ length: 20 }, (_, value) => pool.run({ order: 'echo', value }, { ...patient, signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    await Promise.all(all);
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
  });
  it('says why when no worker comes up', async () => {
    const pool = open({ start: async () => spawn(process.execPath, ['-e', 'throw new Error("out of luck")'], { stdio: ['pipe', 'ignore', 'pipe', 'ipc'] }) });
    await expect(pool.run({ order: 'echo' }, patient)).rejects.toThrow(/end before they are ready[^]*out of luck/);
    const none = open({ start: () => Promise.reject(new Error('there is none')) });
    await expect(none.run({ order: 'echo' }, patient)).rejects.toThrow('there is none');
  });
  it('refuses everything once it is closed', async () => {
    const pool = open();
    const spun = pool.run({ order: 'spin' }, patient);
    const waited = pool.run({ order: 'echo' }, patient);
    const refused = Promise.all([expect(spun).rejects.toMatchObject({ code: 'closed' }), expect(waited).rejects.toMatchObject({ code: 'closed' })]);
    await pool.close();
    await refused;
    await expect(pool.run({ order: 'echo' }, patient)).rejects.toMatchObject({ code: 'closed' });
    expect(pool.alive).toBe(0);
  });
});

it('a program that closes its pool comes to its own end, and so does one that leaves it open', async () => {
  for (const last of ['await pool.close();', '']) {
    const program = `
      import { spawn } from 'node:child_process';
      import { WorkerPool } from ${JSON.stringify(new URL('./worker-pool.ts', import.meta.url).href)};
      const start = async () => spawn(process.execPath, ['-e', ${JSON.stringify(obedient)}], { stdio: ['pipe', 'ignore', 'pipe', 'ipc'] });
      const pool = new WorkerPool({ start, size: 1 });
      console.log(JSON.stringify(await pool.run({ order: 'echo', value: 7 }, { wallMs: 60_000 })));
      ${last}
      console.log('end');`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--conditions', '@espalier/source', '--input-type=module', '-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    const status = await new Promise((resolve) => child.once('close', resolve));
    expect([printed, status]).toEqual(['{"reply":{"value":7}}\nend\n', 0]);
  }
});
