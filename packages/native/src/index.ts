export * from './fused-kernels';
export { loadNative, nativeStatus } from './binding';
export type { NativeBinding, NativeFeatures, NativeStatus, PackedWeight, Precision, Strides, WeightPrecision } from './binding';
export type { KernelFunctions } from './kernel-functions';
export { NativeBackend, nativeBackend, nativeBackendName, nativePrecision, registerNativeBackend, setNativePrecision, withNativePrecision } from './backend';
export type { PoolStatistics } from './buffer-pool';
