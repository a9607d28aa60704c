import { activationKernels } from './activations';
import { arithmeticKernels } from './arithmetic';
import { attentionKernels } from './attention';
import { decodeBlocksKernels } from './decode-blocks';
import { embeddingKernels } from './embedding';
import type { NativeKernel } from './kernel';
import { layoutKernels } from './layout';
import { linearKernels } from './linear';
import { linearsKernels } from './linears';
import { matmulKernels } from './matmul';
import { normKernels } from './norms';
import { optimiserKernels } from './optimiser';
import { reductionKernels } from './reductions';
import { samplingKernels } from './sampling';
import { tokenDivergenceKernels } from './token-divergence';
import { tokenOutputKernels } from './token-outputs';

/** Every kernel in Rust: the fused ones, and the standard ones that replace the CPU backend's. */
export const nativeKernels: readonly NativeKernel[] = [
  ...activationKernels,
  ...arithmeticKernels,
  ...attentionKernels,
  ...decodeBlocksKernels,
  ...embeddingKernels,
  ...layoutKernels,
  ...linearKernels,
  ...linearsKernels,
  ...matmulKernels,
  ...normKernels,
  ...optimiserKernels,
  ...reductionKernels,
  ...samplingKernels,
  ...tokenDivergenceKernels,
  ...tokenOutputKernels,
];
