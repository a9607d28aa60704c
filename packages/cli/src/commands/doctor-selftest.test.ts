import { availableBackends } from '@espalier/tensor/testing';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { selfTest } from './doctor-selftest';

const backends = await availableBackends('cpu', 'wasm', 'tensorflow');
const signal = new AbortController().signal;

/** What the self-test says, line by line. */
async function run(backend: string) {
  const lines: string[] = [];
  const result = await selfTest(backend, { line: (text = '') => void lines.push(text) }, signal);
  return { lines, result };
}

describe('the self-test', () => {
  afterEach(() => {
    vi.doUnmock('@espalier/models/checks');
    vi.doUnmock('@espalier/tensor/checks');
    vi.resetModules();
  });

  it.each(backends)('passes on %s, and says so check by check', async (backend) => {
    const { lines, result } = await run(backend);
    expect(result.checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(result).toMatchObject({ backend, failed: 0 });
    expect(lines).toHaveLength(result.passed + 2);
    expect(lines[0]).toBe(`backend ${backend}: ${result.passed} checks`);
    for (const part of ['linear, as in float64', 'adamW, three steps, as the portable kernel', 'sampleTokens', 'a tiny model: gradients', 'a tiny model: a training step', 'greedy decoding']) {
      expect(lines.some((line) => line.startsWith('ok') && line.includes(part)), part).toBe(true);
    }
  });

  it('goes on after a check that fails, and counts it', async () => {
    vi.doMock('@espalier/tensor/checks', () => ({ backendChecks: () => ({}), useBackend: () => Promise.resolve() }));
    vi.doMock('@espalier/models/checks', () => ({ goldenChecks: { wrong: () => Promise.reject(new Error('expected 1; found 2\nmore')), right: () => Promise.resolve() } }));
    const { lines, result } = await run('cpu');
    expect(result.failed).toBe(1);
    expect(lines).toContain('FAIL  wrong: expected 1; found 2');
    expect(lines).toContain('ok    right');
    expect(lines.at(-1)).toBe(`${result.passed} passed, 1 failed`);
  });

  it('ends between two checks when it is told to', async () => {
    await expect(selfTest('cpu', { line: () => {} }, AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
  });
});
