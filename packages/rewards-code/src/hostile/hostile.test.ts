import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openSandbox, type Sandbox } from '../index';
import { hostilePrograms, putToTest, quickPrograms, type Traps } from './test-support';

const secret = 'the-secret-of-the-caller-7f3a';
const limits = { timeLimit: 150, memoryLimit: 32, outputLimit: 20_000 };
let sandbox: Sandbox;
let folder: string;
let server: Server;
let connections = 0;
let traps: Traps & { secret: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'espalier-hostile-'));
  const secretFile = join(folder, 'secret.txt');
  await writeFile(secretFile, secret);
  process.env['ESPALIER_SECRET'] = secret;
  server = createServer((socket) => {
    connections += 1;
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${secret.length}\r\n\r\n${secret}`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  traps = { secretFile, canaryFile: join(folder, 'canary'), port: (server.address() as AddressInfo).port, secret };
  sandbox = openSandbox({ workers: 2 });
});

afterAll(async () => {
  delete process.env['ESPALIER_SECRET'];
  server.close();
  await sandbox.close();
  await rm(folder, { recursive: true, force: true });
});

describe('hostile programs', () => {
  it('there are enough of them, and each is one of its own', () => {
    expect(quickPrograms.length).toBeGreaterThanOrEqual(100);
    expect(new Set(hostilePrograms.map(({ name }) => name)).size).toBe(hostilePrograms.length);
  });
  it('the traps work: whoever can reach the secret passes', async () => {
    const knows = { name: 'knows', code: `const f = () => '${secret}';` };
    expect((await putToTest(sandbox, knows, traps, limits)).passed).toBe(true);
    expect(await (await fetch(`http://127.0.0.1:${traps.port}`)).text()).toBe(secret);
    connections = 0;
  });
  describe.concurrent('none passes, hangs or gets out', () => {
    it.each(quickPrograms.map((program) => [program.name, program] as const))('%s', async (_, program) => {
      const verdict = await putToTest(sandbox, program, traps, limits);
      expect(verdict.passed).toBe(false);
      if (program.limit) expect([program.limit, 'time'], `${program.name}: ${verdict.limit}`).toContain(verdict.limit); // its time may be over first
    });
  });
  it('nobody has called, written or started anything', () => {
    expect(connections).toBe(0);
    expect(existsSync(traps.canaryFile)).toBe(false);
  });
  it('the pool is healthy afterwards', async () => {
    const results = await Promise.all(Array.from({ length: 8 }, (_, i) => sandbox.run('export const f = (a: number) => a * 2;', { entry: 'f', calls: [`[${i}]`] })));
    expect(results.map(({ results: [{ value }] }) => value)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    expect(await sandbox.check('export const f = 1;')).toEqual({ compiles: true, problems: [] });
    expect((await sandbox.run('def f(a): return a + 1', { language: 'python', entry: 'f', calls: ['[1]'] })).results).toEqual([{ value: 2 }]);
    for (const { alive } of Object.values(sandbox.workers())) expect(alive).toBeLessThanOrEqual(2);
  });
});
