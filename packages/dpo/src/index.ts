export * from './loss';
