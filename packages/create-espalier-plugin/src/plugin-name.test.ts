import { describe, expect, it } from 'vitest';
import { camelCase, pascalCase, readPluginName } from './plugin-name';

describe('readPluginName', () => {
  it.each([
    ['short-answers', 'espalier-plugin-short-answers', 'short-answers', 'espalier-plugin-short-answers'],
    ['espalier-plugin-short-answers', 'espalier-plugin-short-answers', 'short-answers', 'espalier-plugin-short-answers'],
    ['@me/short', '@me/espalier-plugin-short', 'short', 'espalier-plugin-short'],
    ['@me/espalier-plugin-short', '@me/espalier-plugin-short', 'short', 'espalier-plugin-short'],
    [' gsm8k ', 'espalier-plugin-gsm8k', 'gsm8k', 'espalier-plugin-gsm8k'],
  ])('%s is the package %s', (typed, name, part, folder) => expect(readPluginName(typed)).toEqual({ package: name, part, folder }));

  it.each([
    ['', 'a plugin needs a name'],
    ['Short Answers', 'short-answers)'],
    ['ShortAnswers', 'a letter first: short-answers)'],
    ['kısa_cevap', 'a letter first: k-sa-cevap)'],
    ['4x4', 'a letter first: x4)'],
    ['a--b', 'a letter first: a-b)'],
    ['../evil', '".." is no scope of npm'],
    ['@me/', 'is no name for a plugin'],
    ['@/x', '"@" is no scope of npm'],
    ['@me/a/b', '"@me/a/b" is no name for a plugin'],
    ['espalier-plugin-', 'is no name for a plugin'],
    ['a'.repeat(300), 'npm takes 214'],
    ['$(touch x)', 'is no name for a plugin'],
  ])('refuses %j', (typed, message) => {
    expect(() => readPluginName(typed)).toThrow(message);
    expect(() => readPluginName(typed)).toThrow(expect.objectContaining({ code: 'usage' }));
  });
});

it('makes identifiers of names', () => {
  expect(camelCase('short-answers-2')).toBe('shortAnswers2');
  expect(pascalCase('short-answers-2')).toBe('ShortAnswers2');
  expect(pascalCase('gsm8k')).toBe('Gsm8k');
});
