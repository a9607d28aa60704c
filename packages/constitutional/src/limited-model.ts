import { EspalierError, throwIfAborted, type OptionQuestion, type TextModel } from '@espalier/spec';

export interface ModelLimits {
  /** Prompts a minute, spread evenly. Default: no limit. */
  requestsPerMinute?: number;
  /** Calls under way at once. Default: no limit. */
  maxConcurrency?: number;
  /** Prompts in all. */
  maxRequests?: number;
  /** In the unit of `cost`. */
  maxCost?: number;
  /** What a prompt with its answer costs; the answer is empty where options are scored. Default: nothing. */
  cost?(prompt: string, answer: string): number;
  /** For tests: a clock in milliseconds, and a wait. */
  now?(): number;
  wait?(milliseconds: number, signal?: AbortSignal): Promise<void>;
}

export interface LimitedModel extends TextModel {
  spent: { requests: number; cost: number };
}

/**
 * A model that is asked no faster, and no more, than was allowed. A call that would begin beyond `maxRequests`, or after `maxCost` is spent, fails with
 * `limit`; what was answered before stays (row logs, cache), so a run goes on with a higher limit.
 * @throws EspalierError `bad_config` for a limit that is not positive
 */
export function limitedModel(model: TextModel, limits: ModelLimits): LimitedModel {
  for (const name of ['requestsPerMinute', 'maxConcurrency', 'maxRequests', 'maxCost'] as const) {
    const limit = limits[name];
    if (limit !== undefined && !(limit > 0)) throw new EspalierError('bad_config', `\`${name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}\` is ${limit}`, { fix: 'a number above 0' });
  }
  const { requestsPerMinute = Infinity, maxConcurrency = Infinity, maxRequests = Infinity, maxCost = Infinity, cost = () => 0, now = () => performance.now(), wait = sleep } = limits;
  const spent = { requests: 0, cost: 0 };
  let free = -Infinity; // when the next prompt may go out
  let running = 0;
  const waiting: (() => void)[] = [];

  const enter = async (prompts: number, signal?: AbortSignal): Promise<void> => {
    throwIfAborted(signal);
    if (spent.requests + prompts > maxRequests) throw new EspalierError('limit', `the limit of ${maxRequests} requests to the judge is reached (${spent.requests} were made, ${prompts} more were asked for)`, { fix: 'raise `max_requests` and resume' });
    if (spent.cost >= maxCost) throw new EspalierError('limit', `the limit of ${maxCost} on the judge's cost is reached (${spent.cost.toFixed(4)} is spent)`, { fix: 'raise `max_cost` and resume' });
    spent.requests += prompts;
    while (running >= maxConcurrency) await new Promise<void>((resolve) => void waiting.push(resolve));
    running++;
    try {
      const begin = Math.max(now(), free);
      free = begin + (prompts * 60_000) / requestsPerMinute;
      if (begin > now()) await wait(begin - now(), signal);
      throwIfAborted(signal);
    } catch (error) {
      leave();
      throw error;
    }
  };
  const leave = () => {
    running--;
    waiting.shift()?.();
  };
  const textOf = (prompt: OptionQuestion['prompt']) => (typeof prompt === 'string' ? prompt : prompt.map(({ content }) => content).join('\n'));
  const call = async <T>(prompts: readonly OptionQuestion['prompt'][], signal: AbortSignal | undefined, ask: () => Promise<T>, answerOf: (result: T, i: number) => string): Promise<T> => {
    await enter(prompts.length, signal);
    try {
      const result = await ask();
      prompts.forEach((prompt, i) => (spent.cost += cost(textOf(prompt), answerOf(result, i))));
      return result;
    } finally {
      leave();
    }
  };

  const limited: LimitedModel = {
    spent,
    complete: (prompts, options = {}) => call(prompts, options.signal, () => model.complete(prompts, options), (texts, i) => texts[i]),
  };
  if (model.optionLogps) limited.optionLogps = (prompt, options) => call([prompt], undefined, () => model.optionLogps!(prompt, options), () => '');
  if (model.optionLogpsAll) limited.optionLogpsAll = (questions, how = {}) => call(questions.map(({ prompt }) => prompt), how.signal, () => model.optionLogpsAll!(questions, how), () => '');
  return limited;
}

function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
