export * from './files';
export * from './settings';
export * from './snapshot';
