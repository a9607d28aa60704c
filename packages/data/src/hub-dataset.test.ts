import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isEspalierError } from '@espalier/spec';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import parquetGolden from '../fixtures/rows-parquet.json';
import { cardConfigs, chooseDataFiles } from './hub/dataset-files';
import { datasetByRef, filesByRef, isHubDatasetRef, parseHubDataset } from './index';

const commit = 'c'.repeat(40);
const fixture = (name: string) => readFileSync(fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url)));
const lines = (...ids: number[]) => Buffer.from(ids.map((id) => `{"prompt":"p${id}"}\n`).join(''));

/** A small hub. */
const repos: Record<string, { files: Record<string, Buffer>; cardData?: object; private?: boolean; lies?: boolean }> = {
  'tests/rows': { files: { 'README.md': Buffer.from('x'), 'data/train-00000-of-00002.jsonl': lines(0, 1), 'data/train-00001-of-00002.jsonl': lines(2), 'data/test.jsonl': lines(9), '../escape.jsonl': lines(8) } },
  'tests/card': { files: { 'main/a.parquet': fixture('rows-snappy.parquet'), 'main/b.csv': Buffer.from('prompt,answer\n1+1,2\n'), 'other/x.jsonl': lines(5) }, cardData: { configs: [{ config_name: 'main', default: true, data_files: [{ split: 'train', path: 'main/*.parquet' }, { split: 'test', path: ['main/b.*'] }] }, { config_name: 'other', data_files: 'other/**' }] } },
  'tests/secret': { files: { 'train.jsonl': lines(1) }, private: true },
  'tests/script': { files: { 'script.py': Buffer.from('x') } },
  'tests/liar': { files: { 'train.parquet': fixture('rows-snappy.parquet') }, lies: true },
};
const token = 'hub-token';
let server: Server;
let endpoint: string;
let log: string[] = [];
let failing = false;
let cache: string;

