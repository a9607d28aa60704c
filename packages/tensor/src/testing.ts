export * from './testing/available-backends';
export * from './testing/backend-checks';
export * from './testing/check-fused';
export * from './testing/describe-backend';
export * from './testing/fused-cases';
export * from './testing/fused-results';
export * from './testing/inference-cases';
export * from './testing/references';
