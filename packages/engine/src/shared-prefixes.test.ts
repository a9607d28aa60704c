import { describe, expect, it } from 'vitest';
import { SharedPrefixes } from './shared-prefixes';

const run = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i);
const prompt = (...parts: number[][]) => Int32Array.from(parts.flat());

function group(...prompts: Int32Array[]) {
  const shared = new SharedPrefixes();
  const costs = prompts.map((one) => {
    const cost = shared.cost(one);
    shared.add(one);
    return cost;
  });
  return { groups: shared.groups, costs };
}

describe('prompts that begin alike', () => {
  it('share what is the same in all of them', () => {
    const { groups, costs } = group(prompt(run(100), [500, 501]), prompt(run(100), [600]), prompt(run(90), [700, 701]));
    expect(groups).toEqual([{ length: 90, members: [0, 1, 2] }]);
    expect(costs).toEqual([102, 1, 92 - (2 * 90 - 100)]);
  });

  it('keep their last token to themselves, even when they are equal or one begins the other', () => {
    expect(group(prompt(run(100)), prompt(run(100))).groups).toEqual([{ length: 99, members: [0, 1] }]);
    expect(group(prompt(run(200)), prompt(run(100))).groups).toEqual([{ length: 99, members: [0, 1] }]);
    expect(group(prompt(run(100)), prompt(run(200))).groups).toEqual([{ length: 99, members: [0, 1] }]);
  });

  it('do not share a short beginning, and do not give up a long one for a short one', () => {
    expect(group(prompt(run(40), [1]), prompt(run(40), [2])).groups).toEqual([{ length: 0, members: [0] }, { length: 0, members: [1] }]);
    const long = run(400);
    expect(group(prompt(long, [1]), prompt(long, [2]), prompt(long, [3]), prompt(run(70), run(300, 1000))).groups).toEqual([{ length: 400, members: [0, 1, 2] }, { length: 0, members: [3] }]);
  });

  it('count each token that must be computed once', () => {
    const prompts = Array.from({ length: 30 }, (_, i) => prompt(run(65 + (i % 7) * 20), run(5 + (i % 3), 10_000 + 100 * i)));
    const { groups, costs } = group(...prompts);
    const computed = groups.reduce((sum, { length, members }) => sum + length + members.reduce((rest, m) => rest + prompts[m].length - length, 0), 0);
    expect(costs.reduce((sum, cost) => sum + cost, 0)).toBe(computed);
    for (const { length, members } of groups) for (const m of members) expect([...prompts[m].subarray(0, length)]).toEqual([...prompts[members[0]].subarray(0, length)]);
    expect(groups.flatMap(({ members }) => members).sort((a, b) => a - b)).toEqual(prompts.map((_, i) => i));
  });
});
