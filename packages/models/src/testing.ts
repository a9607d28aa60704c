export { architectureChecks, architectureSubject, type ArchitectureOptions, type ArchitectureSubject } from './testing/architecture-checks';
export * from './testing/decoding';
export * from './testing/describe-architecture';
export * from './testing/tiny-config';
