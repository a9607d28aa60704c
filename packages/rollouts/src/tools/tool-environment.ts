import { defineEnvironment, EspalierError, throwIfAborted, type Environment, type Message, type Reward } from '@espalier/spec';
import type { Tool } from './define-tool';
import { parseToolCalls } from './parse-tool-calls';
import { runToolCall } from './run-tool-call';

export interface ToolEnvironmentOptions {
  /** Default `tools`. */
  name?: string;
  tools: readonly Tool[];
  /** Calls that are answered in one reply; those beyond fail. Default 8. */
  maxCallsPerReply?: number;
  /** Seconds that one call may take. Default 30. */
  toolTimeout?: number;
  /** Characters of a result that reach the policy. Default 2000. */
  maxResultLength?: number;
  /** What the answer (the reply without a call) earns. Default: nothing; reward functions say it. */
  reward?(answer: string, row: Readonly<Record<string, unknown>>): Reward | null | Promise<Reward | null>;
}

/**
 * A row's prompt, with tools: a reply that calls some gets their results and goes on, one without a call is the answer. Nothing that a reply holds and nothing that a tool
 * does ends the run: an unknown tool, JSON that is none, arguments that do not fit, an error and a time-out are told to the policy as the call's result, and count as failed.
 *
 * @throws EspalierError `bad_config` for no tools, or two of one name
 *
 * @example
 * const environment = () => toolEnvironment({ tools: [add] });
 * new GRPOTrainer({ model, environment, rewardFuncs: numericReward(), trainDataset: rows });
 */
export function toolEnvironment(options: ToolEnvironmentOptions): Environment {
  const { name = 'tools', tools, maxCallsPerReply = 8, toolTimeout = 30, maxResultLength = 2000, reward } = options;
  if (tools.length === 0) throw new EspalierError('bad_config', 'there are no tools', { fix: 'at least one, made by defineTool' });
  const byName = new Map(tools.map((tool) => [tool.name, tool]));
  const twice = tools.find((tool, i) => tools.findIndex((other) => other.name === tool.name) < i);
  if (twice) throw new EspalierError('bad_config', `two tools are named "${twice.name}"`, { fix: 'name them apart' });
  let row: Readonly<Record<string, unknown>> | null = null; // null: no episode is under way
  return defineEnvironment({
    name,
    tools: tools.map(({ name: toolName, description, parameters }) => ({ name: toolName, description, parameters })),

    async reset(given, _seed, { signal } = {}) {
      throwIfAborted(signal);
      row = given;
      return promptMessages(given['prompt']);
    },

    async step({ content }, { signal } = {}) {
      throwIfAborted(signal);
      if (row === null) throw new EspalierError('closed', `${name}: no episode is under way`, { fix: 'reset it' });
      const attempts = parseToolCalls(content);
      if (attempts.length === 0) {
        const earned = (await reward?.(content, row)) ?? null;
        row = null;
        return { reward: earned, done: true };
      }
      const observation: Message[] = [];
      let failed = 0;
      for (const [i, attempt] of attempts.entries()) {
        if (i > maxCallsPerReply) break; // one more message says that it is enough
        const call = i === maxCallsPerReply ? { error: `a reply may call ${maxCallsPerReply} tools, this one called ${attempts.length}` } : attempt;
        const result = await runToolCall(call, byName, row, { timeoutMs: toolTimeout * 1000, maxResultLength, signal });
        if (result.failed) failed++;
        observation.push({ role: 'tool', content: result.content, ...(result.name === undefined ? {} : { name: result.name }) });
      }
      failed += Math.max(0, attempts.length - maxCallsPerReply - 1);
      return { observation, done: false, toolCalls: { made: attempts.length, failed } };
    },
  });
}

function promptMessages(prompt: unknown): readonly Message[] {
  if (typeof prompt === 'string' && prompt !== '') return [{ role: 'user', content: prompt }];
  if (Array.isArray(prompt) && prompt.length > 0) return prompt as readonly Message[];
  throw new EspalierError('bad_data', 'the row has no `prompt`', { fix: 'text, or messages' });
}
