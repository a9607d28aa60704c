import { isEspalierError } from '@espalier/spec';
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { hubSettings } from './hub-settings';
import { openCheckpoint } from './open-checkpoint';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const commit = 'a'.repeat(40);

/** A small hub: public `tests/llama` and `tests/sharded`, `tests/secret` for those with the token, `tests/quants` with two GGUF files, `tests/liar` whose weights are not what it lists. */
const repos: Record<string, { folder: string; files: string[]; private?: boolean; lies?: boolean }> = {
  'tests/llama': { folder: 'llama', files: readdirSync(join(fixtures, 'llama')) },
  'tests/sharded': { folder: 'sharded', files: readdirSync(join(fixtures, 'sharded')) },
  'tests/secret': { folder: 'qwen2', files: readdirSync(join(fixtures, 'qwen2')), private: true },
  'tests/quants': { folder: 'gguf', files: ['smollm2.gguf', 'qwen3.gguf'] },
  'tests/liar': { folder: 'llama', files: readdirSync(join(fixtures, 'llama')), lies: true },
};
const token = 'not-of-the-usual-form';
let server: Server;
let endpoint: string;
let log: { url: string; authorization: string | undefined }[] = [];
let mood: 'well' | 'silent' | 'failing' | 'cut' = 'well';
let cache: string;

