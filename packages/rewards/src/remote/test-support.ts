import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Ways in which a server of rewards fails. */
export const faults = ['drop before', 'drop inside', 'status 500', 'status 503', 'full', 'hang', 'hang inside', 'half JSON', 'html', 'too few', 'too many', 'NaN', 'infinite', 'text', 'no rewards', 'bad component', 'refuse', 'unauthorised', 'redirect'] as const;
export type Fault = (typeof faults)[number];

interface Body {
  samples: { completion: string; group: string; row: Record<string, unknown> }[];
  [field: string]: unknown;
}

export interface FaultyRewardServer {
  url: string;
  /** What fails at the next requests, in their order; null: nothing. */
  plan: (Fault | null)[];
  /** In place of a plan. */
  choose: ((body: Body) => Fault | null) | null;
  seen: { headers: IncomingMessage['headers']; body: Body }[];
  mostAtOnce: number;
  close(): Promise<void>;
}

/** Scores a completion by its length; `{}` is not applicable. Fails as it is told. */
export async function faultyRewardServer(): Promise<FaultyRewardServer> {
  const state: FaultyRewardServer = { url: '', plan: [], choose: null, seen: [], mostAtOnce: 0, close: async () => undefined };
  let atOnce = 0;
  const json = (response: ServerResponse, status: number, text: string, headers: Record<string, string> = {}) => response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(text);

  async function answer(request: IncomingMessage, response: ServerResponse, body: Body): Promise<void> {
    state.seen.push({ headers: request.headers, body });
    state.mostAtOnce = Math.max(state.mostAtOnce, ++atOnce);
    response.once('close', () => atOnce--);
    await new Promise((resolve) => setImmediate(resolve));
    const fault = state.choose ? state.choose(body) : (state.plan.shift() ?? null);
    const rewards: unknown[] = body.samples.map(({ completion }) => (completion === '{}' ? null : completion === 'parts' ? { total: 1, components: { a: 0.5 }, note: 'why' } : completion.length));
    const whole = (list: readonly unknown[]) => JSON.stringify({ rewards: list });
    switch (fault) {
      case 'drop before':
        return void request.socket.destroy();
      case 'drop inside':
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
        response.write('{"rewards": [');
        return void setImmediate(() => request.socket.destroy());
      case 'status 500':
        return void json(response, 500, `it failed; ${request.headers.authorization ?? ''}`);
      case 'status 503':
        return void json(response, 503, 'not now');
      case 'full':
        return void json(response, 429, 'full', { 'retry-after': '0' });
      case 'hang':
        return;
      case 'hang inside':
        response.writeHead(200, { 'content-type': 'application/json' });
        return void response.write('{"rewards": [');
      case 'half JSON':
        return void json(response, 200, whole(rewards).slice(0, -3));
      case 'html':
        return void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>a proxy says hello</html>');
      case 'too few':
        return void json(response, 200, whole(rewards.slice(1)));
      case 'too many':
        return void json(response, 200, whole([...rewards, 1]));
      case 'NaN':
        return void json(response, 200, `{"rewards": [${rewards.map(() => 'NaN').join(', ')}]}`);
      case 'infinite':
        return void json(response, 200, `{"rewards": [${rewards.map(() => '1e999').join(', ')}]}`);
      case 'text':
        return void json(response, 200, whole(rewards.map(String)));
      case 'no rewards':
        return void json(response, 200, '{"scores": []}');
      case 'bad component':
        return void json(response, 200, whole(rewards.map(() => ({ total: 1, components: { a: 'b' } }))));
      case 'refuse':
        return void json(response, 422, `not understood; ${request.headers.authorization ?? ''}`);
      case 'unauthorised':
        return void json(response, 401, 'who are you?');
      case 'redirect':
        return void json(response, 302, '', { location: 'http://127.0.0.1:1/elsewhere' });
      case null:
        return void json(response, 200, whole(rewards));
    }
  }

  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => void answer(request, response, JSON.parse(Buffer.concat(chunks).toString()) as Body));
    request.on('error', () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/score`;
  state.close = () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return state;
}
