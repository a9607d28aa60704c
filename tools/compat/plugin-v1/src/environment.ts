import { defineEnvironment, EspalierError, throwIfAborted, type Environment, type EnvironmentStep, type Message, type ToolDescription } from '@espalier/spec';

export interface CountdownRow extends Record<string, unknown> {
  from?: number;
}

const tools: readonly ToolDescription[] = [{ name: 'count', description: 'Says what is left.', parameters: { type: 'object', properties: { by: { type: 'integer' } }, required: ['by'] } }];

/** Count down to nothing: a tool's answers, rewards on the way, an end. */
export function countdownEnvironment(options: { from?: number } = {}): Environment<CountdownRow> {
  let left = 0;
  return defineEnvironment<CountdownRow>({
    name: 'countdown',
    tools,
    async reset(row: CountdownRow, seed: number, call: { signal?: AbortSignal } = {}): Promise<readonly Message[]> {
      throwIfAborted(call.signal);
      left = Number(row.from ?? options.from ?? 3) + (seed % 2);
      return [{ role: 'system', content: 'Count down.' }, { role: 'user', content: String(left) }];
    },
    async step(reply: Message, call: { signal?: AbortSignal } = {}): Promise<EnvironmentStep> {
      throwIfAborted(call.signal);
      if (left === 0) throw new EspalierError('closed', 'countdown: the episode is over');
      left = Math.max(0, left - Math.max(1, Number(/\d+/.exec(reply.content)?.[0] ?? 1)));
      return left === 0 ? { reward: { total: 1, components: { done: 1 } }, done: true } : { observation: [{ role: 'tool', content: String(left), name: 'count' }], reward: null, done: false };
    },
    async close() {
      left = 0;
    },
  });
}
