import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Optimiser steps between two collections. */
const every = 16;

/**
 * Collects this thread's garbage every 16th call, one an optimiser step. On the engine's thread a step leaves handles on the heap, small beside the tensors they
 * stood for, and on the caller's messages that were answered: V8 sees no reason to collect for hundreds of steps, and resident memory creeps up until it does.
 * That takes some milliseconds.
 * @param largestHeap in bytes: a heap with more in use than this is left to V8, for there a collection would be felt. Default: none is
 */
export function garbageCollector(largestHeap = Infinity): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let steps = 0;
  return () => {
    if (++steps % every === 0 && getHeapStatistics().used_heap_size <= largestHeap) collect();
  };
}
