import { describe, it } from 'vitest';
import { architectureChecks, architectureSubject, type ArchitectureOptions } from './architecture-checks';

/**
 * The conformance suite of decoder architectures, in vitest, on a tiny random model: deterministic and causal logits, packing, shared prefixes, decoding from a cache,
 * gradients by finite differences, saving and loading to the bit.
 * @example
 * describeArchitecture('mine', { config: tinyConfig('llama', { hiddenSize: 16 }), create: (weights) => new MyDecoder(config, weights) });
 */
export function describeArchitecture(name: string, options: ArchitectureOptions): void {
  const subject = architectureSubject(options);
  describe(`the architecture ${name}`, () => {
    for (const [check, run] of Object.entries(architectureChecks)) it(check, async () => void (await run(subject)));
  });
}
