import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { ask } from './ask';

/** A terminal whose keys are pressed one after another, once something has been asked. */
function terminal(...keys: string[]) {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined });
  const output = Object.assign(new PassThrough(), { columns: 80, rows: 40, isTTY: true });
  let shown = '';
  output.on('data', (chunk: Buffer) => void (shown += chunk.toString()));
  const press = setInterval(() => {
    const key = keys.shift();
    if (key === undefined) clearInterval(press);
    else input.write(key);
  }, 30);
  return { input, output, shown: () => shown };
}
const enter = '\r';
const down = '\u001b[B';
const interrupt = '\u0003';

describe('ask', () => {
  it('asks for kind and name', async () => {
    const { shown, ...streams } = terminal(down, enter, 'focal', enter);
    expect(await ask({}, streams)).toEqual({ kind: 'objective', name: 'focal' });
    expect(shown()).toContain('What does it add?');
    expect(shown()).toContain('What is it called?');
  });

  it('asks for what is missing alone', async () => {
    const { shown, ...streams } = terminal('tidy', enter);
    expect(await ask({ kind: 'stage' }, streams)).toEqual({ kind: 'stage', name: 'tidy' });
    expect(shown()).not.toContain('What does it add?');
  });

  it('says what is wrong with a name, and asks again', async () => {
    const { shown, ...streams } = terminal('T', enter, '\u007f', 't', enter);
    expect(await ask({ kind: 'stage' }, streams)).toMatchObject({ name: 't' });
    expect(shown()).toContain('is no name for a plugin');
  });

  it('gives nothing when it is cancelled', async () => {
    for (const given of [{}, { kind: 'reward' as const }]) {
      const { shown, ...streams } = terminal(interrupt);
      expect(await ask(given, streams)).toBeNull();
      expect(shown()).toContain('Nothing was written.');
    }
  });
});
