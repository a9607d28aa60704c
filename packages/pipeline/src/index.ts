export { defineStage } from '@espalier/spec';
export * from './digest';
export * from './fingerprint';
export * from './nearest';
export * from './pipeline';
export * from './registry';
export * from './report';
export * from './run-pipeline';
