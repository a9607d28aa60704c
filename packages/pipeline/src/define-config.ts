import type { Plugin } from '@espalier/spec';
import type { Pipeline } from './pipeline';
import type { StageKit } from './stage-kit';

/** What `espalier.config.ts` exports: the plugins that count, and a pipeline with where and how it runs. */
export interface EspalierConfig<Plugins extends readonly Plugin[] = readonly Plugin[]> {
  /** Names the run's folder, where `outputDir` is not given. */
  name?: string;
  /** Default: a new folder under `runs/`. */
  outputDir?: string;
  /** Default 42. */
  seed?: number;
  /** Plugins whose parts can be named: in the pipeline below, and in the commands that run in this folder. */
  plugins?: Plugins;
  /** A pipeline, or what makes one: it is given the stages with the plugins' names in their types. May be left out where the file is for its plugins alone. */
  pipeline?: Pipeline | ((kit: StageKit<Plugins>) => Pipeline | Promise<Pipeline>);
}

/**
 * Declares a configuration; for its types alone. What the plugins bring reaches the pipeline's names and options: a reward is proposed while it is typed, its options
 * are checked, and a name that nobody gives is an error of the compiler.
 *
 * @example
 * // espalier.config.ts
 * import { defineConfig } from '@espalier/pipeline';
 * import { plugin as brevity } from 'espalier-plugin-brevity';
 *
 * export default defineConfig({
 *   outputDir: 'runs/sums',
 *   plugins: [brevity],
 *   pipeline: ({ pipeline, startFrom, rpt }) =>
 *     pipeline(startFrom('model.gguf'), rpt({ dataset: 'sums.jsonl', reward: ['numeric', { name: 'brevity', weight: 0.1, options: { maxLength: 64 } }] })),
 * });
 */
export function defineConfig<const Plugins extends readonly Plugin[] = readonly []>(config: EspalierConfig<Plugins>): EspalierConfig<Plugins> {
  return config;
}
