import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { EspalierError } from '@espalier/spec';
import { runSignature } from './run-signature';
import { reportHtml } from './write-report';

export interface ServeReportOptions {
  /** 0, the default: any that is free. */
  port?: number;
  /** Ends the server. */
  signal?: AbortSignal;
}

export interface ReportServer {
  url: string;
  port: number;
  close(): Promise<void>;
  /** Resolves when it has ended. */
  closed: Promise<void>;
}

/**
 * Serves the page of a run to browsers of this machine. It is made anew when it is asked for and the run's files have changed; the folder is not written to.
 * @throws EspalierError `not_found` when the folder holds no run, `io` when the port is taken
 * @example
 * const server = await serveReport('runs/sums');
 * console.log(server.url);
 */
export async function serveReport(dir: string, options: ServeReportOptions = {}): Promise<ReportServer> {
  const current = pageOf(dir);
  await current(); // a folder without a run is found now
  const server = createServer((request, response) => {
    answer(request, response, current).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' });
      response.end(`the report cannot be made: ${error instanceof Error ? error.message : String(error)}\n`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(new EspalierError('io', error.code === 'EADDRINUSE' ? `port ${options.port} is taken` : `cannot listen on port ${options.port}: ${error.message}`, { fix: 'another port, or 0 for any that is free', cause: error }));
    });
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const closed = new Promise<void>((resolve) => void server.once('close', resolve));
  const close = () => {
    server.close();
    server.closeAllConnections();
    return closed;
  };
  if (options.signal?.aborted) void close();
  options.signal?.addEventListener('abort', () => void close(), { once: true });
  return { url: `http://127.0.0.1:${port}/`, port, close, closed };
}

interface Page {
  body: Buffer;
  tag: string;
}

/** The page as the files are now; asked for twice at once, it is made once. */
function pageOf(dir: string): () => Promise<Page> {
  let made: { signature: string; page: Promise<Page> } | undefined;
  return async () => {
    const signature = await runSignature(dir);
    if (made?.signature !== signature) {
      const page = reportHtml(dir).then((html) => ({ body: Buffer.from(html), tag: `"${createHash('sha256').update(html).digest('base64url')}"` }));
      made = { signature, page };
      page.catch(() => (made = undefined));
    }
    return made!.page;
  };
}

async function answer(request: IncomingMessage, response: ServerResponse, current: () => Promise<Page>): Promise<void> {
  const refuse = (status: number, text: string) => response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
  // A page of another site that had its name point here would ask under that name.
  if (!/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/i.test(request.headers.host ?? '')) return void refuse(403, 'this server answers to 127.0.0.1 and localhost');
  if (request.method !== 'GET' && request.method !== 'HEAD') return void refuse(405, 'GET and HEAD');
  if (request.url !== '/' && !request.url?.startsWith('/?')) return void refuse(404, 'there is one page: /');
  const { body, tag } = await current();
  const headers = { 'cache-control': 'no-cache', etag: tag, 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'content-security-policy': "frame-ancestors 'none'" };
  if (request.headers['if-none-match'] === tag) return void response.writeHead(304, headers).end();
  response.writeHead(200, { ...headers, 'content-type': 'text/html; charset=utf-8', 'content-length': body.length });
  response.end(request.method === 'HEAD' ? undefined : body);
}
