import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { EspalierError } from '@espalier/spec';
import { isLoopback } from './auth';
import { createServer, type ServerOptions } from './create-server';
import { resolveLimits } from './limits';

export interface ServeOptions extends Omit<ServerOptions, 'loopbackNames'> {
  /** Default 127.0.0.1: this machine alone. */
  host?: string;
  /** 0: any that is free. Default 8000. */
  port?: number;
  /** Bearer token. Default: the environment variable `ESPALIER_API_KEY`, if it is set. Required where the host is not this machine. */
  apiKey?: string;
  /** Drains the server when it fires: no new requests, what runs ends, then it closes. */
  signal?: AbortSignal;
}

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:8000`. */
  url: string;
  port: number;
  /** Samples that run or wait. */
  readonly inFlight: number;
  /** Takes no new requests; resolves when what runs has ended and every connection is closed. */
  drain(): Promise<void>;
  /** Ends what runs and closes every connection. */
  close(): Promise<void>;
  /** Resolves when it is closed, in whatever way. */
  closed: Promise<void>;
}

/**
 * Serves models over HTTP.
 * @throws EspalierError `usage` where it would listen to others without a token, `io` when the address cannot be listened on, `bad_config`
 * @example
 * const engine = await openModel({ model: 'runs/sft/checkpoints/latest' });
 * const server = await serve({ models: [{ id: 'mine', engine }], port: 8000 });
 * console.log(server.url);
 * await server.close();
 * await engine.close();
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', port = 8000, signal } = options;
  const apiKey = options.apiKey ?? (process.env['ESPALIER_API_KEY'] || undefined);
  const local = isLoopback(host);
  if (apiKey !== undefined && !/^[\x21-\x7e]+$/.test(apiKey)) throw new EspalierError('usage', 'the API key holds spaces or characters that no header can carry', { fix: 'use printable ASCII' });
  if (!local && apiKey === undefined) throw new EspalierError('usage', `the server would listen on ${host}, where others can reach it, without a token`, { fix: 'set ESPALIER_API_KEY, or leave the host at 127.0.0.1' });
  const { stallTimeoutMs } = resolveLimits(options.limits);
  const server = createServer({ ...options, apiKey, loopbackNames: local && apiKey === undefined });

  const http = createAdaptorServer({ fetch: (request, env) => server.fetch(request, env), overrideGlobalObjects: false, hostname: host }) as Server;
  http.headersTimeout = 20_000;
  http.requestTimeout = 60_000;
  let answering = 0;
  let idle = () => {};
  http.prependListener('request', (_request, response) => {
    answering++;
    response.once('close', () => {
      answering--;
      idle();
    });
    // A whole answer that nobody fetches must not hold its connection for ever.
    response.once('prefinish', () => {
      const timer = setTimeout(() => response.destroy(), stallTimeoutMs);
      timer.unref();
      response.once('close', () => clearTimeout(timer));
    });
  });
  await listen(http, host, port);
  const address = http.address() as AddressInfo;
  const closed = new Promise<void>((resolve) => http.once('close', () => resolve()));
  const end = async () => {
    if (http.listening) http.close();
    http.closeIdleConnections();
    const timer = setInterval(() => http.closeIdleConnections(), 50);
    await closed;
    clearInterval(timer);
  };

  let draining: Promise<void> | null = null;
  const drain = () =>
    (draining ??= (async () => {
      await server.drain();
      while (answering > 0) await new Promise<void>((resolve) => (idle = resolve));
      await server.stop(); // adapters that clients loaded
      await end();
    })());
  let closing: Promise<void> | null = null;
  const close = () =>
    (closing ??= (async () => {
      await server.stop();
      http.closeAllConnections();
      await end();
    })());
  const onSignal = () => void drain();
  if (signal?.aborted) onSignal();
  else signal?.addEventListener('abort', onSignal, { once: true });
  void closed.then(() => signal?.removeEventListener('abort', onSignal));
  return {
    url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`,
    port: address.port,
    get inFlight() {
      return server.inFlight;
    },
    drain,
    close,
    closed,
  };
}

function listen(http: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'the port is taken' : error.code === 'EACCES' ? 'this user may not' : error.message;
      reject(new EspalierError('io', `cannot listen on ${host}:${port}: ${why}`, { cause: error, fix: 'choose another port, or 0 for any' }));
    });
    http.listen(port, host, resolve);
  });
}
