import { fileURLToPath } from 'node:url';
import type { Engine } from '@espalier/engine';
import { openModel } from './open-model';
import { serve, type RunningServer, type ServeOptions } from './serve';

/** A tiny checkpoint of another package's fixtures: 280 tokens, 96 positions. */
export const fixture = (name = 'smollm2'): string => fileURLToPath(new URL(`../../models/fixtures/${name}`, import.meta.url));

/** An engine on the caller's thread. */
export const tinyEngine = (options: Partial<Parameters<typeof openModel>[0]> = {}): Promise<Engine> => openModel({ model: fixture(), inline: true, backend: 'cpu', ...options });

/** A server on a free port, with one model called `tiny`. */
export const serveTiny = (engine: Engine, options: Partial<ServeOptions> = {}): Promise<RunningServer> => serve({ models: [{ id: 'tiny', engine }], port: 0, ...options });

/** Waits until something holds. */
export async function until(holds: () => boolean, milliseconds = 20_000): Promise<void> {
  const end = Date.now() + milliseconds;
  while (!holds()) {
    if (Date.now() > end) throw new Error('it did not come to pass');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
