import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Ways in which a server fails. */
export const faults = ['drop before', 'drop inside', 'status 500', 'status 503', 'full', 'hang', 'hang inside', 'half JSON', 'no choices', 'half the samples', 'error event', 'aborted', 'html', 'misfit'] as const;
export type Fault = (typeof faults)[number];

export interface FaultyServer {
  url: string;
  /** What fails at the next requests for completions, in their order; null: nothing. */
  plan: (Fault | null)[];
  /** In place of a plan. */
  choose: ((body: CompletionRequest) => Fault | null) | null;
  requests: number;
  /** Most completions under way at once. */
  mostAtOnce: number;
  seen: { headers: IncomingMessage['headers']; path: string; body: CompletionRequest }[];
  close(): Promise<void>;
}

export interface CompletionRequest {
  model: string;
  prompt: number[] | string;
  max_tokens: number;
  n?: number;
  seed: number;
  stream?: boolean;
  logprobs?: number;
  return_token_ids?: boolean;
  prompt_logprobs?: number;
  echo?: boolean;
  [field: string]: unknown;
}

/** What the server's "model" says: determined by seed, sample and position. */
export const tokenOf = (seed: number, index: number, t: number): number => 10 + ((seed * 7 + index * 13 + t * 3) % 90);
export const logpOf = (token: number): number => -token / 32; // exact in fp32

export interface FaultyServerOptions {
  /** Fields that are answered with 400, as hosted services do. */
  refuses?: readonly string[];
  /** Takes prompts as text alone. */
  textOnly?: boolean;
  /** Milliseconds that an answer takes. */
  delay?: number;
}

/** An OpenAI-compatible server that fails as it is told. */
export async function faultyServer(options: FaultyServerOptions = {}): Promise<FaultyServer> {
  let atOnce = 0;
  const state: FaultyServer = { url: '', plan: [], choose: null, requests: 0, mostAtOnce: 0, seen: [], close: async () => undefined };
  const json = (response: ServerResponse, status: number, value: unknown, headers: Record<string, string> = {}) => response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
  const refuse = (response: ServerResponse, message: string) => json(response, 400, { error: { message } });

  async function answer(request: IncomingMessage, response: ServerResponse, body: CompletionRequest): Promise<void> {
    const path = request.url!;
    state.seen.push({ headers: request.headers, path, body });
    if (path === '/v1/models') return void json(response, 200, { data: [{ id: 'fake', owned_by: 'fake' }] });
    if (path !== '/v1/completions') return void json(response, 404, { error: { message: `no ${path}` } });
    if (body.model !== 'fake') return void json(response, 404, { error: { message: 'no such model' } });
    for (const field of options.refuses ?? []) if (body[field] !== undefined) return void refuse(response, `unrecognized request argument: ${field}`);
    if (options.textOnly && typeof body.prompt !== 'string') return void refuse(response, 'prompt must be text');
    state.requests++;
    state.mostAtOnce = Math.max(state.mostAtOnce, ++atOnce);
    response.once('close', () => atOnce--);
    if (options.delay) await new Promise((resolve) => setTimeout(resolve, options.delay));
    const fault = state.choose ? state.choose(body) : (state.plan.shift() ?? null);
    if (fault === 'drop before') return void request.socket.destroy();
    if (fault === 'status 500' || fault === 'status 503') return void json(response, Number(fault.slice(7)), { error: { message: `it failed; key ${request.headers.authorization ?? ''}` } });
    if (fault === 'full') return void json(response, 429, { error: { message: 'full' } }, { 'retry-after': '0' });
    if (fault === 'hang') return;
    if (fault === 'html') return void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>a proxy says hello</html>');
    if (fault === 'no choices') return void json(response, 200, { object: 'text_completion' });

    const n = fault === 'half the samples' ? Math.floor((body.n ?? 1) / 2) : (body.n ?? 1);
    const choices = Array.from({ length: n }, (_, index) => {
      const tokens = Array.from({ length: body.max_tokens }, (_, t) => tokenOf(body.seed, index, t));
      return {
        index,
        text: tokens.map((token) => String.fromCharCode(token + 20)).join(''),
        finish_reason: fault === 'aborted' ? 'abort' : 'length',
        ...(body.return_token_ids && { token_ids: tokens }),
        logprobs: body.logprobs === undefined ? null : { token_logprobs: tokens.map(logpOf).slice(fault === 'misfit' ? 1 : 0), tokens: tokens.map(String) },
        ...(body.prompt_logprobs !== undefined && { prompt_logprobs: (body.prompt as number[]).map((token, t) => (t === 0 ? null : { [token]: { logprob: logpOf(token) } })) }),
      };
    });
    if (!body.stream) {
      const text = JSON.stringify({ object: 'text_completion', choices });
      if (fault === 'drop inside' || fault === 'hang inside' || fault === 'half JSON' || fault === 'error event') {
        const half = text.slice(0, text.length / 2);
        if (fault === 'half JSON' || fault === 'error event') return void response.writeHead(200, { 'content-type': 'application/json' }).end(half);
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': String(text.length) }).write(half);
        if (fault === 'drop inside') setTimeout(() => request.socket.destroy(), 5);
        return;
      }
      return void response.writeHead(200, { 'content-type': 'application/json' }).end(text);
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    const pieces = choices.flatMap((choice) =>
      Array.from({ length: body.max_tokens }, (_, t) => ({
        index: choice.index,
        text: choice.text[t],
        finish_reason: t === body.max_tokens - 1 ? choice.finish_reason : null,
        ...(choice.token_ids && { token_ids: [choice.token_ids[t]] }),
        logprobs: choice.logprobs && { token_logprobs: choice.logprobs.token_logprobs.slice(t, t + 1), tokens: [choice.logprobs.tokens[t]] },
      })),
    );
    const events = pieces.map((piece) => `data: ${JSON.stringify({ choices: [piece] })}\n\n`);
    const half = events.slice(0, Math.ceil(events.length / 2)).join('');
    if (fault === 'drop inside') return void (response.write(half), setTimeout(() => request.socket.destroy(), 5));
    if (fault === 'hang inside') return void response.write(half);
    if (fault === 'half JSON') return void response.end(`${half}data: {"choices": [{"ind\n\n`);
    if (fault === 'error event') return void response.end(`${half}data: {"error": {"message": "it broke"}}\n\ndata: [DONE]\n\n`);
    response.end(`${events.join('')}data: [DONE]\n\n`);
  }

  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk: Buffer) => (text += chunk.toString()));
    request.on('end', () => void answer(request, response, (text ? JSON.parse(text) : {}) as CompletionRequest));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  state.close = () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    return closed;
  };
  return state;
}
