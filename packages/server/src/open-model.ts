import { openEngine, type Engine, type EngineOptions } from '@espalier/engine';
import { openAdapter } from '@espalier/models';

/**
 * Opens a model for serving; with `adapter`, under a LoRA adapter in PEFT's format. Each adapter gets an engine with a copy of the base of its own, so
 * that requests for different adapters do not share a batch.
 * @throws EspalierError what `openEngine` throws; `bad_checkpoint` for an adapter of another model
 * @example
 * const engine = await openModel({ model: 'HuggingFaceTB/SmolLM2-135M-Instruct', adapter: 'runs/sft/checkpoints/latest' });
 */
export async function openModel(options: EngineOptions & { adapter?: string }): Promise<Engine> {
  const { adapter, ...engineOptions } = options;
  if (adapter === undefined) return openEngine(engineOptions);
  const file = openAdapter(adapter);
  const { rank, alpha, targets, rslora } = file.config;
  file.close();
  const engine = await openEngine({ ...engineOptions, lora: { rank, alpha, targets, rslora } });
  try {
    await engine.learner.load(adapter);
    return engine;
  } catch (error) {
    await engine.close();
    throw error;
  }
}
