import { describe, expect, it } from 'vitest';
import { sharedOpening } from './shared-opening';

/** Opens when it is let, or rejects when its signal fires. */
function gate() {
  const state = { opened: 0, stopped: 0, let: (_: string) => {}, fail: (_: Error) => {} };
  const shared = sharedOpening(
    (signal) =>
      new Promise<string>((resolve, reject) => {
        state.opened++;
        state.let = resolve;
        state.fail = reject;
        signal.addEventListener('abort', () => (state.stopped++, reject(new Error('stopped'))));
      }),
  );
  return { state, shared };
}

describe('sharedOpening', () => {
  it('opens once for all', async () => {
    const { state, shared } = gate();
    const both = Promise.all([shared.get(), shared.get(new AbortController().signal)]);
    state.let('it');
    expect(await both).toEqual(['it', 'it']);
    expect(await shared.get()).toBe('it');
    expect(await shared.opened()).toBe('it');
    expect(state).toMatchObject({ opened: 1, stopped: 0 });
  });

  it('a caller that is aborted leaves the others waiting', async () => {
    const { state, shared } = gate();
    const controller = new AbortController();
    const [first, second] = [shared.get(controller.signal), shared.get()];
    controller.abort();
    await expect(first).rejects.toMatchObject({ code: 'aborted' });
    state.let('it');
    expect(await second).toBe('it');
    expect(state.stopped).toBe(0);
  });

  it('the last one that leaves stops it, and the next one opens again', async () => {
    const { state, shared } = gate();
    const controller = new AbortController();
    const all = Promise.allSettled([shared.get(controller.signal), shared.get(controller.signal)]);
    controller.abort();
    expect((await all).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(state.stopped).toBe(1);
    expect(await shared.opened()).toBeNull();
    await expect(shared.get(AbortSignal.abort())).rejects.toMatchObject({ code: 'aborted' });
    expect(state.opened).toBe(1);
    const again = shared.get();
    state.let('it');
    expect(await again).toBe('it');
    expect(state.opened).toBe(2);
  });

  it('what failed is tried again', async () => {
    const { state, shared } = gate();
    const first = shared.get();
    state.fail(new Error('no such model'));
    await expect(first).rejects.toThrow('no such model');
    const second = shared.get();
    state.let('it');
    expect(await second).toBe('it');
  });
});
