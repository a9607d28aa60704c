/** Every stable code that an Espalier error carries. New codes may be added; none changes its meaning. */
export type ErrorCode =
  | 'usage' // wrong flags or arguments
  | 'bad_config' // a field of a configuration is wrong
  | 'bad_data' // a row, or a file of rows, is wrong
  | 'bad_checkpoint' // a model file is malformed, truncated or of an unknown kind
  | 'not_found' // a model, file, task or name does not exist
  | 'unsupported' // a valid request that this part cannot serve
  | 'incompatible_plugin' // a part that speaks another version of the contracts
  | 'backend_unavailable' // an engine backend was asked for that is not here
  | 'no_space' // the disk is full
  | 'io' // reading or writing failed
  | 'network' // a server could not be reached or refused
  | 'limit' // a limit that the caller set (requests, cost) is reached
  | 'aborted' // the caller's AbortSignal fired
  | 'closed' // used after close()
  | 'internal'; // a defect in Espalier

const mark = Symbol.for('espalier.error');

/** Codes that mean "the caller's input is wrong": the command line ends with status 2 on them. */
const inputCodes: ReadonlySet<ErrorCode> = new Set(['usage', 'bad_config', 'bad_data', 'bad_checkpoint', 'not_found', 'unsupported', 'incompatible_plugin', 'backend_unavailable']);

/**
 * The base of every error that Espalier throws on purpose. The message says what was wrong and where; `fix` says what would do.
 * Recognise one with {@link isEspalierError}, not with `instanceof`: two copies of this package may be loaded.
 *
 * @example
 * throw new EspalierError('bad_config', '`per_device_train_batch_size` 6 is not divisible by `num_generations` 4', { fix: '4 or 8 would be' });
 */
export class EspalierError extends Error {
  readonly [mark] = true;
  override readonly name: string = 'EspalierError';
  readonly code: ErrorCode;
  readonly fix: string | undefined;

  constructor(code: ErrorCode, message: string, options: { fix?: string; cause?: unknown } = {}) {
    super(options.fix ? `${message} (${options.fix})` : message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.fix = options.fix;
  }
}

/** True for an {@link EspalierError} of any loaded copy of this package. */
export function isEspalierError(value: unknown): value is EspalierError {
  return typeof value === 'object' && value !== null && (value as { [mark]?: unknown })[mark] === true;
}

/** The exit status that the design gives an error: 2 for wrong usage or bad input, 1 for everything else. */
export function exitStatus(error: unknown): 1 | 2 {
  return isEspalierError(error) && inputCodes.has(error.code) ? 2 : 1;
}

/** Throws `aborted` when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new EspalierError('aborted', 'the operation was aborted', { cause: signal.reason });
}
