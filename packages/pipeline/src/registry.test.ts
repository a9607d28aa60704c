import { definePlugin, defineReward } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { nearest } from './nearest';
import { createRegistry } from './registry';

const short = defineReward({ name: 'short', score: async (samples) => samples.map((sample) => -sample.completion.length) });
const brevity = definePlugin({ name: 'brevity', rewards: { short: () => short } });

describe('the registry', () => {
  it('finds a part by its name and by its plugin', async () => {
    const registry = createRegistry([brevity]);
    expect(await registry.lookup('rewards', 'short')()).toBe(short);
    expect(await registry.lookup('rewards', 'brevity/short')()).toBe(short);
    expect(registry.has('stages', 'short')).toBe(false);
    expect(registry.list().map(({ kind, name, plugin }) => `${plugin} ${kind} ${name}`)).toEqual(['brevity rewards short']);
  });

  it('names the nearest part when there is none', () => {
    expect(() => createRegistry([brevity]).lookup('rewards', 'shorts')).toThrow('no plugin gives rewards "shorts" (did you mean "short"?)');
    expect(() => createRegistry().lookup('rewards', 'short')).toThrow('register a plugin that does');
  });

  it('refuses other contracts, a name that is taken, and what is no plugin, adding nothing of them', () => {
    const registry = createRegistry([brevity]);
    expect(() => registry.register(brevity)).toThrow('registered already');
    expect(() => registry.register(definePlugin({ name: 'other', rewards: { long: () => short, short: () => short } }))).toThrow('rewards "short" is taken by plugin "brevity"');
    expect(registry.has('rewards', 'long')).toBe(false);
    expect(() => registry.register({ ...brevity, name: 'new', specVersion: 'v9' as 'v1' })).toThrow('speaks contracts "v9"');
    expect(() => registry.register(null as never)).toThrow('a plugin is an object, null was found');
    expect(() => registry.register({ specVersion: 'v1', name: 'bad', rewards: { x: 1 as never } })).toThrow('rewards.x is not a function');
  });
});

describe('nearest', () => {
  it('finds slips, other spellings and beginnings, and nothing for a word that is far off', () => {
    const known = ['learningRate', 'maxSteps', 'numGenerations'];
    expect(nearest('learning_rat', known)).toBe('learningRate');
    expect(nearest('max-step', known)).toBe('maxSteps');
    expect(nearest('num_generation', known)).toBe('numGenerations');
    expect(nearest('zebra', known)).toBeNull();
  });
});
