export * from './testing/available-backends';
export * from './testing/check-fused';
export * from './testing/fused-cases';
export * from './testing/references';
