import { MessageChannel, Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '@espalier/spec';
import { Connection } from './connection';
import { execArgvForWorker, superviseWorker } from './engine';
import { portOf, type FromEngine, type ToEngine } from './protocol';
import { TurnLock } from './turn-lock';
import { fromWire, toWire } from './wire-error';

describe('Connection', () => {
  it('matches answers to calls, whatever their order, and keeps code and fix of an error', async () => {
    const { port1, port2 } = new MessageChannel();
    const calls: ToEngine[] = [];
    port2.on('message', (message: ToEngine) => {
      calls.push(message);
      if (calls.length < 2) return;
      port2.postMessage({ kind: 'failed', id: calls[1].id, error: toWire(new EspalierError('bad_data', 'it is odd', { fix: 'make it even' })) } satisfies FromEngine);
      port2.postMessage({ kind: 'done', id: calls[0].id, result: { version: 3, digest: 'd', id: 'i' } } satisfies FromEngine);
    });
    const connection = new Connection(portOf(port1));
    const first = connection.call('publish', null);
    const second = connection.call('clearGradients', null);
    await expect(second).rejects.toMatchObject({ code: 'bad_data', fix: 'make it even', message: 'it is odd (make it even)' });
    await expect(first).resolves.toEqual({ version: 3, digest: 'd', id: 'i' });
    port1.close();
  });

  it('rejects what is pending, and what comes later, when the worker dies', async () => {
    const worker = new Worker("require('node:worker_threads').parentPort.once('message', () => { throw new Error('out of luck'); })", { eval: true });
    const { connection, end } = superviseWorker(worker);
    const pending = [connection.call('publish', null), connection.call('memory', null)];
    for (const call of pending) await expect(call).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('out of luck') });
    await expect(connection.call('publish', null)).rejects.toMatchObject({ code: 'internal' });
    await end();
  });

  it('rejects what is pending when the worker exits', async () => {
    const worker = new Worker("require('node:worker_threads').parentPort.once('message', () => process.exit(7))", { eval: true });
    const { connection } = superviseWorker(worker);
    await expect(connection.call('publish', null)).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('status 7') });
  });
});

describe('errors at the border', () => {
  it('become internal, or what the file system said', () => {
    expect(fromWire(toWire(new TypeError('x is not a function')))).toMatchObject({ code: 'internal', message: 'x is not a function' });
    expect(fromWire(toWire(Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' })))).toMatchObject({ code: 'no_space' });
  });
});

describe('TurnLock', () => {
  it('runs readers side by side and a writer alone, in order of arrival', async () => {
    const lock = new TurnLock();
    const events: string[] = [];
    const task = (name: string) => async () => {
      events.push(`${name}+`);
      await new Promise((resolve) => setTimeout(resolve, 2));
      events.push(`${name}-`);
    };
    await Promise.all([lock.run('shared', task('a')), lock.run('shared', task('b')), lock.run('exclusive', task('w')), lock.run('shared', task('c'))]);
    expect(events).toEqual(['a+', 'b+', 'a-', 'b-', 'w+', 'w-', 'c+', 'c-']);
    await expect(lock.run('exclusive', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    await expect(lock.run('exclusive', () => 1)).resolves.toBe(1);
  });
});

describe('execArgvForWorker', () => {
  it('drops the source condition and keeps the rest', () => {
    expect(execArgvForWorker(['--conditions', '@espalier/source', '--conditions', 'node', '-C', '@espalier/source', '--conditions=@espalier/source', '--no-warnings'])).toEqual(['--conditions', 'node', '--no-warnings']);
    expect(execArgvForWorker(['--max-semi-space-size=1', '--no-warnings'])).toBeUndefined();
  });
});
