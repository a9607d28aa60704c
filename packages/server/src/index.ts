export type { AdapterLoading } from './adapters';
export * from './create-server';
export type { ServerLimits } from './limits';
export type { ServedModel } from './models';
export * from './open-model';
export * from './serve';
