import { parseConfig } from '@espalier/models';
import type { RunPlan } from '@espalier/trainer';
import { describe, expect, it } from 'vitest';
import { estimateMemory } from './estimate-memory';
import { estimateTime } from './estimate-time';
import { modelSize } from './model-size';

// SmolLM2-135M's config.json.
const config = parseConfig({ model_type: 'llama', hidden_act: 'silu', vocab_size: 49152, hidden_size: 576, intermediate_size: 1536, num_hidden_layers: 30, num_attention_heads: 9, num_key_value_heads: 3, max_position_embeddings: 8192, rms_norm_eps: 1e-5, tie_word_embeddings: true });
const base: RunPlan = {
  trainer: 'sft', kind: 'rows', model: { reference: 'SmolLM2-135M', config, tokenizer: null as never }, rows: 64, evalRows: 0, sequences: 64, perDeviceTrainBatchSize: 8, gradientAccumulationSteps: 1, effectiveBatch: 8, steps: 3, stepsPerEpoch: 8, epochs: 3 / 8,
  tokens: { measuredRows: 64, mean: 128, longest: 128, microBatch: 1024, step: 1024, actionsStep: 1016 }, generation: null, gradientCheckpointing: false, lora: null, reference: false, critics: 0, engine: {}, teacher: null,
};
const four: RunPlan = { ...base, tokens: { ...base.tokens, microBatch: 512, step: 512, actionsStep: 508 } };

describe('estimates', () => {
  it('know how many parameters a model has', () => {
    expect(modelSize(base.model, base)).toMatchObject({ parameters: 134_515_008, trainable: 134_515_008 }); // as transformers counts them
    const adapters = modelSize(base.model, { ...base, lora: { rank: 8, targets: ['q_proj', 'v_proj'] } });
    expect(adapters.trainable).toBe(30 * 8 * (576 + 576 + 576 + 192));
  });

  // Peak resident memory of `espalier … --max-steps 3` on 64 rows of 128 tokens, by /usr/bin/time, native backend on 2 cores: `packages/cli/README.md` has the table.
  it.each<[string, RunPlan, number]>([
    ['sft, 8 rows', base, 3_424_464],
    ['sft, 4 rows', four, 2_721_404],
    ['sft, adapters of rank 8', { ...base, lora: { rank: 8, targets: null } }, 1_833_632],
    ['sft, gradient checkpointing', { ...base, gradientCheckpointing: true }, 2_840_988],
  ])('of memory are within a fifth of what was measured: %s', (_, plan, kilobytes) => {
    const ratio = estimateMemory(plan).peak / (kilobytes * 1024);
    expect(ratio).toBeGreaterThan(0.8);
    expect(ratio).toBeLessThan(1.2);
  });

  it('of memory count a reference, a critic and a teacher as whole models, and what is decoded', () => {
    const weights = 4 * 134_515_008;
    const { peak } = estimateMemory(four);
    expect(estimateMemory({ ...four, reference: true }).peak - peak).toBe(weights);
    expect(estimateMemory({ ...four, critics: 1 }).peak - peak).toBe(4 * weights);
    expect(estimateMemory({ ...four, teacher: base.model }).peak - peak).toBe(weights);
    const generation = { prompts: 8, numGenerations: 8, completions: 64, updates: 1, promptTokens: 20, longestPrompt: 36, maxNewTokens: 64 };
    expect(estimateMemory({ ...four, generation }).generation).toBe(64 * 100 * 30 * 2 * 192 * 4);
  });

  it('of time are the arithmetic over the speed', () => {
    const rates = { backend: 'native', precision: 'bf16', wide: 1e12, narrow: 1e11, shape: '' };
    const { flops, step, run } = estimateTime(base, rates);
    const attention = 2 * 30 * 576 * 128;
    expect(flops).toBeCloseTo(3 * (1024 * (2 * (134_515_008 - 49152 * 576 - 61 * 576) + attention) + 1016 * 2 * 49152 * 576), -3);
    expect(step).toBeGreaterThan(flops / 1e12);
    expect(run).toBe(3 * step);
    expect(estimateTime({ ...base, gradientCheckpointing: true }, rates).flops / flops).toBeCloseTo(4 / 3, 6);
  });
});
