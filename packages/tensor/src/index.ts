export * from './backend';
export * from './from-tensor-loss';
export * from './ops';
export * from './tape';
export * from './tfjs';
