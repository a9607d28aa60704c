import type { Engine } from '@espalier/engine';
import { modelArguments, parseArguments } from '@espalier/trainer';
import type { ObjectiveSetup } from '../objective';

/** A model beside the policy that is only asked: a proxy, a judge. An engine that is open already is used as it is, and stays open. */
export async function openSideModel(model: string | Engine, { options, args, signal }: ObjectiveSetup): Promise<{ engine: Engine; close(): Promise<void> }> {
  if (typeof model !== 'string') return { engine: model, close: async () => undefined };
  const { backend, bf16 } = parseArguments(modelArguments, options.modelArgs, 'model arguments');
  const { openEngine } = await import('@espalier/engine'); // loaded when a model is
  const engine = await openEngine({ model, backend, precision: bf16 === undefined ? undefined : bf16 ? 'bf16' : 'fp32', seed: args.seed, inline: options.inline, signal });
  return { engine, close: () => engine.close() };
}
