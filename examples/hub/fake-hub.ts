import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A hub in a hundred lines, for the test: repositories are made, take a commit, and give their files back. */
export async function openFakeHub(token: string): Promise<{ endpoint: string; close: () => void }> {
  const repositories = new Map<string, Map<string, Buffer>>();
  const storage = new Map<string, Buffer>();
  const commit = createHash('sha1').update('commit').digest('hex');

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { pathname } = new URL(request.url!, 'http://hub');
    const json = (status: number, value: unknown) => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));

    const stored = /^\/storage\/(\w+)$/.exec(pathname)?.[1];
    if (stored !== undefined) {
      storage.set(stored, body);
      return void response.writeHead(200).end();
    }
    if (request.headers.authorization !== `Bearer ${token}`) return json(401, { error: 'Invalid credentials' });
    if (pathname === '/api/repos/create') {
      const { name, organization } = JSON.parse(body.toString()) as { name: string; organization: string };
      repositories.set(`${organization}/${name}`, new Map());
      return json(200, { url: `${organization}/${name}`, id: `${organization}/${name}` });
    }
    const [, name, call, path] = /^\/(?:api\/models\/)?([\w.-]+\/[\w-]+)(?:\.git)?\/(preupload|commit|info|revision|tree|resolve)\/(?:\w+\/)?(.*)$/.exec(pathname) ?? [];
    const files = repositories.get(name);
    if (!files) return json(404, { error: 'Repository not found' });
    const largeFile = (file: string) => file.endsWith('.safetensors');
    switch (call) {
      case 'preupload': {
        const { files: asked } = JSON.parse(body.toString()) as { files: { path: string }[] };
        return json(200, { files: asked.map((file) => ({ path: file.path, uploadMode: largeFile(file.path) ? 'lfs' : 'regular', shouldIgnore: false })) });
      }
      case 'info': {
        const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] };
        return json(200, { transfer: 'basic', objects: objects.map((one) => ({ ...one, actions: { upload: { href: `http://${request.headers.host}/storage/${one.oid}` } } })) });
      }
      case 'commit': {
        for (const line of body.toString().split('\n')) {
          const { key, value } = JSON.parse(line) as { key: string; value: { path: string; content: string; oid: string } };
          if (key === 'file') files.set(value.path, Buffer.from(value.content, 'base64'));
          if (key === 'lfsFile') files.set(value.path, storage.get(value.oid)!);
        }
        return json(200, { commitOid: commit, commitUrl: `/${name}/commit/${commit}`, hookOutput: '', success: true });
      }
      case 'revision':
        return json(200, { _id: '1', id: name, sha: commit, private: true, downloads: 0, likes: 0, lastModified: '2024-01-01T00:00:00Z' });
      case 'tree':
        return json(200, [...files].map(([file, content]) => ({ type: 'file', path: file, size: content.length, oid: createHash('sha1').update(content).digest('hex'), ...(largeFile(file) ? { lfs: { oid: createHash('sha256').update(content).digest('hex'), size: content.length, pointerSize: 130 } } : {}) })));
      default: {
        const content = files.get(decodeURIComponent(path));
        if (!content) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
        const etag = { etag: `"${createHash('sha1').update(content).digest('hex')}"` };
        const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
        if (!range) return void response.writeHead(200, { ...etag, 'content-length': content.length }).end(content);
        const [begin, end] = [Number(range[1]), Math.min(Number(range[2]), content.length - 1)];
        return void response.writeHead(206, { ...etag, 'content-length': end - begin + 1, 'content-range': `bytes ${begin}-${end}/${content.length}` }).end(content.subarray(begin, end + 1));
      }
    }
  }

  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
