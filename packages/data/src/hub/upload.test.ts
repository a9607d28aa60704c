import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isEspalierError } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchHubFiles, listHubRepo, type HubListing, type HubSettings } from './index';
import { isForOthers, uploadFolder } from './upload';

const oid = 'd'.repeat(40);
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** A hub that takes commits: `/api/repos/create`, preupload, large-file storage, commit. */
class FakeHub {
  readonly token = 'hf_secret';
  readonly repos = new Map<string, { private: boolean; files: Map<string, Buffer> }>();
  readonly storage = new Map<string, Buffer>();
  readonly seen: { method: string; path: string; authorization: string | undefined }[] = [];
  titles: string[] = [];
  /** Called in place of the answer to large-file storage. */
  hang: ((response: ServerResponse) => void) | null = null;
  forbidden = false;
  private readonly server: Server = createServer((request, response) => void this.answer(request, response));

  async open(): Promise<string> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { pathname } = new URL(request.url!, 'http://hub');
    const json = (status: number, value: unknown) => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    this.seen.push({ method: request.method!, path: pathname, authorization: request.headers.authorization });
    const stored = /^\/storage\/(\w+)$/.exec(pathname);
    if (stored) {
      if (this.hang) return this.hang(response);
      if (createHash('sha256').update(body).digest('hex') !== stored[1]) return json(400, { error: 'another hash' });
      this.storage.set(stored[1], body);
      return void response.writeHead(200).end();
    }
    if (request.headers.authorization !== `Bearer ${this.token}`) return json(401, { error: 'Invalid credentials' });
    if (this.forbidden) return json(403, { error: 'read-only token' });
    if (pathname === '/api/repos/create') {
      const { name, organization, visibility } = JSON.parse(body.toString()) as Record<string, string>;
      const id = `${organization}/${name}`;
      if (this.repos.has(id)) return json(409, { error: 'You already created this repo' });
      this.repos.set(id, { private: visibility === 'private', files: new Map() });
      return json(200, { url: id, id });
    }
    const [, name, call] = /^\/(?:api\/(?:models|datasets)\/|datasets\/)?([\w.-]+\/[\w-]+?)(?:\.git)?\/(preupload|commit|info)\//.exec(pathname) ?? [];
    const repo = this.repos.get(name);
    if (!repo) return json(404, { error: 'Repository not found' });
    if (call === 'preupload') {
      const { files } = JSON.parse(body.toString()) as { files: { path: string }[] };
      return json(200, { files: files.map(({ path }) => ({ path, uploadMode: path.endsWith('.safetensors') ? 'lfs' : 'regular', shouldIgnore: false })) });
    }
    if (call === 'info') {
      const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
      const upload = (hash: string) => (this.storage.has(hash) ? {} : { actions: { upload: { href: `http://${request.headers.host}/storage/${hash}` } } });
      return json(200, { transfer: 'basic', objects: objects.map((one) => ({ ...one, ...upload(one.oid) })) });
    }
    for (const line of body.toString().split('\n')) {
      const { key, value } = JSON.parse(line) as { key: string; value: Record<string, string> };
      if (key === 'header') this.titles.push(value['summary']);
      if (key === 'file') repo.files.set(value['path'], Buffer.from(value['content'], 'base64'));
      if (key === 'lfsFile') repo.files.set(value['path'], this.storage.get(value['oid'])!);
    }
    return json(200, { commitOid: oid, commitUrl: `http://hub/${name}/commit/${oid}`, hookOutput: '', success: true });
  }
}

let hub: FakeHub;
let settings: HubSettings;
let dir: string;
beforeEach(async () => {
  hub = new FakeHub();
  dir = mkdtempSync(join(tmpdir(), 'espalier-upload-'));
  settings = { endpoint: await hub.open(), token: hub.token, offline: false, cacheFolder: join(dir, 'cache') };
  mkdirSync(join(dir, 'model', 'sub'), { recursive: true });
  for (const [name, text] of Object.entries({ 'config.json': '{"a":1}', 'model.safetensors': 'weights', 'optimizer.safetensors': 'moments', 'trainer_state.json': '{}', '.DS_Store': 'x', 'sub/rows.jsonl': '{}\n', 'README.md': 'é' })) writeFileSync(join(dir, 'model', name), text);
});
afterEach(() => {
  hub.close();
  rmSync(dir, { recursive: true, force: true });
});
async function refusal(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error: unknown = await promise.then(() => new Error('it was accepted'), (cause: unknown) => cause);
  if (!isEspalierError(error)) throw error;
  return error;
}

