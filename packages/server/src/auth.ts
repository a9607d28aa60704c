import { createHash, timingSafeEqual } from 'node:crypto';
import type { MiddlewareHandler } from 'hono';
import { HttpError } from './http-error';

const digest = (text: string) => createHash('sha256').update(text).digest();

/** Whether two texts are equal, in a time that tells neither where they differ nor how long they are. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b));

/** Asks for `Authorization: Bearer <key>` on every path but those that are open. */
export function bearerAuth(key: string, open: readonly string[] = ['/health']): MiddlewareHandler {
  return async (c, next) => {
    if (!open.includes(c.req.path)) {
      const [, given] = /^Bearer +(\S+) *$/i.exec(c.req.header('authorization') ?? '') ?? [];
      if (given === undefined || !sameSecret(given, key)) throw new HttpError(401, given === undefined ? 'a bearer token is required' : 'the bearer token is not the right one', { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } });
    }
    await next();
  };
}

/**
 * Answers only to the names of this machine. A page in a browser can make its own name point at 127.0.0.1 (DNS rebinding); a server without a token must
 * not answer to that name.
 */
export const loopbackNamesOnly: MiddlewareHandler = async (c, next) => {
  if (!isLoopback(new URL(c.req.url).hostname)) throw new HttpError(403, 'this server answers to localhost only', { code: 'host_not_allowed' });
  await next();
};

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
