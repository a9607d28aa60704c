/**
 * The part of TensorFlow.js that the packages above use: only `tensor` and `native` import `@tensorflow/*`.
 * Importing this registers tfjs's gradients, which its Node entry leaves out, and the CPU backend.
 */
import { env } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import './vendor/register-gradients';

env().set('PROD', true); // no greeting on standard error, no NaN scan after each op

export {
  add,
  addN,
  clone,
  concat,
  dispose,
  div,
  exp,
  fill,
  gather,
  getBackend,
  grads,
  keep,
  log,
  logSumExp,
  matMul,
  max,
  maximum,
  mean,
  memory,
  minimum,
  mul,
  neg,
  ones,
  relu,
  reshape,
  scalar,
  sigmoid,
  slice,
  softmax,
  softplus,
  split,
  sqrt,
  square,
  sub,
  sum,
  tensor,
  tensor1d,
  tensor2d,
  tidy,
  transpose,
  variable,
  where,
  zeros,
  zerosLike,
  abs,
  Tensor,
  Variable,
} from '@tensorflow/tfjs-core';
export type { DataType, Rank, Scalar, Tensor1D, Tensor2D, Tensor3D, TensorInfo, TensorLike } from '@tensorflow/tfjs-core';
