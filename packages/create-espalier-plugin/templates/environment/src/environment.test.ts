import { describeEnvironment } from '@espalier/testkit';
import { describe, expect, it } from 'vitest';
import { __camelName__Environment } from './environment.js';

const reply = (content: string) => ({ role: 'assistant', content });

describeEnvironment(() => __camelName__Environment(), { rows: [{}, { max: 5 }], seeds: [1, 2, 3], reply: (_, step) => reply(String(step + 1)), maxSteps: 8 });

describe('__camelName__Environment', () => {
  it('is won by halving, whatever the number', async () => {
    for (let seed = 0; seed < 50; seed++) {
      const environment = __camelName__Environment();
      await environment.reset({}, seed);
      let [low, high, reward] = [1, 100, 0];
      for (let done = false; !done; ) {
        const middle = Math.floor((low + high) / 2);
        const step = await environment.step(reply(`I say ${middle}.`));
        done = step.done;
        reward = Number(step.reward ?? 0);
        if (step.observation?.[0].content === 'Higher.') low = middle + 1;
        else high = middle - 1;
      }
      expect(reward).toBeGreaterThan(0);
    }
  });

  it('earns less with every guess, and nothing after the last', async () => {
    const environment = __camelName__Environment({ max: 1, maxGuesses: 2 });
    await environment.reset({}, 1);
    expect(await environment.step(reply('1'))).toEqual({ reward: 1, done: true });
    await environment.reset({}, 1);
    expect(await environment.step(reply('no idea'))).toMatchObject({ observation: [{ content: 'Reply with a number.' }], done: false });
    expect(await environment.step(reply('one: 1'))).toEqual({ reward: 0.5, done: true });
    await environment.reset({}, 1);
    await environment.step(reply('2'));
    expect(await environment.step(reply('3'))).toEqual({ reward: 0, done: true });
  });

  it('thinks of all numbers', async () => {
    const firsts = new Set<number>();
    for (let seed = 0; seed < 60; seed++) {
      const environment = __camelName__Environment({ max: 3, maxGuesses: 3 });
      await environment.reset({}, seed);
      for (let guess = 1; guess <= 3; guess++) {
        if ((await environment.step(reply(String(guess)))).done) {
          firsts.add(guess);
          break;
        }
      }
    }
    expect([...firsts].sort()).toEqual([1, 2, 3]);
  });

  it('refuses a range that is none', async () => {
    expect(() => __camelName__Environment({ max: 0 })).toThrow('__name__: `max` is 0');
    await expect(__camelName__Environment().reset({ max: 2.5 }, 1)).rejects.toMatchObject({ code: 'bad_data' });
  });
});
