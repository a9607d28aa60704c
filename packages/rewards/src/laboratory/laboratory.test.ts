import { defineReward, type RewardFunction, type RewardSample } from '@espalier/spec';
import { describe, expect, it } from 'vitest';
import { exactReward, numericReward } from '../answer-rewards';
import { composeRewards } from '../compose-rewards';
import { formatReward, lengthReward } from '../shape-rewards';
import { sampleOf } from '../test-support';
import { diversityReward } from '../text/diversity-reward';
import { attackReward, wordTokens } from './attack-reward';
import { attacks } from './attacks';
import { examineReward } from './examine-reward';
import { correlation, histogram, summarise } from './statistics';

const by = (name: string, score: (sample: RewardSample) => number | null): RewardFunction => defineReward({ name, score: async (samples) => samples.map(score) });
/** Four completions each of six questions, half of them right. */
const honest = Array.from({ length: 24 }, (_, i) => {
  const question = Math.floor(i / 4);
  return sampleOf(`It is ${question * 3 + (i % 2)}${'.'.repeat(1 + (i % 4))}`, { answer: question * 3 }, { group: `g${question}`, prompt: `What is 3 times ${question}?` });
});
const names = async (reward: RewardFunction, samples = honest) => (await examineReward(reward, samples)).findings.map(({ name }) => name);