describe('a folder is sent to the hub', () => {
  it('in one commit, large files to their storage; what only the run needs stays', async () => {
    const progress: string[] = [];
    const sent = await uploadFolder(join(dir, 'model'), 'me/model', { settings, onProgress: ({ file, received, total }) => progress.push(`${file} ${received}/${total}`) });
    expect(sent).toEqual({ name: 'me/model', commit: oid, url: `${settings.endpoint}/me/model`, files: ['README.md', 'config.json', 'model.safetensors', 'sub/rows.jsonl'] });
    const { private: hidden, files } = hub.repos.get('me/model')!;
    expect(hidden).toBe(true);
    expect(Object.fromEntries([...files].map(([path, content]) => [path, content.toString()]))).toEqual({ 'README.md': 'é', 'config.json': '{"a":1}', 'model.safetensors': 'weights', 'sub/rows.jsonl': '{}\n' });
    expect(hub.titles).toEqual(['Upload model']);
    expect(progress).toEqual(['model.safetensors 0/7', 'model.safetensors 7/7']);
    expect(hub.seen.filter(({ path }) => !path.startsWith('/storage')).every(({ authorization }) => authorization === `Bearer ${hub.token}`)).toBe(true);
  });

  it('again, without what is there; through a link; as a dataset; publicly, with the files that are wanted', async () => {
    await uploadFolder(join(dir, 'model'), 'me/model', { settings });
    symlinkSync(join(dir, 'model'), join(dir, 'latest'));
    hub.seen.length = 0;
    await uploadFolder(join(dir, 'latest'), 'me/model', { settings, message: 'again' });
    expect(hub.seen.some(({ path }) => path.startsWith('/storage'))).toBe(false);
    expect(hub.titles).toEqual(['Upload model', 'again']);
    const sent = await uploadFolder(join(dir, 'model'), 'me/rows', { settings, type: 'dataset', private: false, include: (path) => path.endsWith('.jsonl') });
    expect([sent.files, sent.url, hub.repos.get('me/rows')!.private]).toEqual([['sub/rows.jsonl'], `${settings.endpoint}/datasets/me/rows`, false]);
    expect(['.git/config', 'a/.b', 'optimizer.safetensors', 'command.json'].some(isForOthers)).toBe(false);
  });

  it('is refused before anything is sent: no token, no name, no folder, no file, no network', async () => {
    const upload = (folder: string, name: string, more: Partial<HubSettings> = {}) => refusal(uploadFolder(folder, name, { settings: { ...settings, ...more } }));
    const model = join(dir, 'model');
    expect(await upload(model, 'me/model', { token: undefined })).toMatchObject({ code: 'bad_config', message: expect.stringContaining('HF_TOKEN') as string });
    expect(await upload(model, 'model')).toMatchObject({ code: 'bad_config', message: expect.stringContaining('owner/name') as string });
    expect(await upload(join(dir, 'absent'), 'me/model')).toMatchObject({ code: 'not_found' });
    expect(await upload(model, 'me/model', { offline: true })).toMatchObject({ code: 'unsupported' });
    mkdirSync(join(dir, 'empty'));
    expect(await upload(join(dir, 'empty'), 'me/model')).toMatchObject({ code: 'bad_data' });
    expect(hub.seen).toEqual([]);
  });

  it('a token that may not write, and a hub that is away, are said; the token never is', async () => {
    hub.forbidden = true;
    const refused = await refusal(uploadFolder(join(dir, 'model'), 'me/model', { settings }));
    expect(refused).toMatchObject({ code: 'not_found', message: expect.stringMatching(/sending .* to me\/model failed: .*403.*write/) as string });
    expect(refused.message).not.toContain(hub.token);
    hub.close();
    expect(await refusal(uploadFolder(join(dir, 'model'), 'me/model', { settings }))).toMatchObject({ code: 'network' });
  });
});

describe('a transfer that hangs is left, though garbage is collected meanwhile: fetch of Node 20 then forgets its signal', () => {
  const during = async <T>(call: () => Promise<T>): Promise<T> => {
    const timer = setInterval(collect, 15);
    try {
      return await call();
    } finally {
      clearInterval(timer);
    }
  };
  const aborted = () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 1000);
    return controller.signal;
  };

  it('an upload', async () => {
    hub.hang = () => undefined;
    expect(await during(() => refusal(uploadFolder(join(dir, 'model'), 'me/model', { settings, signal: aborted() })))).toMatchObject({ code: 'aborted' });
    const slow = { settings, timeout: 150 };
    expect(await during(() => refusal(uploadFolder(join(dir, 'model'), 'me/model', slow)))).toMatchObject({ code: 'network', message: expect.stringMatching(/no answer in \d+ ms/) as string });
  });

  it.each([
    ['when it is aborted', () => ({ signal: aborted() }), 'aborted'],
    ['when nothing comes', () => ({ idleTimeout: 150 }), 'nothing came for 150 ms'],
  ])('a download, in its middle, %s', async (_, options, message) => {
    const server = createServer((request, response) => {
      if (request.url!.startsWith('/api/')) return void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(request.url!.includes('/tree/') ? [{ type: 'file', path: 'a.json', size: 10, oid: 'e'.repeat(40) }] : { _id: '1', id: 'a/b', sha: oid, private: false, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00Z' }));
      const range = /^bytes=0-0$/.test(request.headers.range ?? '');
      response.writeHead(range ? 206 : 200, { etag: '"x"', 'content-length': range ? 1 : 10, ...(range ? { 'content-range': 'bytes 0-0/10' } : {}) });
      if (range) response.end('a');
      else response.write('abc');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const here = { ...settings, endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    try {
      const listing: HubListing = await listHubRepo({ type: 'model', name: 'a/b', revision: 'main' }, { settings: here });
      const failure = await during(() => fetchHubFiles(listing, ['a.json'], { settings: here, ...options() }).then(() => null, (error: unknown) => error as Error));
      expect(failure?.message).toContain(message);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});
