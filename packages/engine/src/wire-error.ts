import { EspalierError, isEspalierError, type ErrorCode } from '@espalier/spec';

/** An error as it crosses the border between two threads. */
export interface WireError {
  code: ErrorCode;
  message: string;
  fix?: string;
  stack?: string;
}

const fileErrors: Readonly<Record<string, ErrorCode>> = { ENOSPC: 'no_space', EDQUOT: 'no_space', ENOENT: 'not_found', EACCES: 'io', EPERM: 'io', EROFS: 'io', EIO: 'io', ENOTDIR: 'io', EISDIR: 'io', EEXIST: 'io' };

/** Packs any thrown value; what is not an {@link EspalierError} becomes `no_space`, `not_found` or `io` when the file system threw it, else `internal`. */
export function toWire(error: unknown): WireError {
  if (isEspalierError(error)) {
    const suffix = error.fix ? ` (${error.fix})` : '';
    const message = suffix && error.message.endsWith(suffix) ? error.message.slice(0, -suffix.length) : error.message;
    return { code: error.code, message, fix: error.fix, stack: error.stack };
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const systemCode = (error as { code?: unknown } | null)?.code;
  return { code: (typeof systemCode === 'string' && fileErrors[systemCode]) || 'internal', message, stack };
}

/** Unpacks what {@link toWire} packed. The stack of the other side stands in `cause`. */
export function fromWire(wire: WireError): EspalierError {
  return new EspalierError(wire.code, wire.message, { fix: wire.fix, cause: wire.stack });
}
