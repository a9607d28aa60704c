import { getHeapStatistics } from 'node:v8';
import { expect, it } from 'vitest';
import { garbageCollector } from './collect-garbage';

/** Calls the collector `steps` times with something on the heap that nobody holds; says whether that was collected at the end. */
async function collects(steps: number, largestHeap?: number): Promise<boolean> {
  const afterStep = garbageCollector(largestHeap);
  let collected = false;
  const registry = new FinalizationRegistry(() => (collected = true));
  (() => registry.register({ weights: new Array(10) }, 0))();
  for (let step = 0; step < steps; step++) afterStep();
  for (let turn = 0; turn < 5 && !collected; turn++) await new Promise((resolve) => setImmediate(resolve)); // finalisers run in a turn of their own
  return collected;
}

it('collects at every sixteenth step, and leaves a large heap to V8', async () => {
  expect(await collects(16)).toBe(true);
  expect(await collects(15)).toBe(false);
  expect(await collects(16, getHeapStatistics().used_heap_size / 2)).toBe(false);
});
