export * from './algorithm';
export * from './config';
export * from './experience';
export * from './loss';
export * from './objective';
export * from './trainer';
