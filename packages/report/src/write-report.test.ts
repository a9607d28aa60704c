import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFakeRun } from '../test/fake-run';
import { embeddedJson, renderPage } from './render-page';
import { ReportKeeper } from './report-keeper';
import { serveReport } from './serve-report';
import { writeReport } from './write-report';

let dir: string;
beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-report-'))));
afterEach(() => rm(dir, { recursive: true, force: true }));

/** What the element holds, as a browser would take it: up to the first end tag. */
const embedded = (html: string) => JSON.parse(/<script type="application\/json" id="data">(.*?)<\/script/s.exec(html)![1]) as { title: string; stages: { run: { samples: { completion: string[] } } }[] };

describe('the page', () => {
  it('holds what a run says as text, whatever it is', async () => {
    const hostile = '</script><img src=x onerror=alert(1)><!-- <script> ]]> \u2028 & " \' \ud800';
    expect(JSON.parse(embeddedJson({ hostile }))).toEqual({ hostile });
    expect(embeddedJson(hostile)).not.toMatch(/[<>&\u2028]/);
    await writeFakeRun(dir, { samples: 2, prompt: () => hostile, completion: () => hostile });
    const html = await readFile((await writeReport(dir)).path, 'utf8');
    expect(html).not.toContain('<img');
    expect(embedded(html).stages[0].run.samples.completion[0]).toBe(hostile);
    const named = renderPage({ version: 1, kind: 'run', title: '</title><script>alert(1)</script>', made: '', stages: [] }, { script: '', style: '' });
    expect(named).toContain('<title>&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt; · Espalier</title>');
  });

  it('lets nothing be loaded, and nothing run but its own script', async () => {
    await writeFakeRun(dir, { rows: 3, samples: 1 });
    const html = await readFile((await writeReport(dir)).path, 'utf8');
    expect(html).toMatch(/<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-[^']+'; base-uri 'none'; form-action 'none'">/);
    expect(html.match(/<script/g)).toHaveLength(2);
    expect(html).not.toMatch(/<(link|iframe|img|object|embed)\b|@import|url\(/);
    expect(html.includes('The charts are drawn by uPlot.') && html.includes('Permission is hereby granted')).toBe(true); // its licence
  });

  it('is written beside nothing else, and is replaced as a whole', async () => {
    await writeFakeRun(dir, { rows: 3, samples: 1 });
    await writeReport(dir);
    await writeReport(dir);
    expect((await readdir(dir)).sort()).toEqual(['config.json', 'log.jsonl', 'metrics.jsonl', 'report.html', 'samples.jsonl']);
    await rm(join(dir, 'report.html'));
    await mkdir(join(dir, 'report.html', 'in-the-way'), { recursive: true });
    await expect(writeReport(dir)).rejects.toThrow();
    expect((await readdir(dir)).filter((name) => name.includes('.tmp'))).toEqual([]);
  });
});

describe('keeping it', () => {
  it('never throws, tells the first failure, and keeps to its share of the time', async () => {
    const told: unknown[] = [];
    let written = 0;
    const failing = new ReportKeeper(dir, { onFailure: (error) => (told.push(error), Promise.reject(new Error('nobody listens'))) });
    await failing.update(); // no run in the folder
    await failing.finish();
    expect(told).toHaveLength(1);
    const slow = new ReportKeeper(dir, { share: 0.001, write: () => new Promise((resolve) => setTimeout(resolve, 20, written++)) });
    await slow.update();
    await slow.update();
    expect(written).toBe(1);
    await slow.finish();
    expect(written).toBe(2);
  });
});

describe('serving it', () => {
  it('makes the page anew when the files change, to this machine alone', async () => {
    await writeFakeRun(dir, { rows: 3, samples: 1 });
    const server = await serveReport(dir);
    try {
      expect(server.url).toBe(`http://127.0.0.1:${server.port}/`);
      const first = await fetch(server.url);
      expect([first.status, first.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
      const html = await first.text();
      expect(await (await fetch(server.url)).text()).toBe(html);
      expect((await fetch(server.url, { headers: { 'if-none-match': first.headers.get('etag')! } })).status).toBe(304);
      await writeFile(join(dir, 'samples.jsonl'), '{"step":9,"prompt":"p","completion":"new"}\n');
      expect(embedded(await (await fetch(server.url)).text()).stages[0].run.samples.completion).toEqual(['new']);
      expect(await readdir(dir)).not.toContain('report.html');
      expect((await fetch(`${server.url}etc/passwd`)).status).toBe(404);
      expect((await fetch(server.url, { method: 'POST' })).status).toBe(405);
      const status = await new Promise((resolve) => request(server.url, { headers: { host: 'evil.example' } }, (response) => resolve(response.resume().statusCode)).end());
      expect(status).toBe(403);
      await expect(serveReport(dir, { port: server.port })).rejects.toMatchObject({ code: 'io', message: expect.stringContaining('is taken') as string });
    } finally {
      await server.close();
    }
    await expect(serveReport(join(dir, 'absent'))).rejects.toMatchObject({ code: 'not_found' });
  });

  it('ends with its signal', async () => {
    await writeFakeRun(dir, { rows: 3, samples: 1 });
    const controller = new AbortController();
    const server = await serveReport(dir, { signal: controller.signal });
    controller.abort();
    await server.closed;
  });
});
