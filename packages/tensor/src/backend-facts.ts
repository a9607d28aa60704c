import type { BackendName } from './backend';
import type { MatmulPrecision } from './precision';

/** What differs between backends besides their kernels. `docs/engine.md` is made from it, and the program goes by it. */
export interface BackendFacts {
  /** What computes. */
  runs: string;
  /** Where it comes from. */
  needs: string;
  /** Operands of the matrix products of linear layers, the language-model head and attention; the first is taken where the processor multiplies it. Sums are in fp32. */
  precisions: readonly MatmulPrecision[];
  /** Whether AdamW, `addInPlace` and the KV cache write into the tensor that they are given. */
  inPlace: boolean;
  /** Whether a row's result is promised to be the same, to the bit, whatever it is batched with and on however many threads. */
  batchInvariant: boolean;
  threads: string;
  /** Bytes that it can hold, where it has a limit of its own. */
  memoryLimit?: number;
  limits: string;
  /** Where its tests run. */
  verified: string;
}

const tensorflow = {
  precisions: ['fp32'],
  inPlace: false,
  batchInvariant: false,
} as const;

export const backendFacts: Readonly<Record<BackendName, BackendFacts>> = {
  native: {
    runs: 'Rust kernels; the rest by those of `cpu`',
    needs: 'a prebuilt library from npm, or `cargo`',
    precisions: ['bf16', 'fp32'],
    inPlace: true,
    batchInvariant: true,
    threads: '`ESPALIER_NUM_THREADS`, else all cores',
    limits: 'CPU only',
    verified: 'the whole suite, and tfjs-core’s own',
  },
  'tensorflow-gpu': {
    ...tensorflow,
    runs: 'TensorFlow on an NVIDIA GPU',
    needs: '`@tensorflow/tfjs-node-gpu`, CUDA 12 as `tools/tensorflow` brings it',
    threads: "TensorFlow's",
    limits: "the card's memory; one operation at a time; reading a number waits for the card; products in TF32 on cards that have it",
    verified: '**unverified on GPU**: its fallback to the processor is tested',
  },
  tensorflow: {
    ...tensorflow,
    runs: 'TensorFlow on the processor',
    needs: '`@tensorflow/tfjs-node`, with its own binary or as `tools/tensorflow` builds it',
    threads: 'all cores',
    limits: 'one operation at a time; no bf16',
    verified: 'the suites of tensor, models and engine (`.ci/run`)',
  },
  wasm: {
    runs: "tfjs's WebAssembly kernels",
    needs: '`@tensorflow/tfjs-backend-wasm`',
    precisions: ['fp32'],
    inPlace: false,
    batchInvariant: false,
    threads: 'one',
    memoryLimit: 2 ** 32,
    limits: 'small models',
    verified: 'fused operations, the tape, the self-test with its tiny model',
  },
  cpu: {
    runs: "tfjs's plain JavaScript",
    needs: 'nothing',
    precisions: ['fp32'],
    inPlace: true,
    batchInvariant: false,
    threads: 'one',
    limits: 'for tests and tiny models',
    verified: 'the whole suite',
  },
};
