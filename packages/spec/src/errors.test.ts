import { describe, expect, it } from 'vitest';
import { assertSpecVersion, EspalierError, exitStatus, isEspalierError, throwIfAborted } from './index';

describe('EspalierError', () => {
  it('carries its code, its fix and its cause', () => {
    const cause = new Error('why');
    const error = new EspalierError('bad_config', '`beta` is -1', { fix: '0 or more', cause });
    expect(error).toMatchObject({ name: 'EspalierError', code: 'bad_config', message: '`beta` is -1 (0 or more)', fix: '0 or more', cause });
  });

  it('is recognised by its mark, whatever copy of the package made it', () => {
    const foreign = Object.assign(new Error('x'), { [Symbol.for('espalier.error')]: true, code: 'io' });
    expect(isEspalierError(foreign)).toBe(true);
    for (const other of [new Error('x'), null, undefined, 'x', { code: 'io' }]) expect(isEspalierError(other)).toBe(false);
  });

  it('stands for status 2 when the input is wrong, else 1', () => {
    const statusOf = (code: ConstructorParameters<typeof EspalierError>[0]) => exitStatus(new EspalierError(code, 'x'));
    expect((['usage', 'bad_config', 'bad_data', 'bad_checkpoint', 'not_found', 'unsupported', 'incompatible_plugin', 'backend_unavailable'] as const).map(statusOf)).toEqual(Array(8).fill(2));
    expect((['no_space', 'io', 'network', 'aborted', 'closed', 'internal'] as const).map(statusOf)).toEqual(Array(6).fill(1));
    expect(exitStatus(new TypeError('x'))).toBe(1);
  });
});

describe('assertSpecVersion', () => {
  it('accepts v1 and names what another part speaks', () => {
    expect(() => assertSpecVersion({ specVersion: 'v1', name: 'a' }, 'reward')).not.toThrow();
    expect(() => assertSpecVersion({ specVersion: 'v9', name: 'a' }, 'reward')).toThrow(/reward "a" speaks contracts "v9"/);
    expect(() => assertSpecVersion({ specVersion: 'v9', name: 'a' }, 'reward')).toThrow('update Espalier, or install an earlier release of reward "a"');
    expect(() => assertSpecVersion({ specVersion: 'v0', name: 'a' }, 'plugin')).toThrow('install a later release of plugin "a"');
    expect(() => assertSpecVersion({ specVersion: 1, name: 'a' }, 'plugin')).toThrow('a specVersion is written as "v1"');
    expect(() => assertSpecVersion({}, 'stage')).toThrow(/stage "unnamed" does not say which contracts it was made for; this Espalier speaks v1/);
  });
});

describe('throwIfAborted', () => {
  it('throws once the signal has fired', () => {
    const controller = new AbortController();
    expect(() => throwIfAborted(undefined)).not.toThrow();
    expect(() => throwIfAborted(controller.signal)).not.toThrow();
    controller.abort();
    expect(() => throwIfAborted(controller.signal)).toThrow(expect.objectContaining({ code: 'aborted' }));
  });
});
