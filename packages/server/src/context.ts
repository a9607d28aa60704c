import { randomUUID } from 'node:crypto';
import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { Admission } from './admission';
import { event, eventStream } from './event-stream';
import { LiveGeneration, type Delta } from './generation';
import { toHttpError } from './http-error';
import type { ServerLimits } from './limits';
import type { ServerMetrics } from './metrics';
import type { Models, ServedModel } from './models';
import type { Plan } from './plan';

/** What every route works with. */
export interface ServerState {
  models: Models;
  limits: ServerLimits;
  admission: Admission;
  metrics: ServerMetrics;
  /** Fires when the server is stopped without waiting. */
  stopped: AbortSignal;
  /** Told of what failed in the server itself. */
  onError(error: unknown): void;
}

export type RequestContext = Context<{ Bindings: Partial<HttpBindings> }>;

export const newId = (prefix: string): string => `${prefix}-${randomUUID().replaceAll('-', '')}`;

/**
 * Runs the body with a model taken and places for its samples; both are given back at its end, unless it hands them to a stream. The signal fires when the
 * client leaves or the server stops.
 */
export async function admitted(
  state: ServerState,
  c: RequestContext,
  taken: { model: ServedModel; release(): void },
  samples: number,
  body: (run: { signal: AbortSignal; abort(): void; leave(): void; keep(): void }) => Promise<Response>,
): Promise<Response> {
  const exit = state.admission.enter(samples);
  const controller = new AbortController();
  const client = c.req.raw.signal;
  const onLeft = () => {
    if (controller.signal.aborted) return;
    state.metrics.abort('disconnect');
    controller.abort();
  };
  const onStopped = () => {
    if (controller.signal.aborted) return;
    state.metrics.abort('shutdown');
    controller.abort();
  };
  let kept = false;
  const leave = () => {
    client.removeEventListener('abort', onLeft);
    state.stopped.removeEventListener('abort', onStopped);
    exit();
    taken.release();
  };
  client.addEventListener('abort', onLeft, { once: true });
  state.stopped.addEventListener('abort', onStopped, { once: true });
  if (client.aborted) onLeft();
  if (state.stopped.aborted) onStopped();
  try {
    return await body({ signal: controller.signal, abort: () => controller.abort(), leave, keep: () => (kept = true) });
  } finally {
    if (!kept) leave();
  }
}

/** How an endpoint writes its stream. */
export interface StreamWriter {
  /** Before the first token. */
  begin(): unknown[];
  chunks(delta: Delta): unknown[];
  /** After the last, when usage is asked for. */
  usage(counts: { prompt: number; completion: number }): unknown;
}

/** Answers with server-sent events as the generation goes on; takes over the places of the request until its end. */
export function streamed(
  state: ServerState,
  c: RequestContext,
  model: ServedModel,
  plan: Plan,
  run: { signal: AbortSignal; abort(): void; leave(): void; keep(): void },
  writer: StreamWriter,
  includeUsage: boolean,
): Response {
  const started = performance.now();
  const live = new LiveGeneration(model, plan, run.signal);
  const prompt = plan.prompts.reduce((sum, { length }) => sum + length, 0);
  let completion = 0;
  let begun = false;
  let ended = false;
  const { stream, pending } = eventStream(
    {
      async next() {
        if (ended) return null;
        const lead = begun ? [] : writer.begin();
        begun = true;
        const deltas = await live.next();
        if (completion === 0 && deltas) state.metrics.timeToFirstToken((performance.now() - started) / 1000);
        if (!deltas) {
          ended = true;
          return `${includeUsage ? event(writer.usage({ prompt, completion })) : ''}data: [DONE]\n\n`;
        }
        for (const { tokens } of deltas) completion += tokens.length;
        return [...lead, ...deltas.flatMap((delta) => writer.chunks(delta))].map(event).join('');
      },
      hasNews: () => live.hasNews,
      failed: (error) => {
        const known = toHttpError(error);
        if (known.status >= 500 && known.status !== 503) state.onError(error);
        return `${event(known)}data: [DONE]\n\n`;
      },
      done: (how) => {
        if (how === 'disconnect' && !run.signal.aborted) state.metrics.abort('disconnect');
        if (how === 'stall') state.metrics.abort('stall');
        if (how !== 'ended') run.abort();
        state.metrics.generated(model.id, { prompt, completion });
        run.leave();
      },
    },
    state.limits.stallTimeoutMs,
    () => c.env?.outgoing?.destroy(),
  );
  live.onPending = pending;
  run.keep();
  return new Response(stream, { headers: { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'x-accel-buffering': 'no' } });
}
