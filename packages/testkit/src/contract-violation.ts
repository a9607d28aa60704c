/** What a contract asks for, what the part did, and why that matters. */
export interface Violation {
  expected: string;
  found: string;
  /** One sentence. */
  why: string;
}

/**
 * A part does not keep its contract. The message says what was expected, what was found, and why it matters.
 * @example
 * throw new ContractViolation({ expected: '3 rewards', found: '2', why: 'Rewards are matched with completions by their place.' });
 */
export class ContractViolation extends Error {
  override readonly name = 'ContractViolation';
  readonly violation: Violation;

  constructor(violation: Violation, options: { cause?: unknown } = {}) {
    super(`expected ${violation.expected}; found ${violation.found}. ${violation.why}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.violation = violation;
  }
}

/**
 * Throws a {@link ContractViolation} unless the condition holds.
 * @example
 * demand(rewards.length === samples.length, `${samples.length} rewards`, () => `${rewards.length}`, 'Rewards are matched with completions by their place.');
 */
export function demand(condition: unknown, expected: string, found: string | (() => string), why: string): asserts condition {
  if (!condition) throw new ContractViolation({ expected, found: typeof found === 'string' ? found : found(), why });
}

/**
 * A value in one line, short enough for a message.
 * @example
 * show(Float32Array.of(1, NaN)); // 'Float32Array [1, NaN]'
 */
export function show(value: unknown): string {
  const text = written(value);
  return text.length > 160 ? `${text.slice(0, 157)}...` : text;
}

function written(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Error) return `the error ${JSON.stringify(value.message)}`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} [${Array.from(value as Float32Array).slice(0, 40).join(', ')}]`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    return JSON.stringify(value, (_, inner: unknown) => (typeof inner === 'number' && !Number.isFinite(inner) ? String(inner) : inner)) ?? String(value);
  } catch {
    return 'an object that is no JSON';
  }
}
