import { EspalierError, type EnvironmentStep, type Message } from '@espalier/spec';

/** @throws EspalierError `bad_data` unless it is a list of at least one message with `role` and `content` */
export function checkMessages(messages: unknown, what: string): readonly Message[] {
  if (!Array.isArray(messages) || messages.length === 0) throw new EspalierError('bad_data', `${what} gave ${show(messages)} where messages are due`, { fix: 'a list of at least one message' });
  for (const message of messages as unknown[]) {
    const { role, content } = (message ?? {}) as Partial<Message>;
    if (typeof role !== 'string' || role === '' || typeof content !== 'string') throw new EspalierError('bad_data', `${what} gave the message ${show(message)}`, { fix: '`role` and `content`, both text' });
  }
  return messages as readonly Message[];
}

/** @throws EspalierError `bad_data` for a step that says not whether it is `done`, goes on without an observation, or has a reward that is not finite */
export function checkStep(step: unknown, what: string): EnvironmentStep {
  if (typeof step !== 'object' || step === null || typeof (step as EnvironmentStep).done !== 'boolean') throw new EspalierError('bad_data', `${what} gave ${show(step)}`, { fix: 'an object with `done`' });
  const { done, observation, reward, toolCalls } = step as EnvironmentStep;
  if (!done || (observation !== undefined && observation.length !== 0)) checkMessages(observation, what);
  const total: unknown = typeof reward === 'object' && reward !== null ? reward.total : reward;
  if (total !== undefined && total !== null && !Number.isFinite(total)) throw new EspalierError('bad_data', `${what} gave the reward ${show(total)}`, { fix: 'a finite number, null or nothing' });
  if (toolCalls !== undefined && !(toolCalls.made >= 0 && toolCalls.failed >= 0)) throw new EspalierError('bad_data', `${what} gave the tool calls ${show(toolCalls)}`, { fix: '{ made, failed }, both from 0' });
  return step as EnvironmentStep;
}

const show = (value: unknown): string => {
  const text = typeof value === 'number' || value === undefined ? String(value) : (JSON.stringify(value) ?? typeof value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
};
