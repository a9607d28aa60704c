import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkRow } from '@espalier/data';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { critiqueRevise, revisionMetrics, revisionRows } from './critique-revise';
import { fivePrinciples, scripted } from './test-support';
import { defineConstitution } from './constitution';

let dir: string;
beforeAll(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-critique-'))));
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Says what it was asked for last, with the seed where it answers. */
const echo = () =>
  scripted({
    answer: (prompt, seed) => {
      const last = /(?:Criticise|Revise) by (\w+)\.$/.exec(prompt);
      return last ? `${last[0].startsWith('C') ? 'critique' : 'revision'} by ${last[1]} ${seed}` : `answer ${seed}`;
    },
  });
const items = Array.from({ length: 7 }, (_, i) => ({ prompt: [{ role: 'user', content: `question ${i}` }] }));
const constitution = fivePrinciples;

describe('critiqueRevise', () => {
  it('makes n rounds with a fresh principle each, and keeps them all', async () => {
    const model = echo();
    const revised = await critiqueRevise(model, items, { constitution, numRevisions: 4, batchSize: 3 });
    for (const { rounds } of revised) {
      expect(rounds).toHaveLength(4);
      expect(new Set(rounds.map(({ principle }) => principle)).size).toBe(4);
      for (const { principle, critique, revision } of rounds) {
        expect(critique).toMatch(new RegExp(`^critique by ${principle} `));
        expect(revision).toMatch(new RegExp(`^revision by ${principle} `));
      }
    }
    expect(new Set(revised.map(({ rounds }) => rounds.map(({ principle }) => principle).join())).size).toBeGreaterThan(1);
    // what is trained on does not end in the middle of a sentence
    for (const { prompts, options } of model.calls) expect(options.wholeSentences).toBe(!/Criticise by \w+\.$/.test(prompts[0]));
    // the second round criticises the first round's revision
    const { rounds, initial } = revised[0];
    expect(model.prompts).toContain(`user: question 0\nassistant: ${rounds[0].revision}\nuser: Criticise by ${rounds[1].principle}.`);
    expect(model.prompts).toContain(`user: question 0\nassistant: ${initial}\nuser: Criticise by ${rounds[0].principle}.\nassistant: ${rounds[0].critique!}\nuser: Revise by ${rounds[0].principle}.`);
    expect(revisionMetrics(revised)).toMatchObject({ rows: 7, excluded: 0, revisions: 28, unchanged: 0 });
  });

  it('gives the same rows whatever is batched together', async () => {
    const rows = async (batchSize: number) => critiqueRevise(echo(), items, { constitution, numRevisions: 2, batchSize, seed: 5 });
    expect(await rows(1)).toEqual(await rows(7));
    expect(await rows(2)).not.toEqual(await critiqueRevise(echo(), items, { constitution, numRevisions: 2, seed: 6 }));
  });

  it('gives rows for SFT with where they came from', async () => {
    const revised = await critiqueRevise(echo(), items, { constitution, numRevisions: 2, seed: 3 });
    const rows = revisionRows(revised, { constitution, critic: 'c', policyName: 'p' });
    expect(rows).toHaveLength(14);
    for (const row of rows) expect(checkRow(row, ['prompt_completion'])).toEqual({ type: 'prompt_completion', conversational: true });
    expect(rows[1].provenance).toEqual({ method: 'critique-revision', constitution: 'five', constitutionDigest: expect.stringMatching(/^[0-9a-f]{16}$/) as string, row: 0, round: 2, initial: revised[0].initial, rounds: revised[0].rounds, seed: 3, critic: 'c', policy: 'p' });
    expect(rows[0].provenance.rounds).toHaveLength(1);
    expect(revisionRows(revised, { constitution, keep: 'last' }).map(({ provenance }) => provenance.round)).toEqual(new Array(7).fill(2));
    const withInitial = revisionRows(revised, { constitution, keep: 'last', initial: true });
    expect(withInitial.map(({ provenance }) => provenance.round)).toEqual(new Array(7).fill([0, 2]).flat());
    expect(withInitial[0]).toMatchObject({ completion: [{ role: 'assistant', content: revised[0].initial }], provenance: { rounds: [] } });
  });

  it('leaves out a revision that repeats what an example answered, and keeps its first answer where that is asked for', async () => {
    const withExample = defineConstitution({ ...constitution, critiqueExamples: [{ prompt: 'What is the largest ocean?', answer: 'The Pacific is. It is deep.', critiqueRequest: 'CR', critique: 'C', revisionRequest: 'RR', revision: 'The Pacific is. Ask me more?' }] });
    const copying = { complete: async (prompts: readonly unknown[]) => prompts.map((prompt) => (JSON.stringify(prompt).includes('What is 2?') ? 'The Pacific is. Ask me more?' : 'Two. Ask me more?')) };
    const revised = await critiqueRevise(copying, [{ prompt: 'What is 2?', answer: 'Two.' }, { prompt: 'What is 1 + 1?', answer: 'Two.' }], { constitution: withExample, numRevisions: 1, seed: 1 });
    expect(revised.map(({ excluded }) => excluded)).toEqual(['round 1: the revision repeats what an example answered', undefined]);
    expect(revisionRows(revised, { constitution, initial: true }).map(({ completion, provenance }) => [completion, provenance.row, provenance.round])).toEqual([['Two.', 0, 0], ['Two.', 1, 0], ['Two. Ask me more?', 1, 1]]);
  });

  it('shows the examples, takes answers that are there, and writes plain text for a model that has no chat', async () => {
    const withExample = defineConstitution({ ...constitution, critiqueExamples: [{ prompt: 'P', answer: 'A', critiqueRequest: 'CR', critique: 'C', revisionRequest: 'RR', revision: 'R' }] });
    const model = scripted({ answer: () => 'text' });
    await critiqueRevise(model, [{ prompt: 'Q', answer: 'given' }], { constitution: withExample, numRevisions: 1, format: 'plain', tags: ['even'] });
    expect(model.prompts).toHaveLength(2);
    expect(model.prompts[0]).toMatch(/^Human: P\n\nAssistant: A\n\nCritique Request: CR\n\nCritique: C\n\nRevision Request: RR\n\nRevision: R\n\nHuman: Q\n\nAssistant: given\n\nCritique Request: Criticise by (two|four)\.\n\nCritique:$/);
    expect(model.prompts[1]).toMatch(/Critique: text\n\nRevision Request: Revise by (two|four)\.\n\nRevision:$/);
    expect(model.calls[0].options.stop).toContain('\n\nHuman:');
  });

  it('excludes a row whose critique or revision is empty, and goes on with the others', async () => {
    const mute = scripted({ answer: (prompt) => (/question [24][^]*Revise/.test(prompt) || /question 5[^]*Criticise/.test(prompt) ? ' \n' : 'text') });
    const revised = await critiqueRevise(mute, items, { constitution, numRevisions: 2 });
    expect(revised.map(({ excluded }) => excluded ?? null)).toEqual([null, null, 'round 1: the revision is empty', null, 'round 1: the revision is empty', 'round 1: the critique is empty', null]);
    expect(revisionRows(revised, { constitution })).toHaveLength(8);
    expect(revisionMetrics(revised).excluded).toBe(3);
  });

  it('goes on from its log: no finished row is made again, a torn line is', async () => {
    const log = join(dir, 'log.jsonl');
    const whole = await critiqueRevise(echo(), items, { constitution, numRevisions: 2, log, batchSize: 2 });
    const text = await readFile(log, 'utf8');
    const lines = text.split('\n');
    await writeFile(log, `${lines.slice(0, 4).join('\n')}\n${lines[4].slice(0, 30)}`); // three rows, and a part of the fourth
    const model = echo();
    expect(await critiqueRevise(model, items, { constitution, numRevisions: 2, log, resume: true, batchSize: 5 })).toEqual(whole);
    expect(model.prompts.filter((prompt) => /question [012]\b/.test(prompt))).toEqual([]);
    expect((await readFile(log, 'utf8')).split('\n').sort()).toEqual(lines.sort());
    await expect(critiqueRevise(echo(), items, { constitution, numRevisions: 2, log })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('7 finished rows') as string });
    await expect(critiqueRevise(echo(), items, { constitution, numRevisions: 3, log, resume: true })).rejects.toMatchObject({ code: 'bad_config' });
    await writeFile(log, text.replace(lines[1], lines[1].slice(1)));
    await expect(critiqueRevise(echo(), items, { constitution, numRevisions: 2, log, resume: true })).rejects.toMatchObject({ code: 'bad_data', message: expect.stringMatching(/log\.jsonl:\d+: the line is damaged/) as string });
  });

  it('refuses more rounds than there are principles, and stops when it is aborted', async () => {
    await expect(critiqueRevise(echo(), items, { constitution, numRevisions: 6 })).rejects.toMatchObject({ code: 'bad_config', message: expect.stringContaining('fresh') as string });
    await expect(critiqueRevise(echo(), items, { constitution, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});
