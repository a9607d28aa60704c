import { isEspalierError } from '@espalier/spec';

/** An error that is answered with its status and OpenAI's error object. */
export class HttpError extends Error {
  readonly status: 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 499 | 500 | 503;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: HttpError['status'], message: string, more: { param?: string; code?: string; headers?: Record<string, string> } = {}) {
    super(message);
    this.status = status;
    this.param = more.param ?? null;
    this.code = more.code ?? null;
    this.headers = more.headers ?? {};
  }

  /** `{ error: { message, type, param, code } }`, as the OpenAI API writes it. */
  toJSON(): { error: { message: string; type: string; param: string | null; code: string | null } } {
    return { error: { message: this.message, type: types[this.status], param: this.param, code: this.code } };
  }
}

const types: Readonly<Record<HttpError['status'], string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  499: 'aborted',
  500: 'server_error',
  503: 'unavailable_error',
};

/** Any error as one that can be answered. What is not the client's doing is told to the client without its details. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (!isEspalierError(error)) return new HttpError(500, 'the server failed; its log says why');
  switch (error.code) {
    case 'usage':
    case 'bad_config':
    case 'bad_data':
    case 'unsupported':
      return new HttpError(400, error.message);
    case 'not_found':
      return new HttpError(404, error.message);
    case 'bad_checkpoint':
      return new HttpError(400, error.message);
    case 'aborted':
      return new HttpError(499, 'the request was aborted');
    case 'closed':
      return new HttpError(503, 'the server is shutting down');
    default:
      return new HttpError(500, 'the server failed; its log says why');
  }
}