function answer(request: IncomingMessage): { status: number; headers?: Record<string, string>; body: Buffer } {
  const url = new URL(request.url!, 'http://hub');
  const api = /^\/api\/models\/([\w-]+\/[\w-]+)\/(revision|tree)\/(\w+)$/.exec(url.pathname);
  const file = /^\/([\w-]+\/[\w-]+)\/resolve\/(\w+)\/(.+)$/.exec(url.pathname);
  const name = api?.[1] ?? file?.[1] ?? '';
  const repo = repos[name];
  const json = { 'content-type': 'application/json' };
  if (!repo || (repo.private && request.headers.authorization !== `Bearer ${token}`)) return { status: 401, headers: json, body: Buffer.from('{"error":"Repository not found"}') };
  const revision = api?.[3] ?? file?.[2];
  if (revision !== 'main' && revision !== commit) return { status: 404, headers: json, body: Buffer.from('{"error":"Invalid rev id"}') };
  if (api?.[2] === 'revision') return { status: 200, headers: json, body: Buffer.from(JSON.stringify({ _id: '1', id: name, sha: commit, private: false, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00Z' })) };
  if (api) return { status: 200, headers: json, body: Buffer.from(JSON.stringify(repo.files.map((path) => entry(repo, path)).concat([{ type: 'file', path: '../escape.json', size: 1, oid: 'b'.repeat(40) }]))) };
  if (!file || !repo.files.includes(file[3])) return { status: 404, headers: { 'x-error-code': 'EntryNotFound' }, body: Buffer.alloc(0) };
  const content = readFileSync(join(fixtures, repo.folder, file[3]));
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  const headers = { etag: `"${createHash('sha1').update(content).digest('hex')}"`, 'content-type': 'application/octet-stream' };
  if (!range) return { status: 200, headers, body: content };
  const end = Math.min(Number(range[2]), content.length - 1);
  return { status: 206, headers: { ...headers, 'content-range': `bytes ${range[1]}-${end}/${content.length}` }, body: content.subarray(Number(range[1]), end + 1) };
}

function entry(repo: { folder: string; lies?: boolean }, path: string): object {
  const content = readFileSync(join(fixtures, repo.folder, path));
  const oid = createHash('sha1').update(content).digest('hex');
  if (!path.endsWith('.safetensors')) return { type: 'file', path, size: content.length, oid };
  const sha256 = createHash('sha256').update(content).update(repo.lies ? 'x' : '').digest('hex');
  return { type: 'file', path, size: content.length, oid, lfs: { oid: sha256, size: content.length, pointerSize: 130 } };
}

beforeAll(async () => {
  server = createServer((request, response) => {
    log.push({ url: request.url!, authorization: request.headers.authorization });
    if (mood === 'silent') return;
    if (mood === 'failing') return void response.writeHead(503).end('down');
    const { status, headers, body } = answer(request);
    response.writeHead(status, { ...headers, 'content-length': String(body.length) });
    if (mood === 'cut' && request.url!.includes('model.safetensors') && body.length > 1000) {
      response.write(body.subarray(0, 1000));
      return void setTimeout(() => response.destroy(), 20);
    }
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  log = [];
  mood = 'well';
  cache = mkdtempSync(join(tmpdir(), 'espalier-hub-'));
  vi.stubEnv('HF_ENDPOINT', endpoint);
  vi.stubEnv('HF_HOME', cache);
  for (const name of ['HF_TOKEN', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE', 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HF_TOKEN_PATH']) vi.stubEnv(name, '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  try {
    await promise;
  } catch (error) {
    if (!isEspalierError(error)) throw error;
    expect(error.message).not.toContain('\n');
    return error;
  }
  throw new Error('it was accepted');
}

describe('models from the hub', () => {
  it('are fetched once, into the cache that Python uses, and then opened offline', async () => {
    const out = vi.spyOn(process.stdout, 'write');
    const progress: string[] = [];
    const first = await openCheckpoint('tests/llama', { onProgress: ({ file, received, total }) => received === total && progress.push(file) });
    expect(out).not.toHaveBeenCalled(); // standard output belongs to --json
    out.mockRestore();
    expect(first.path).toBe(join(cache, 'hub', 'models--tests--llama', 'snapshots', commit));
    expect(readFileSync(join(cache, 'hub', 'models--tests--llama', 'refs', 'main'), 'utf8')).toBe(commit);
    expect(readdirSync(first.path).sort()).toEqual(['chat_template.jinja', 'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json']);
    expect(progress.at(-1)).toBe('model.safetensors');
    expect(first.tokenizer.vocabSize).toBe(280);
    expect(first.read('model.norm.weight')).toHaveLength(24);
    first.close();

    log = [];
    (await openCheckpoint('tests/llama')).close();
    expect(log.filter(({ url }) => url.includes('/resolve/'))).toEqual([]);

    log = [];
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    (await openCheckpoint('tests/llama')).close();
    (await openCheckpoint(`tests/llama@${commit}`)).close();
    expect(log).toEqual([]);
    expect(await refusal(openCheckpoint('tests/sharded'))).toMatchObject({ code: 'not_found', message: expect.stringContaining('HF_HUB_OFFLINE') as string });
  });

  it('may be sharded, or one GGUF file of several', async () => {
    const sharded = await openCheckpoint('tests/sharded');
    expect(sharded.files).toHaveLength(4);
    sharded.close();
    expect((await refusal(openCheckpoint('tests/quants'))).message).toMatch(/2 GGUF files.*tests\/quants\/smollm2\.gguf/);
    const one = await openCheckpoint('tests/quants/qwen3.gguf');
    expect([one.format, one.config.architecture]).toEqual(['gguf', 'qwen3']);
    one.close();
    expect((await refusal(openCheckpoint('tests/quants/other.gguf'))).message).toMatch(/has no file other\.gguf.*it has smollm2\.gguf, qwen3\.gguf/);
  });

  it('that are private need HF_TOKEN, which goes to the endpoint', async () => {
    expect(await refusal(openCheckpoint('tests/secret'))).toMatchObject({ code: 'not_found', message: expect.stringMatching(/tests\/secret.*HF_TOKEN/) as string });
    expect(log.every(({ authorization }) => authorization === undefined)).toBe(true);
    vi.stubEnv('HF_TOKEN', token);
    const secret = await openCheckpoint('tests/secret');
    expect(secret.config.architecture).toBe('qwen2');
    secret.close();
    expect(log.slice(-5).every(({ authorization }) => authorization === `Bearer ${token}`)).toBe(true);
  });

  it('that do not exist, or not in that revision, are not found', async () => {
    expect(await refusal(openCheckpoint('tests/absent'))).toMatchObject({ code: 'not_found', message: expect.stringContaining('tests/absent') as string });
    expect(await refusal(openCheckpoint('tests/llama@v9'))).toMatchObject({ code: 'not_found' });
  });

  it('whose bytes are not those that the hub lists are not kept', async () => {
    expect(await refusal(openCheckpoint('tests/liar'))).toMatchObject({ code: 'network', message: expect.stringMatching(/model\.safetensors.*SHA-256/) as string });
    const blobs = readdirSync(join(cache, 'hub', 'models--tests--liar', 'blobs'));
    expect(blobs.some((name) => name.includes('incomplete') || name.length === 64)).toBe(false);
    mood = 'cut';
    expect(await refusal(openCheckpoint('tests/llama'))).toMatchObject({ code: 'network' });
    mood = 'well';
    (await openCheckpoint('tests/llama')).close();
  });

  it('come from the cache when the hub is down, and not at all when they are not cached', async () => {
    (await openCheckpoint('tests/llama')).close();
    mood = 'failing';
    (await openCheckpoint('tests/llama')).close();
    expect(await refusal(openCheckpoint('tests/sharded'))).toMatchObject({ code: 'network', message: expect.stringContaining(endpoint) as string });
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    expect(await refusal(openCheckpoint('tests/sharded'))).toMatchObject({ code: 'network', message: expect.stringMatching(/ECONNREFUSED|bad port/) as string });
  });

  it('are not waited for without end, nor after an abort', async () => {
    mood = 'silent';
    expect(await refusal(openCheckpoint('tests/llama', { timeout: 50 }))).toMatchObject({ code: 'network', message: expect.stringContaining('no answer in 50 ms') as string });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    expect(await refusal(openCheckpoint('tests/llama', { signal: controller.signal }))).toMatchObject({ code: 'aborted' });
  });
});

describe('hubSettings', () => {
  it('obeys the variables of huggingface_hub', () => {
    expect(hubSettings({ HF_HOME: '/h', HF_ENDPOINT: 'https://mirror.example/', HF_TOKEN: ' t ', HF_HUB_OFFLINE: 'yes' })).toEqual({ endpoint: 'https://mirror.example', token: 't', offline: true, cacheFolder: join('/h', 'hub') });
    expect(hubSettings({ HF_HUB_CACHE: '/c', XDG_CACHE_HOME: '/x', HF_HUB_OFFLINE: '0' })).toMatchObject({ endpoint: 'https://huggingface.co', token: undefined, offline: false, cacheFolder: '/c' });
    expect(hubSettings({ XDG_CACHE_HOME: '/x' }).cacheFolder).toBe(join('/x', 'huggingface', 'hub'));
  });
});
