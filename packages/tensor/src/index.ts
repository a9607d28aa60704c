export * from './backend';
export * from './backend-facts';
export * from './from-tensor-loss';
export * from './ops';
export { matmulPrecision, setMatmulPrecision, withMatmulPrecision } from './precision';
export type { MatmulPrecision } from './precision';
export * from './tape';
export * from './tfjs';
export * from './together';
