import { memory, record, selectBackend, square, sum, scalar, type Tensor } from '@espalier/tensor';
import { testBackend } from '@espalier/tensor/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from './open-checkpoint';
import { addLora, attendCausally, createDecoder, type Decoder } from './index';

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url).pathname;
const tokens = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % 200);
const offsets = Int32Array.of(0, 6, 14, 24);
const prefixOf = Int32Array.of(-1, 0, -1);
const positions = Int32Array.from(tokens, (_, t) => (t < 14 ? t : t - 14));

/** Gradients by parameter, and the bytes that the tape held beside the weights. */
function gradientsOf(decoder: Decoder) {
  const names = new Map([...decoder.trainable].map(([name, { id }]) => [id, name]));
  const before = memory().numBytes;
  const tape = record(() => [sum(square(decoder.hidden(tokens, positions, attendCausally(decoder.config, { offsets, prefixOf }))))]);
  const held = memory().numBytes - before;
  const gradients = new Map<string, Float32Array>();
  const one = scalar(1);
  tape.backward([one], (variable, gradient: Tensor) => {
    gradients.set(names.get(variable.id)!, Float32Array.from(gradient.dataSync()));
    gradient.dispose();
  });
  one.dispose();
  return { held, gradients };
}

describe.each(['llama', 'gpt2', 'qwen3', 'mistral'])('gradient checkpointing of %s', (family) => {
  beforeAll(async () => void (await selectBackend(testBackend())));

  it.each([['all weights', false], ['an adapter', true]])('the gradients of %s are the same bits, and the tape holds less', async (_name, lora) => {
    const stored = await openCheckpoint(fixture(family));
    const decoder = createDecoder(stored.config, stored);
    stored.close();
    if (lora) addLora(decoder, { rank: 2, seed: 3 });
    const tensors = memory().numTensors;
    const kept = gradientsOf(decoder);
    decoder.gradientCheckpointing = true;
    const recomputed = gradientsOf(decoder);
    expect([...recomputed.gradients.keys()].sort()).toEqual([...kept.gradients.keys()].sort());
    for (const [name, gradient] of kept.gradients) expect(recomputed.gradients.get(name), name).toEqual(gradient);
    expect(recomputed.held).toBeLessThan(kept.held / 2);
    expect(memory().numTensors).toBe(tensors);
    decoder.dispose();
  });
});
