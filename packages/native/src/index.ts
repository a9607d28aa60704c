export * from './fused-kernels';