beforeAll(async () => {
  server = createServer((request, response) => {
    log.push(request.url!);
    if (failing) return void response.writeHead(503).end('down');
    const url = new URL(request.url!, 'http://hub');
    const api = /^\/api\/datasets\/([\w-]+\/[\w-]+)\/(revision|tree)\/(\w+)$/.exec(url.pathname);
    const file = /^\/datasets\/([\w-]+\/[\w-]+)\/resolve\/(\w+)\/(.+)$/.exec(url.pathname);
    const name = api?.[1] ?? file?.[1] ?? '';
    const repo = repos[name];
    const json = (status: number, body: unknown) => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    if (!repo || (repo.private && request.headers.authorization !== `Bearer ${token}`)) return json(401, { error: 'Repository not found' });
    const revision = api?.[3] ?? file![2];
    if (revision !== 'main' && revision !== commit) return json(404, { error: 'Invalid rev id' });
    if (api?.[2] === 'revision') return json(200, { _id: '1', id: name, sha: commit, private: false, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00Z', cardData: repo.cardData });
    if (api) return json(200, Object.entries(repo.files).map(([path, content]) => ({ type: 'file', path, size: content.length, oid: createHash('sha1').update(content).digest('hex'), ...(path.endsWith('.parquet') ? { lfs: { oid: createHash('sha256').update(content).update(repo.lies ? 'x' : '').digest('hex'), size: content.length, pointerSize: 130 } } : {}) })));
    const content = repo.files[decodeURIComponent(file![3])];
    if (!content) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const headers = { etag: `"${createHash('sha1').update(content).digest('hex')}"`, 'content-type': 'application/octet-stream' };
    if (!range) return void response.writeHead(200, { ...headers, 'content-length': content.length }).end(content);
    const end = Math.min(Number(range[2]), content.length - 1);
    const part = content.subarray(Number(range[1]), end + 1);
    response.writeHead(206, { ...headers, 'content-length': part.length, 'content-range': `bytes ${range[1]}-${end}/${content.length}` }).end(part);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  [log, failing] = [[], false];
  cache = mkdtempSync(join(tmpdir(), 'espalier-hub-data-'));
  vi.stubEnv('HF_ENDPOINT', endpoint);
  vi.stubEnv('HF_HOME', cache);
  for (const name of ['HF_TOKEN', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HF_TOKEN_PATH']) vi.stubEnv(name, '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

const prompts = async (ref: string, hub = {}) => {
  const rows = await datasetByRef(ref, { hub });
  return Array.from({ length: rows.size }, (_, i) => rows.row(i).prompt);
};
async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await promise.then(() => new Error('it was accepted'), (cause: unknown) => cause);
  if (!isEspalierError(error)) throw error;
  return error;
}

describe('datasets of the hub', () => {
  it('are fetched once, into the cache that Python uses, all shards of a split, and then opened offline', async () => {
    expect(await prompts('tests/rows')).toEqual(['p0', 'p1', 'p2']);
    const snapshot = join(cache, 'hub', 'datasets--tests--rows', 'snapshots', commit);
    expect(existsSync(join(snapshot, 'data/train-00001-of-00002.jsonl'))).toBe(true);
    expect(existsSync(join(snapshot, 'data/test.jsonl'))).toBe(false);
    expect(readFileSync(join(cache, 'hub', 'datasets--tests--rows', 'refs', 'main'), 'utf8')).toBe(commit);
    const rows = await datasetByRef('hf://datasets/tests/rows');
    expect([rows.name, rows.origin(2)]).toEqual(['tests/rows', { file: join(snapshot, 'data/train-00001-of-00002.jsonl'), line: 1 }]);
    expect(log.filter((url) => url.includes('/resolve/') && url.includes('train-00000')).length).toBeLessThanOrEqual(2); // one request for what it is, one for its bytes

    log = [];
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await prompts('tests/rows@main')).toEqual(['p0', 'p1', 'p2']);
    expect(await prompts(`hf://datasets/tests/rows@${commit}/data/train-00001-of-00002.jsonl`)).toEqual(['p2']);
    expect(log).toEqual([]);
    expect(await refusal(datasetByRef('tests/rows', { hub: { split: 'test' } }))).toMatchObject({ code: 'not_found', message: expect.stringContaining('HF_HUB_OFFLINE') as string });
  });

  it('have configurations and splits, by their card, their folders or their names', async () => {
    const rows = await datasetByRef('tests/card');
    expect(rows.size).toBe(parquetGolden.rows.length);
    expect(rows.row(3)).toEqual(parquetGolden.rows[3]);
    for (const ref of ['hf://datasets/tests/card/main/test', 'hf://datasets/tests/card/main/b.csv', 'hf://datasets/tests/card/test']) expect(await prompts(ref)).toEqual(['1+1']);
    expect(await prompts('tests/card', { split: 'test', config: 'main' })).toEqual(['1+1']);
    expect(await prompts('tests/card#config=other')).toEqual(['p5']);
    expect(await prompts('hf://datasets/tests/card/other')).toEqual(['p5']);
    expect(await prompts('hf://datasets/tests/rows/data/*.jsonl')).toHaveLength(4);
    expect(await prompts('tests/rows', { split: 'test' })).toEqual(['p9']);
    expect((await refusal(datasetByRef('tests/card', { hub: { split: 'validation' } }))).message).toMatch(/no split validation.*main\/train, main\/test, other\/train/);
    expect((await refusal(datasetByRef('hf://datasets/tests/rows/none.jsonl'))).message).toMatch(/no file or split none\.jsonl.*data\/test\.jsonl/);
    expect(await refusal(datasetByRef('tests/script'))).toMatchObject({ code: 'unsupported', message: expect.stringContaining('made by a script') as string });
  });

  it('that are private need HF_TOKEN; what the hub does not have, or lies about, is not taken', async () => {
    expect(await refusal(datasetByRef('tests/secret'))).toMatchObject({ code: 'not_found', message: expect.stringMatching(/no such dataset.*HF_TOKEN/) as string });
    vi.stubEnv('HF_TOKEN', token);
    expect(await prompts('tests/secret')).toEqual(['p1']);
    expect(await refusal(datasetByRef('tests/absent'))).toMatchObject({ code: 'not_found' });
    expect(await refusal(datasetByRef('tests/liar'))).toMatchObject({ code: 'network', message: expect.stringMatching(/train\.parquet.*SHA-256/) as string });
    expect(await refusal(datasetByRef('hf://models/a/b'))).toMatchObject({ code: 'not_found', message: expect.stringContaining('hf://datasets/owner/name') as string });
  });

  it('come from the cache when the hub is down', async () => {
    await prompts('tests/rows');
    failing = true;
    expect(await prompts('tests/rows')).toEqual(['p0', 'p1', 'p2']);
    expect(await refusal(datasetByRef('tests/card'))).toMatchObject({ code: 'network' });
  });
});

describe('references', () => {
  it('are told from files', () => {
    expect(parseHubDataset('hf://datasets/a/b@v1.0/main/train')).toEqual({ name: 'a/b', revision: 'v1.0', path: 'main/train' });
    expect(parseHubDataset('hf://datasets/a/b@refs/convert/parquet/main/train')).toEqual({ name: 'a/b', revision: 'refs/convert/parquet', path: 'main/train' });
    expect(['a/b', 'trl-lib/Capybara', 'hf://datasets/a/b'].every(isHubDatasetRef)).toBe(true);
    expect(['a', './a/b', 'a/b/c', 'a/b.jsonl', '/a/b', 'data/rows.csv', 'runs/x.parquet'].some(isHubDatasetRef)).toBe(false);
  });
  it('a folder on the disk goes before the hub, for streams too', async () => {
    const cwd = process.cwd();
    mkdirSync(join(cache, 'tests', 'rows'), { recursive: true });
    try {
      process.chdir(cache);
      expect(await filesByRef('tests/rows')).toEqual({ files: ['tests/rows'], load: {} });
      expect((await refusal(datasetByRef('tests/rows'))).message).toContain('is not a file');
    } finally {
      process.chdir(cwd);
    }
    expect((await filesByRef('hf://datasets/tests/rows')).files.map((file) => file.split('/').at(-1))).toEqual(['train-00000-of-00002.jsonl', 'train-00001-of-00002.jsonl']);
  });
  it('without a card the words in names decide (datasets: data_files patterns)', () => {
    const choose = (files: string[], selection = {}) => chooseDataFiles('a/b', files, [], selection);
    expect(choose(['x.csv', 'y.csv'])).toEqual(['x.csv', 'y.csv']);
    expect(choose(['my_train.csv', 'my_dev.csv'], { split: 'validation' })).toEqual(['my_dev.csv']);
    expect(choose(['constrained/a.csv', 'train/0.csv'])).toEqual(['train/0.csv']);
    expect(choose(['en/train.csv', 'de/train.csv'], { config: 'de' })).toEqual(['de/train.csv']);
    expect(choose(['train.csv', 'train-1.parquet', 'train-2.parquet', 'dataset_info.json'])).toEqual(['train-1.parquet', 'train-2.parquet']);
    expect(cardConfigs({ configs: [{ config_name: 'x', data_dir: 'd', data_files: '*.csv' }, 3, { config_name: 4 }] })).toEqual([{ name: 'x', default: false, files: [{ split: 'train', patterns: ['d/*.csv'] }] }]);
  });
});
