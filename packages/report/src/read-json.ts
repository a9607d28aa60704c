import { readFile } from 'node:fs/promises';
import type { Json } from './page-data';

/** A JSON file; `value` is null when it is not there or cannot be read, `problem` says why in the latter case. */
export async function readJson(path: string, name: string): Promise<{ value: Json; problem: string | null }> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { value: null, problem: code === 'ENOENT' || code === 'ENOTDIR' ? null : `${name}: ${message}` };
  }
  try {
    return { value: JSON.parse(text) as Json, problem: null };
  } catch {
    return { value: null, problem: `${name} is not JSON` };
  }
}

/** An object's field as a record; empty when it is none. */
export function recordOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

export const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null);
export const numberOf = (value: unknown): number | null => (typeof value === 'number' && Number.isFinite(value) ? value : null);
