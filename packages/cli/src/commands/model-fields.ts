import { z } from 'zod';

/** Flags of every command that opens a model. */
export const modelFields = {
  model: z.string().min(1).describe('model: a folder, a .gguf or .safetensors file, or a hub id'),
  backend: z.enum(['native', 'tensorflow-gpu', 'tensorflow', 'wasm', 'cpu']).optional().describe('engine backend; default: the best that is here, see espalier doctor'),
  precision: z.enum(['bf16', 'fp32']).optional().describe('matrix products; default: bf16 where the processor has instructions for it, else fp32'),
};

/** Flags of text generation. */
export const samplingFields = {
  samplerWeights: z.literal('int8').optional().describe('linear layers in eight bits: half the memory to read a token, on the backend native'),
  topK: z.int().min(0).default(0).describe('sample among the K likeliest tokens; 0: off'),
  topP: z.number().gt(0).max(1).default(1).describe('sample among the likeliest tokens that hold this share of the probability; 1: off'),
  minP: z.number().min(0).max(1).default(0).describe('drop tokens less likely than this times the likeliest; 0: off'),
  repetitionPenalty: z.number().positive().default(1).describe('divides the logits of tokens that were seen; 1: off'),
  stop: z.array(z.string().min(1)).optional().describe('end before this text; may be given several times'),
};
