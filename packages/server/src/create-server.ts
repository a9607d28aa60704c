import { setMaxListeners } from 'node:events';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { adapterRoutes, type AdapterLoading } from './adapters';
import { Admission } from './admission';
import { bearerAuth, loopbackNamesOnly } from './auth';
import { chatCompletions } from './chat-completions';
import { completions } from './completions';
import type { RequestContext, ServerState } from './context';
import { HttpError, toHttpError } from './http-error';
import { resolveLimits, type ServerLimits } from './limits';
import { ServerMetrics } from './metrics';
import { Models, type ServedModel } from './models';
import { detokenize, tokenize } from './tokenize';

export interface ServerOptions {
  /** The first one serves requests that name none. */
  models: readonly ServedModel[];
  limits?: Partial<ServerLimits>;
  /** Bearer token that requests must carry. Default: none. */
  apiKey?: string;
  /** Answer to the names of this machine only. Default false. */
  loopbackNames?: boolean;
  /** Lets clients load adapters. Default: they cannot. */
  adapters?: AdapterLoading;
  /** Told of failures of the server itself (status 500). Default: standard error. */
  onError?(error: unknown): void;
}

export interface EspalierServer {
  /** Answers one request: for tests, and for frameworks that speak fetch. */
  fetch(request: Request, env?: object): Response | Promise<Response>;
  /** Samples that run or wait. */
  readonly inFlight: number;
  /** Takes no new requests (503); resolves when what runs has ended. */
  drain(): Promise<void>;
  /** Ends what runs. The engines stay open: they belong to whoever opened them, adapters that clients loaded excepted. */
  stop(): Promise<void>;
}

/**
 * An OpenAI-compatible server without a socket: completions, chat, models, tokenize, health, metrics.
 * @throws EspalierError `bad_config`
 * @example
 * const server = createServer({ models: [{ id: 'tiny', engine }] });
 * const response = await server.fetch(new Request('http://localhost/v1/models'));
 */
export function createServer(options: ServerOptions): EspalierServer {
  const limits = resolveLimits(options.limits);
  const stopping = new AbortController();
  setMaxListeners(0, stopping.signal); // every request listens
  const state: ServerState = {
    models: new Models(options.models),
    limits,
    admission: new Admission(limits.maxQueue),
    metrics: new ServerMetrics(),
    stopped: stopping.signal,
    onError: options.onError ?? ((error) => console.error(error)),
  };
  const own = new Set(options.models.map(({ engine }) => engine));
  const app = new Hono<{ Bindings: RequestContext['env'] }>();

  app.use(async (c, next) => {
    const start = performance.now();
    await next();
    const route = known.has(c.req.path) ? c.req.path : c.req.path.startsWith('/v1/models/') ? '/v1/models/{id}' : 'other';
    state.metrics.request(route, c.res.status, (performance.now() - start) / 1000);
  });
  if (options.loopbackNames) app.use(loopbackNamesOnly);
  if (options.apiKey !== undefined) app.use(bearerAuth(options.apiKey));
  app.use(
    bodyLimit({
      maxSize: limits.maxBodyBytes,
      onError: () => {
        throw new HttpError(413, `the body is larger than ${limits.maxBodyBytes} bytes`, { code: 'body_too_large', headers: { connection: 'close' } });
      },
    }),
  );

  const known = new Set<string>();
  const route = (method: 'GET' | 'POST', path: string, handler: (c: RequestContext) => Response | Promise<Response>) => {
    known.add(path);
    app.on(method, path, (c) => handler(c));
    app.all(path, () => {
      throw new HttpError(405, `${path} takes ${method}`, { headers: { allow: method } });
    });
  };
  const modelObject = ({ id, root, parent, created, engine }: ReturnType<Models['get']>) => ({ id, object: 'model', created, owned_by: 'espalier', root: root ?? id, parent: parent ?? null, max_model_len: engine.info.maxPositions });
  route('POST', '/v1/completions', (c) => completions(state, c));
  route('POST', '/v1/chat/completions', (c) => chatCompletions(state, c));
  route('GET', '/v1/models', (c) => c.json({ object: 'list', data: state.models.list().map(modelObject) }));
  route('GET', '/v1/models/:id{.+}', (c) => c.json(modelObject(state.models.get(c.req.param('id')!))));
  route('POST', '/tokenize', (c) => tokenize(state, c));
  route('POST', '/detokenize', (c) => detokenize(state, c));
  route('GET', '/health', (c) => (state.admission.draining ? c.json({ status: 'draining' }, 503) : c.json({ status: 'ok' })));
  route('GET', '/metrics', (c) =>
    c.text(
      state.metrics.render({
        espalier_samples_in_flight: { help: 'Samples that run or wait.', value: state.admission.inFlight },
        espalier_samples_limit: { help: 'Samples that may run or wait.', value: limits.maxQueue },
        espalier_models: { help: 'Models and adapters that are served.', value: state.models.list().length },
        process_resident_memory_bytes: { help: 'Resident memory of the process.', value: process.memoryUsage.rss() },
      }),
      200,
      { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    ),
  );
  if (options.adapters) {
    const { load, unload } = adapterRoutes(state, options.adapters);
    route('POST', '/v1/load_lora_adapter', load);
    route('POST', '/v1/unload_lora_adapter', unload);
  }
  app.notFound((c) => c.json(new HttpError(404, `there is no ${c.req.path.slice(0, 200)}`), 404));
  app.onError((error, c) => {
    const known = toHttpError(error);
    if (known.status === 500) state.onError(error);
    return c.json(known, known.status as 400, { ...known.headers });
  });

  return {
    fetch: (request, env) => app.fetch(request, env as RequestContext['env']),
    get inFlight() {
      return state.admission.inFlight;
    },
    drain: () => state.admission.drain(),
    stop: async () => {
      stopping.abort();
      await state.admission.drain();
      await Promise.all(state.models.list().filter(({ engine }) => !own.has(engine)).map(({ engine }) => engine.close()));
    },
  };
}
