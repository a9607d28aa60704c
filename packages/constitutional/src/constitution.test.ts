import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { constitutionDigest, critiquePrinciples, defineConstitution, loadConstitution, parseConstitution, preferencePrinciples } from './constitution';
import { defaultConstitution } from './default-constitution';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-constitution-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

const yaml = `
name: house style
licence: CC0-1.0
source: our style guide
principles:
  - id: short
    critique_request: Where is it long?
    revision_request: Make it short.
    preference_question: Which is shorter?
    weight: 2
    tags: [style]
  - id: kind
    preference_question: Which is kinder?
critique_examples:
  - { prompt: p, answer: a, critique_request: c, critique: d, revision_request: r, revision: s }
`;

describe('a constitution', () => {
  it('is read from YAML, with defaults filled in', async () => {
    await writeFile(join(dir, 'house.yaml'), yaml);
    const house = await loadConstitution(join(dir, 'house.yaml'));
    expect(house.principles.map(({ id, weight, tags }) => ({ id, weight, tags }))).toEqual([{ id: 'short', weight: 2, tags: ['style'] }, { id: 'kind', weight: 1, tags: [] }]);
    expect(house.critiqueExamples[0].revisionRequest).toBe('r');
    expect(critiquePrinciples(house).map(({ id }) => id)).toEqual(['short']);
    expect(preferencePrinciples(house, ['style']).map(({ id }) => id)).toEqual(['short']);
    expect(() => preferencePrinciples(house, ['fierce'])).toThrow(/no principle for preferences with the tag fierce.*style/);
    expect(constitutionDigest(house)).not.toBe(constitutionDigest(parseConstitution(yaml.replace('kinder', 'milder'))));
  });

  it.each([
    [yaml.replace('Where is it long?', '[]'), /house\.yaml: principle 1 \("short"\): `critique_request`: must be text, found \[\]/],
    [yaml.replace('weight: 2', 'weight: -2'), /principle 1 \("short"\): `weight`: .*found -2/],
    [yaml.replace('    revision_request: Make it short.\n', ''), /principle 1 \("short"\): `revision_request`: a critique and its revision go together, it is missing/],
    [yaml.replace('    preference_question: Which is kinder?\n', ''), /principle 2 \("kind"\): `preference_question`/],
    [yaml.replace('tags: [style]', 'tag: style'), /principle 1 \("short"\): unknown field `tag`/],
    [yaml.replace('id: kind', 'id: short'), /principle 2 \("short"\): `id` is taken/],
    [yaml.replace('id: kind', 'name: kind'), /principle 2: `id`: must be text, it is missing/],
    [yaml.replace('licence: CC0-1.0\n', ''), /house\.yaml: `licence`: must be text, it is missing/],
    [yaml.replace(', revision: s', ''), /critique example 1: `revision`/],
    ['principles: [', /house\.yaml: not valid YAML: .*line 1/],
    ['just text', /house\.yaml: Invalid input/],
  ])('names file, principle and field of what is wrong (%#)', (text, message) => {
    expect(() => parseConstitution(text, 'house.yaml')).toThrow(expect.objectContaining({ code: 'bad_config', message: expect.stringMatching(message) as string }));
  });

  it('names the field as it is written in TypeScript', () => {
    expect(() => defineConstitution({ name: 'x', licence: 'y', source: 'z', principles: [{ id: 'a', critiqueRequest: 'c' }] })).toThrow(/`revisionRequest`/);
  });

  it('is not found, or not a constitution', async () => {
    await expect(loadConstitution(join(dir, 'none.yaml'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(loadConstitution(join(dir, 'none.txt'))).rejects.toMatchObject({ code: 'bad_config' });
  });

  it('has a default, whose principles ask for everything and keep harm and help apart', () => {
    expect(critiquePrinciples(defaultConstitution)).toHaveLength(16);
    expect(preferencePrinciples(defaultConstitution)).toHaveLength(16);
    const of = (tag: string) => preferencePrinciples(defaultConstitution, [tag]).map(({ id }) => id);
    expect(of('harmless').filter((id) => of('helpful').includes(id))).toEqual([]);
    expect(of('harmless').length + of('helpful').length).toBe(16);
  });
});
