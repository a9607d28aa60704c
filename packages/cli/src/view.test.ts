import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier } from './testing';

const bin = fileURLToPath(new URL('../bin/espalier.js', import.meta.url));
let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-view-'));
  writeFileSync(join(dir, 'config.json'), '{"name":"rpt","arguments":{"maxSteps":2}}');
  writeFileSync(join(dir, 'metrics.jsonl'), '{"step":1,"loss":2}\n{"step":2,"loss":1}\n');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('espalier view', () => {
  it.each([['--json'], ['--no-open']])('serves the report on loopback (%s) until it is told to stop', async (flag) => {
    const child = spawn(process.execPath, [bin, 'view', dir, '--port', '0', flag], { env: { ...process.env, NODE_OPTIONS: '' } });
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    const said = await new Promise<string>((resolve) => child.stdout.once('data', (text: Buffer) => resolve(text.toString())));
    const url = flag === '--json' ? (JSON.parse(said) as { url: string }).url : said.trim().split(': ')[1];
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
    const html = await (await fetch(url)).text();
    expect(html).toContain('"status":"unknown"');
    writeFileSync(join(dir, 'log.jsonl'), `{"time":"2026-11-28T08:00:00Z","event":"${flag === '--json' ? 'start' : 'end'}","step":0,"totalSteps":2}\n`);
    expect(await (await fetch(url)).text()).toContain(`"status":"${flag === '--json' ? 'running' : 'done'}"`);
    rmSync(join(dir, 'log.jsonl'));
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
  }, 60_000);

  it('a folder without a run, and wrong flags, are wrong usage; a port that is taken is a failure', async () => {
    const absent = await espalier(['view', join(dir, 'absent'), '--no-open']);
    expect([absent.status, complaints(absent).length]).toEqual([2, 1]);
    expect(complaints(absent)[0]).toContain('holds no run');
    expect((await espalier(['view', dir, '--port', '70000'])).status).toBe(2);
    expect((await espalier(['view'])).status).toBe(2);
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const taken = await espalier(['view', dir, '--no-open', '--port', String(port)]);
    other.close();
    expect([taken.status, complaints(taken).join()]).toEqual([1, expect.stringContaining(`port ${port} is taken`)]);
  }, 60_000);
});
