import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Optimiser steps between two collections. */
const every = 16;

/**
 * Collects the engine thread's garbage every 16th optimiser step. What a step leaves on the heap is handles, small beside the tensors they stood for: V8 sees no
 * reason to collect for a thousand steps, and resident memory creeps up until it does. That takes some milliseconds.
 */
export function garbageCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  let steps = 0;
  return () => {
    if (++steps % every === 0) collect();
  };
}
