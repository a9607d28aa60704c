import { EspalierError } from '@espalier/spec';
import { setBackend } from '@tensorflow/tfjs-core';
import { backendNames, selectBackend } from '../backend';
import { withMatmulPrecision, type MatmulPrecision } from '../precision';
import { memory } from '../tfjs';
import { checkFusedCase } from './check-fused';
import { fusedCases, type FusedCase } from './fused-cases';
import { fusedResults } from './fused-results';
import { inferenceCases, type InferenceCase } from './inference-cases';

/** What is checked, and how closely. */
export interface BackendSubject {
  /** As `selectBackend` knows it, or as it is registered with tfjs. */
  name: string;
  /** Largest error relative to the largest expected number of a tensor. */
  tolerance: number;
  /** Of matrix products, where the backend has a choice. */
  precision: MatmulPrecision;
}

/**
 * Selects a backend of ours, or one that somebody registered with tfjs. @throws EspalierError `backend_unavailable`
 * @example
 * await useBackend('mine');
 */
export async function useBackend(name: string): Promise<void> {
  if ((backendNames as readonly string[]).includes(name)) return void (await selectBackend(name));
  if (!(await setBackend(name).catch(() => false))) throw new EspalierError('backend_unavailable', `no backend "${name}" is registered with tfjs, or it did not start`, { fix: 'import its package before' });
}

/** A fused operation on the backend against float64: values, gradients, and that no tensor is left behind. */
export async function checkFusedReference({ name, tolerance, precision }: BackendSubject, fused: FusedCase): Promise<void> {
  await useBackend(name);
  withMatmulPrecision(precision, () => checkFusedCase(fused, tolerance));
}

/** A fused operation on the backend against the portable kernel on `cpu`: values and gradients. */
export async function checkFusedPortable({ name, tolerance, precision }: BackendSubject, fused: FusedCase): Promise<void> {
  await useBackend('cpu');
  const expected = fusedResults(fused);
  await useBackend(name);
  const found = withMatmulPrecision(precision, () => fusedResults(fused));
  expected.outputs.forEach((values, i) => compare(`${fused.name}: output ${i}`, name, found.outputs[i], values, tolerance));
  expected.gradients.forEach((values, i) => compare(`${fused.name}: the gradient of input ${i}`, name, found.gradients[i], values, tolerance));
}

/** An operation without a gradient on the backend against the portable kernel on `cpu`; token ids must be the same. */
export async function checkInference({ name, tolerance }: BackendSubject, one: InferenceCase): Promise<void> {
  await useBackend('cpu');
  const expected = one.run();
  await useBackend(name);
  const before = memory().numTensors;
  const found = one.run();
  if (memory().numTensors !== before) fail(`${one.name} to leave no tensor behind on ${name}`, `${memory().numTensors - before}`, 'Memory grows with every token.');
  for (const [output, values] of Object.entries(expected)) compare(`${one.name}: ${output}`, name, found[output], values, values instanceof Int32Array ? 0 : tolerance);
}

function compare(what: string, backend: string, found: ArrayLike<number> | undefined, expected: ArrayLike<number>, tolerance: number): void {
  const why = 'The same run would come to other numbers on this backend.';
  if (found?.length !== expected.length) fail(`${what} to have ${expected.length} numbers on ${backend}`, `${found?.length ?? 'none'}`, why);
  let scale = 1;
  for (let i = 0; i < expected.length; i++) scale = Math.max(scale, Math.abs(expected[i]));
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(found[i] - expected[i]) <= tolerance * scale)) fail(`${what} [${i}] to be ${expected[i]} on ${backend}, as the portable kernel says`, `${found[i]}`, why);
  }
}

function fail(expected: string, found: string, why: string): never {
  throw new EspalierError('internal', `expected ${expected}; found ${found}. ${why}`);
}

/**
 * Every check of a backend by name.
 * @example
 * await backendChecks()['linear, as in float64']({ name: 'mine', tolerance: 1e-5, precision: 'fp32' });
 */
export function backendChecks(): Record<string, (subject: BackendSubject) => Promise<void>> {
  return {
    ...Object.fromEntries(fusedCases.map((fused) => [`${fused.name}, as in float64`, (subject: BackendSubject) => checkFusedReference(subject, fused)])),
    ...Object.fromEntries(fusedCases.map((fused) => [`${fused.name}, as the portable kernel`, (subject: BackendSubject) => checkFusedPortable(subject, fused)])),
    ...Object.fromEntries(inferenceCases.map((one) => [`${one.name}, as the portable kernel`, (subject: BackendSubject) => checkInference(subject, one)])),
  };
}
