import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { defineStage, EspalierError, type PolicyHandle, type Stage } from '@espalier/spec';
import { readPlannedModel } from '@espalier/trainer';
import { digestPath, digestValue } from '../digest';
import { withFingerprint } from '../fingerprint';
import { withPlan } from '../stage-plan';

/**
 * Begins a pipeline with a model that exists: a folder, a `.gguf` or `.safetensors` file, or a hub id.
 * @throws EspalierError `bad_config` without a name; when run, `not_found` for a path that does not exist
 */
export function startFrom(model: string): Stage<Record<never, never>, { policy: PolicyHandle }, 'model'> {
  if (typeof model !== 'string' || model === '') throw new EspalierError('bad_config', `the model to start from is ${JSON.stringify(model)}`, { fix: 'a folder, a file or a hub id' });
  const stage = defineStage<Record<never, never>, { policy: PolicyHandle }, 'model'>({
    name: 'model',
    needs: [],
    gives: ['policy'],
    async run() {
      if (existsSync(model)) return { policy: { kind: 'policy', path: resolve(model), digest: await digestPath(model) } };
      if (/^[./~]|\\|\.(gguf|safetensors)$/.test(model)) throw new EspalierError('not_found', `there is no model at ${model}`, { fix: 'a folder, a .gguf or .safetensors file, or a hub id' });
      return { policy: { kind: 'policy', path: model, digest: digestValue({ hub: model }) } };
    },
  });
  withPlan(stage, async () => ({ note: model, model: await readPlannedModel(model) }));
  return withFingerprint(stage, async () => ({ model, digest: existsSync(model) ? await digestPath(model) : null }));
}
