import { copyRegisteredKernels, getKernel, registerBackend, registerKernel, unregisterKernel, type KernelFunc } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { mul, type Tensor } from '../index';
import { availableBackends, backendChecks, describeBackend, testBackends, useBackend } from '../testing';

for (const name of await testBackends('cpu', 'native', 'wasm', 'tensorflow')) describeBackend(name);
for (const name of await availableBackends('native')) describeBackend(name, { title: `${name} in bf16`, precision: 'bf16' });

describe('a backend that is wrong', () => {
  const checks = backendChecks();
  const subject = { name: 'mine', tolerance: 1e-5, precision: 'fp32' as const };
  /** Puts another kernel in the place of a copied one, and takes it back afterwards. */
  const restore: (() => void)[] = [];
  afterEach(() => restore.splice(0).forEach((back) => back()));
  function replace(kernelName: string, change: (result: Tensor) => Tensor): void {
    const { kernelFunc } = getKernel(kernelName, 'mine')!;
    const put = (func: KernelFunc) => {
      unregisterKernel(kernelName, 'mine');
      registerKernel({ kernelName, backendName: 'mine', kernelFunc: func });
    };
    put((call) => change(kernelFunc(call) as Tensor));
    restore.push(() => put(kernelFunc));
  }

  beforeAll(async () => {
    await useBackend('cpu');
    const { findBackend } = await import('@tensorflow/tfjs-core');
    const Cpu = Object.getPrototypeOf(findBackend('cpu')).constructor as new () => never;
    copyRegisteredKernels('cpu', 'mine');
    registerBackend('mine', () => new Cpu());
  });

  it('is found out by its name, where there is no such backend', () => expect(useBackend('none')).rejects.toMatchObject({ code: 'backend_unavailable' }));

  it('passes while its kernels are copies', async () => {
    for (const name of ['linear, as in float64', 'linear, as the portable kernel', 'rmsNorm, as the portable kernel']) await checks[name](subject);
  });

  it('fails with the operation, the tensor and the numbers', async () => {
    replace('EspalierLinear', (y) => mul(y, 1.001));
    await expect(checks['linear, as the portable kernel'](subject)).rejects.toThrow(/expected linear: output 0 \[0\] to be \S+ on mine, as the portable kernel says; found \S+\. The same run would come to other numbers/);
    await expect(checks['linear, as in float64'](subject)).rejects.toThrow(/linear output 0 \[0\] is \S+, not/);
  });
});
