import { exitStatus, isEspalierError } from '@espalier/spec';

/**
 * Standard output as the command line promises it: with `--json` it carries one JSON object and nothing else, so whatever a library prints goes to
 * standard error. A reader that goes away (`espalier … | head`) ends the output quietly.
 */
export interface Output {
  json: boolean;
  /** The result: printed as JSON with `--json`. */
  result(value: unknown): Promise<void>;
  /** A line for people on standard output; nothing with `--json`. */
  line(text?: string): void;
  /** A line on standard error. */
  note(text: string): void;
  restore(): void;
}

const replacer = (_key: string, value: unknown): unknown => {
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as unknown as ArrayLike<number>);
  return value;
};

export function openOutput(json: boolean): Output {
  const write = process.stdout.write.bind(process.stdout) as (text: string, done?: (error?: Error | null) => void) => boolean;
  const original = process.stdout.write;
  const log = console.log;
  const info = console.info;
  const onPipe = (error: NodeJS.ErrnoException): void => {
    if (error.code === 'EPIPE') process.exit(0);
  };
  process.stdout.on('error', onPipe);
  process.stderr.on('error', onPipe);
  console.log = console.info = (...values: unknown[]) => console.error(...values);
  if (json) {
    process.stdout.write = ((chunk: string | Uint8Array, ...rest: never[]) => process.stderr.write(chunk, ...rest)) as typeof process.stdout.write;
  }
  return {
    json,
    result: (value) =>
      new Promise((resolve, reject) => {
        if (!json) return resolve();
        write(`${JSON.stringify(value, replacer)}\n`, (error) => (error ? reject(error) : resolve()));
      }),
    line(text = '') {
      if (!json) write(`${text}\n`);
    },
    note: (text) => void process.stderr.write(`${text}\n`),
    restore() {
      process.stdout.write = original;
      console.log = log;
      console.info = info;
      process.stdout.off('error', onPipe);
      process.stderr.off('error', onPipe);
    },
  };
}

/** A disk that is full says so in many voices; whichever came up, the line names it. */
function plainMessage(error: unknown): string {
  if (isEspalierError(error)) return error.message;
  const { code, message, path } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return `no space left on the disk${path ? ` while writing ${path}` : ''} (free some and continue with --resume)`;
  if (code === 'EACCES' || code === 'EPERM') return `no permission for ${path ?? 'a file'} (${message})`;
  return message || String(error);
}

/** Prints one line for an error (with its stack when ESPALIER_DEBUG is set) and gives the exit status. */
export function reportError(error: unknown): 1 | 2 {
  const text = plainMessage(error).replace(/\s*\n\s*/g, ' ').trim();
  process.stderr.write(`espalier: ${text}\n`);
  if (process.env['ESPALIER_DEBUG']) process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : String(error)}\n`);
  else if (!isEspalierError(error) && !('code' in Object(error))) process.stderr.write('espalier: this is unexpected; ESPALIER_DEBUG=1 shows where it happened\n');
  return exitStatus(error);
}
