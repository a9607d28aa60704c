import { describe, expect, it } from 'vitest';
import { selectBackend } from '../backend';
import { embedding, grads, memory, mul, sum, tensor2d, tidy } from '../index';
import { testBackends } from '../testing';

describe.each(await testBackends('cpu', 'native'))('embedding on %s', (backend) => {
  it('gives no gradient to the row that pads, as torch.nn.Embedding with padding_idx', async () => {
    await selectBackend(backend);
    const [table, weight] = [tensor2d([[1, 2], [3, 4], [5, 6]]), tensor2d([[1, 10], [2, 20], [3, 30], [4, 40]])];
    const ids = Int32Array.of(2, 0, 2, 1);
    const before = memory().numTensors;
    const gradient = (paddingIndex?: number) => tidy(() => [...grads((t) => sum(mul(embedding(t, ids, paddingIndex), weight)))([table])[0].dataSync()]);
    expect(gradient()).toEqual([2, 20, 4, 40, 4, 40]);
    expect(gradient(2)).toEqual([2, 20, 4, 40, 0, 0]);
    expect(gradient(7)).toEqual([2, 20, 4, 40, 4, 40]);
    expect(memory().numTensors).toBe(before);
  });
});