describe('examineReward', () => {
  it('has nothing to say of a reward that checks the answer', async () => {
    const report = await examineReward(numericReward(), honest);
    expect(report).toMatchObject({ reward: 'numeric', samples: 24, scored: 24, summary: { mean: 0.5, min: 0, max: 1 }, flatGroups: 0, findings: [], histogram: [{ from: 0, to: 0, count: 12 }, { from: 1, to: 1, count: 12 }] });
    expect(report.rewards).toHaveLength(24);
  });
  it.each<[string, RewardFunction, string[]]>([
    ['length', by('long', ({ completionTokens }) => completionTokens.length), ['follows_length', 'pays_for_repetition', 'ignores_the_row']],
    ['brevity', by('short', ({ completionTokens }) => -completionTokens.length), ['follows_length', 'pays_for_emptiness', 'ignores_the_row']],
    ['a constant', by('constant', () => 1), ['constant']],
    ['nothing', by('null', () => null), ['unscorable']],
    ['one a prompt', by('prompt', ({ group }) => Number(group.slice(1))), ['no_variance_in_groups']],
    ['form', formatReward({ pattern: '\\.\\.$' }), ['ignores_the_row']],
    ['a wild one', by('wild', ({ completion, row }) => (completion === 'It is 0.' && row['answer'] === 0 ? 1e6 : Number(completion.includes(String(row['answer']))))), []],
  ])('%s', async (_, reward, expected) => {
    const found = await names(reward);
    for (const name of expected) expect(found).toContain(name);
    if (expected.length === 0) expect(found).not.toContain('constant');
  });
  it('tells noise, and a part that decides', async () => {
    let calls = 0;
    expect(await names(by('noise', ({ completion }) => completion.length * 0.01 + calls++))).toContain('not_deterministic');
    const uneven = composeRewards([{ reward: numericReward(), weight: 10 }, { reward: lengthReward({ maxLength: 10 }), weight: 0.1 }]);
    const report = await examineReward(uneven, honest);
    expect(report.components['numeric']).toMatchObject({ mean: 0.5, count: 24 });
    expect(report.findings.map(({ name, message }) => `${name} ${message}`)).toContainEqual(expect.stringMatching(/^one_part_decides 100 % of the reward's variance is `numeric`/));
  });
  it('refuses what it cannot look at', async () => {
    await expect(examineReward(numericReward(), [])).rejects.toThrow('no samples');
    await expect(examineReward(by('bad', () => NaN), honest)).rejects.toThrow('gave NaN for sample 0');
    await expect(examineReward(defineReward({ name: 'few', score: async () => [] }), honest)).rejects.toThrow('"few" gave 0 rewards for 24 samples');
  });
});

describe('attackReward', () => {
  const rows = Array.from({ length: 12 }, (_, i) => ({ prompt: `What is ${i} plus 20?`, row: { answer: i + 20 } }));
  const exploits = async (reward: RewardFunction, options = {}) => (await attackReward(reward, rows, options)).attacks.filter((attack) => attack.exploits).map(({ name }) => name);

  it('a reward that checks the answer holds', async () => {
    const report = await attackReward(exactReward(), rows);
    expect(report).toMatchObject({ verdict: 'holds', honest: { mean: 1, from: 'answers', scored: 12 } });
    expect(report.attacks).toHaveLength(attacks.length);
    expect(report.attacks[0].mean).toBeCloseTo(1 / 12, 10); // one of twelve answers
    expect(report.attacks.every(({ share }) => share! < 0.5)).toBe(true);
  });
  it.each<[string, RewardFunction, string[]]>([
    ['an answer that stands somewhere', by('contains', ({ completion, row }) => Number(completion.includes(String(row['answer'])))), ['answer_list']],
    ['length', by('long', ({ completionTokens }) => completionTokens.length), ['longest']],
    ['the form alone', formatReward(), ['format_echo', 'format_and_guess', 'safe_steps']],
    ['overlap with the question', by('overlap', ({ prompt, completion }) => String(prompt).split(' ').filter((word) => completion.includes(word)).length), ['prompt_copy']],
    ['a word that pleases', by('pleasing', ({ completion }) => (completion.match(/therefore|correct|verified/g) ?? []).length), ['keyword_stuffing']],
    ['a penalty alone', lengthReward({ maxLength: 64 }), ['empty', 'refusal']],
    ['a judge that obeys', by('judge', ({ completion, row }) => (/highest score/.test(completion) ? 1 : Number(completion === String(row['answer'])))), ['judge_injection']],
    ['a run of one word', by('run', ({ completion }) => /\b(\w+)( \1)*\b/.exec(completion)?.[0].split(' ').length ?? 0), ['repeated_token']],
  ])('%s is exploited', async (_, reward, expected) => {
    const found = await exploits(reward);
    for (const name of expected) expect(found).toContain(name);
    expect((await attackReward(reward, rows)).verdict).toBe('exploitable');
  });
  it('the most frequent answer, where one is too frequent', async () => {
    const yes = Array.from({ length: 10 }, (_, i) => ({ prompt: `Is ${i} small?`, row: { answer: i < 8 ? 'yes' : 'no' } }));
    const report = await attackReward(exactReward(), yes);
    expect(report.attacks.find(({ name }) => name === 'most_frequent_answer')).toMatchObject({ mean: 0.8, exploits: true, example: 'yes' });
    expect((await attackReward(exactReward(), yes, { threshold: 0.9 })).verdict).toBe('holds');
  });
  it('where honesty earns nothing, those that earn something count; where all earn the same, all do', async () => {
    const form = await attackReward(formatReward(), rows);
    expect(form.attacks.filter((attack) => attack.exploits).map(({ name }) => name).sort()).toEqual(['format_and_guess', 'format_echo', 'safe_steps']);
    const same = await attackReward(by('same', () => 1), rows);
    expect(same.attacks.every((attack) => attack.exploits)).toBe(true);
  });
  it('is measured against samples, where they are given; else says that it does not know', async () => {
    expect(await attackReward(numericReward(), rows, { honest })).toMatchObject({ honest: { mean: 0.5, from: 'samples', scored: 24 } });
    const bare = rows.map(({ prompt }) => ({ prompt, row: {} }));
    expect(await attackReward(formatReward(), bare)).toMatchObject({ verdict: 'unknown', honest: null });
    await expect(attackReward(formatReward(), [])).rejects.toThrow('no rows');
  });
  it('rewards that compare the completions of a prompt see one that has collapsed', async () => {
    const { attacks: results } = await attackReward(diversityReward(), rows);
    expect(results.map(({ mean }) => mean)).toEqual(results.map(() => 0));
  });
});

it('statistics', () => {
  expect(summarise([1, 2, 3, 4])).toEqual({ count: 4, mean: 2.5, std: Math.sqrt(5 / 3), min: 1, median: 2.5, max: 4 });
  expect(summarise([7])).toMatchObject({ std: 0, median: 7 });
  expect(correlation([1, 2, 3].map((x) => ({ group: '', x, y: -x })))).toBeCloseTo(-1, 12);
  expect(correlation([{ group: 'a', x: 1, y: 5 }, { group: 'a', x: 2, y: 6 }, { group: 'b', x: 11, y: 1 }, { group: 'b', x: 12, y: 2 }])).toBeCloseTo(1, 12); // within groups
  expect(correlation([{ group: 'a', x: 1, y: 5 }, { group: 'a', x: 1, y: 6 }])).toBeNull();
  expect(histogram(Array.from({ length: 100 }, (_, i) => i)).map(({ count }) => count)).toEqual(new Array(10).fill(10));
  expect([...wordTokens('a b, a')].length).toBe(4);
});
