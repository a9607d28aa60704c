import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { probeBackends, selectBackend } from './backend';
import { hasGpu, locateTensorflow } from './tensorflow-package';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'espalier-tensorflow-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
afterEach(() => void vi.unstubAllEnvs());

/** A project with a package that has the files named; their content is never run. */
function project(name: string, files: readonly string[]): string {
  const root = mkdtempSync(join(dir, 'project-'));
  const home = join(root, 'node_modules/@tensorflow', name);
  mkdirSync(join(home, 'lib/napi-v8'), { recursive: true });
  writeFileSync(join(home, 'package.json'), JSON.stringify({ name: `@tensorflow/${name}`, version: '4.22.0', main: 'index.js' }));
  for (const file of files) writeFileSync(join(home, file), '');
  vi.stubEnv('ESPALIER_TENSORFLOW_DIR', root);
  return home;
}

const binding = 'lib/napi-v8/tfjs_binding.node';

describe('where TensorFlow is looked for', () => {
  it('is the project that ESPALIER_TENSORFLOW_DIR names', () => {
    const home = project('tfjs-node', [binding]);
    expect(locateTensorflow('@tensorflow/tfjs-node')).toBe(home);
  });

  it('what is missing is said, and how to get it', () => {
    const home = project('tfjs-node', []);
    expect(() => locateTensorflow('@tensorflow/tfjs-node')).toThrow(`${home} has no binding: npm install @tensorflow/tfjs-node, or build it against a current TensorFlow with tools/tensorflow/build.mjs --package tfjs-node`);
    expect(() => locateTensorflow('@tensorflow/tfjs-node-gpu')).toThrow(/tfjs-node-gpu is not installed in ESPALIER_TENSORFLOW_DIR, .*--package tfjs-node-gpu/);
  });
});

describe('a GPU', () => {
  const linux = { platform: 'linux' as const, env: {} };

  it('is there when its driver is', () => {
    expect(hasGpu(() => false, linux)).toBe(false);
    expect(hasGpu((path) => path === '/dev/nvidiactl', linux)).toBe(true);
    expect(hasGpu((path) => path === '/dev/dxg', linux)).toBe(true); // Windows' subsystem for Linux
    expect(hasGpu(() => false, { platform: 'win32', env: {} })).toBe(true); // only the package can tell
  });

  it('is not there when CUDA_VISIBLE_DEVICES hides it', () => {
    for (const hidden of ['', ' ', '-1']) expect(hasGpu(() => true, { platform: 'linux', env: { CUDA_VISIBLE_DEVICES: hidden } })).toBe(false);
    expect(hasGpu(() => true, { platform: 'linux', env: { CUDA_VISIBLE_DEVICES: '0' } })).toBe(true);
  });
});

describe('without a GPU', () => {
  it('the package for GPUs is found and not loaded', async () => {
    vi.stubEnv('CUDA_VISIBLE_DEVICES', '');
    project('tfjs-node-gpu', [binding]); // loading it would fail otherwise than so
    const found = (await probeBackends()).find(({ name }) => name === 'tensorflow-gpu');
    expect(found).toEqual({ name: 'tensorflow-gpu', available: false, reason: 'there is no NVIDIA GPU here that programs may use' });
  });

  it('a package that is asked for and not installed is an error, not a fallback', async () => {
    project('tfjs-node', []);
    await expect(selectBackend('tensorflow-gpu')).rejects.toMatchObject({ code: 'backend_unavailable', message: expect.stringContaining('tfjs-node-gpu is not installed') as string });
  });
});
