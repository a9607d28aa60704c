import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { taskFamilies } from '@espalier/data';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineReward, type Completion, type Metrics, type RewardSample, type RolloutEngine } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RPTTrainer, type RPTTrainerOptions } from '../trainer';
import { arithmeticGame, familyGame, gameNamed, type SelfPlayGame } from './games';
import { selfPlayObjective } from './objective';
import { proposerReward } from './proposer-reward';
import { RoleBaselines } from './role-baselines';
import { selfPlayAlgorithm } from './self-play-algorithm';
import { proposing, selfPlayReward } from './self-play-reward';

describe('the proposer is paid', () => {
  it('for what is solved now and then; nothing for the impossible', () => {
    expect([0, 1 / 8, 0.5, 1].map((rate) => proposerReward(rate, 'edge'))).toEqual([0, 7 / 8, 0.5, 0]);
    expect([0, 0.5, 1].map((rate) => proposerReward(rate, 'zero-sum'))).toEqual([1, 0.5, 0]);
    expect(proposerReward(0.5, 'edge', 4)).toBe(0.125);
  });
});

describe('role baselines', () => {
  it('are each role\'s own moving average, and go on from their state', () => {
    const roles = new RoleBaselines(0.75);
    expect(roles.advantages('proposer', [1, 3])).toEqual([-1, 1]); // the first round sets it: 2
    expect(roles.advantages('solver', [0])).toEqual([0]);
    const other = new RoleBaselines(0.75);
    other.restore(JSON.parse(JSON.stringify(roles.state())) as never);
    for (const each of [roles, other]) expect(each.advantages('proposer', [6])).toEqual([6 - (0.75 * 2 + 0.25 * 6)]);
    expect(roles.advantages('solver', [])).toEqual([]);
  });
});

describe('games', () => {
  it.each<[string, string | null]>([['12+7', '19'], ['Try this: (3 + 4) * 2 please', '14'], ['7 / 2', null], ['7', null], ['1234+1', null], ['1+2+3+4+5', null], ['5 / 0', null], ['no', null], ['((((', null], ['2 - 9', '-7']])('arithmetic reads %s', (text, answer) => {
    const read = arithmeticGame().read(text, 1);
    expect(read?.row['answer'] ?? null).toBe(answer);
  });

  it('a family is drawn from by its name and difficulty, and verifies itself', async () => {
    const game = gameNamed('chain+count_letters');
    const problem = game.read('I choose count_letters 3.', 77)!;
    expect(problem.row).toMatchObject({ family: 'count_letters', difficulty: 3 });
    expect(game.read('count_letters 3', 77)).toEqual(problem);
    expect(game.read('count_letters 9', 77)).toBeNull();
    expect(game.read('juggling 2', 77)).toBeNull();
    const sample = (completion: string): RewardSample => ({ prompt: problem.prompt, completion, completionTokens: Int32Array.of(1), finishReason: 'stop', group: 'a', row: { ...problem.row } });
    expect(await game.verifier.score([sample(String(problem.row['answer'])), sample('none of it')], { step: 0 })).toEqual([1, 0]);
    expect(() => gameNamed('juggling')).toThrow(/there is no task family "juggling"/);
    expect(() => familyGame([])).toThrow(/no task families/);
  });

  it.each(taskFamilies.map(({ name }) => name))('family %s can be played', async (name) => {
    const game = gameNamed(name === 'arithmetic' ? 'arithmetic+chain' : name);
    const problem = game.read(`${name} 2`, 5)!;
    const [verdict] = await game.verifier.score([{ prompt: problem.prompt, completion: String(problem.row['answer']), completionTokens: Int32Array.of(1), finishReason: 'stop', group: 'a', row: { ...problem.row } }], { step: 0 });
    expect(verdict).not.toBeNull();
  });
});

/** Solves `a+b` in those attempts alone whose index is below `a`. */
const solver: RolloutEngine = {
  specVersion: 'v1', name: 'script', capabilities: { tokenIds: true, logps: true, sync: 'none' },
  async *generate(requests) {
    for (const { id, prompt, n = 1 } of requests) {
      const [a, b] = String.fromCharCode(...prompt).match(/\d+/g)!.map(Number);
      for (let index = 0; index < n; index++) yield { requestId: id, index, tokens: Int32Array.of(9), logps: Float32Array.of(-1), text: String(index < a ? a + b : -1), finishReason: 'stop', version: 1 } satisfies Completion;
    }
  },
  close: async () => {},
};
const tokenizer = { encode: (text: string) => Int32Array.from([...text].map((c) => c.charCodeAt(0))), applyChatTemplate: () => '' };
const proposals = (...texts: string[]): RewardSample[] => texts.map((completion) => ({ prompt: 'p', completion, completionTokens: Int32Array.of(1), finishReason: 'stop', group: 'g', row: { [proposing]: true } }));
const rewardOf = (more: Partial<Parameters<typeof selfPlayReward>[0]> = {}) => selfPlayReward({ game: arithmeticGame({ format: 'text' }), solver: () => ({ rollouts: solver, tokenizer }), proposerReward: 'edge', attempts: 4, invalidReward: -0.5, sampling: { maxNewTokens: 4 }, seed: 1, maxPositions: () => 200, ...more });

describe('a round', () => {
  it('pays proposals by how often they are solved, and keeps the attempts', async () => {
    const reward = rewardOf();
    const scores = await reward.score(proposals('1+5', '0+5', '9+5', 'nonsense', '1+5'), { step: 3 });
    expect(scores).toEqual([
      { total: 0.75 / 2, components: { valid: 1, pass_rate: 0.25, at_edge: 1, repeated: 1 } },
      { total: 0, components: { valid: 1, pass_rate: 0, at_edge: 0, repeated: 0 } },
      { total: 0, components: { valid: 1, pass_rate: 1, at_edge: 0, repeated: 0 } },
      { total: -0.5, components: { valid: 0 } },
      { total: 0.75 / 2, components: { valid: 1, pass_rate: 0.25, at_edge: 1, repeated: 1 } },
    ]);
    expect(reward.take('g/0')!.map(({ rewards }) => rewards['solver'])).toEqual([1, 0, 0, 0]);
    expect([reward.take('g/3'), reward.take('g/4')]).toEqual([undefined, undefined]); // none, and attempted already
    await reward.score(proposals('2+2'), { step: 4 });
    expect(reward.take('g/1')).toBeUndefined(); // of the round before
  });

  it('verifies replies to problems, learns nothing in an evaluation, and takes a problem without room for none', async () => {
    const reward = rewardOf();
    expect(await reward.score([{ ...proposals('12')[0], row: { answer: '12' } }, { ...proposals('13')[0], row: { answer: '12' } }], { step: 0, evaluation: true })).toEqual([1, 0]);
    await reward.score(proposals('1+5'), { step: 0, evaluation: true });
    expect(reward.take('g/0')).toBeUndefined();
    expect(await rewardOf({ maxPositions: () => 10 }).score(proposals('1+5'), { step: 0 })).toEqual([{ total: -0.5, components: { valid: 0 } }]);
  });

  it.each(['group', 'ema'] as const)('trains proposals and attempts with the advantages of their role: %s', async (baseline) => {
    const trajectory = (id: string, token: number, rewards: Record<string, number>) => ({ id, group: 'g', seed: 1, tokens: Int32Array.of(1, token), trainable: Uint8Array.of(0, 1), samplerLogps: null, versions: [], turns: [], finishReason: 'stop' as const, rewards });
    const group = [trajectory('g/0', 2, { self_play: 0.75 }), trajectory('g/1', 3, { self_play: 0.25 })];
    const attempts = [trajectory('s/0', 4, { solver: 1 }), trajectory('s/1', 5, { solver: 0 }), trajectory('s/2', 6, { solver: 0 }), trajectory('s/3', 7, { solver: 0 })];
    const algorithm = selfPlayAlgorithm({ attemptsOf: (id) => (id === 'g/0' ? attempts : undefined), baseline, decay: 0.5 });
    const { batch, metrics, advantages } = await algorithm.experience([group], { step: 0, learner: null as never, rewardWeights: {}, maxCompletionLength: 4, temperature: 1 });
    const of = (token: number) => batch.columns.advantages[batch.actionIndex.indexOf(batch.tokens.indexOf(token))];
    // Against the mean of the others: 0.75 − 0.25; of the solvers 1 − 0 and 0 − 1/3. Against the average of the role: half and a quarter.
    expect([2, 3, 4, 5].map(of)).toEqual((baseline === 'group' ? [0.5, -0.5, 1, -1 / 3] : [0.25, -0.25, 0.75, -0.25]).map((v) => expect.closeTo(v, 6)));
    expect(metrics).toMatchObject({ 'self_play/problems': 1, 'self_play/solver_reward': 0.25, reward: 0.5 });
    expect(advantages![0]).toEqual(baseline === 'group' ? [0.5, -0.5] : [0.25, -0.25]);
  });
});

describe('RPTTrainer with objective self-play', () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'espalier-self-play-'));
    await createModel(join(dir, 'model'), { config: { hiddenSize: 16, numLayers: 2, numHeads: 2, maxPositions: 32 }, tokenizer: characterTokenizer('0123456789+?='), seed: 1 });
  });
  afterAll(async () => rm(dir, { recursive: true, force: true }));

  /** A game that a model without knowledge can play: propose a digit; to solve it is to repeat it, which small ones are at most half the time. */
  const digits: SelfPlayGame = {
    name: 'digits', template: '?',
    read: (proposal) => (/^\d/.test(proposal) ? { prompt: `${proposal[0]}=`, row: { answer: proposal[0] }, identity: proposal[0] } : null),
    verifier: defineReward({ name: 'same', score: async (samples) => samples.map(({ completion, row }) => Number(completion.startsWith(String(row['answer'])))) }),
  };
  const make = (name: string, args: RPTTrainerOptions['args'] = {}, more: Partial<RPTTrainerOptions> = {}) =>
    new RPTTrainer({ model: join(dir, 'model'), objective: selfPlayObjective(digits), trainDataset: [{ prompt: 'x' }], inline: true, ...more, args: { outputDir: join(dir, name), maxSteps: 4, perDeviceTrainBatchSize: 16, numGenerations: 8, maxCompletionLength: 1, solverAttempts: 4, learningRate: 3e-3, loggingSteps: 1, saveSteps: 2, ...args } });

  it('learns to solve what it proposes', async () => {
    const seen: Metrics[] = [];
    const trainer = make('learns', { maxSteps: 60, learningRate: 1e-2, saveStrategy: 'no', adamBeta2: 0.95 }, { callbacks: [{ onStep: (_, metrics) => void seen.push(metrics) }], evalDataset: Array.from({ length: 10 }, (_, d) => ({ prompt: `${d}=`, answer: String(d) })) });
    const before = await trainer.evaluate();
    await trainer.train();
    const after = await trainer.evaluate();
    await trainer.close();
    expect(seen.at(-1)).toMatchObject({ 'rewards/self_play/valid/mean': expect.any(Number), 'self_play/problems': expect.any(Number) });
    const valid = (part: readonly Metrics[]) => part.reduce((sum, metrics) => sum + metrics['rewards/self_play/valid/mean'], 0) / part.length;
    expect(valid(seen.slice(-10))).toBeGreaterThan(valid(seen.slice(0, 5)));
    expect(after.reward).toBeGreaterThan(before.reward);
  });

  it('zero-sum goes on after an interruption to the same bytes, baselines included', async () => {
    const args = { proposerReward: 'zero-sum' } as const;
    const straight = make('straight', args);
    await straight.train();
    await straight.close();
    const controller = new AbortController();
    const first = make('stopped', args, { callbacks: [{ onStep: ({ step }) => void (step === 3 && controller.abort()) }] });
    await expect(first.train({ signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
    await first.close();
    const second = make('stopped', args);
    await second.train({ resume: true });
    await second.close();
    const weights = (name: string) => readFile(join(dir, name, 'checkpoints', 'step-000004', 'model.safetensors'));
    expect((await weights('stopped')).equals(await weights('straight'))).toBe(true);
  });

  it('refuses what does not go together', () => {
    expect(() => make('x', { dynamicSampling: true })).toThrow(/`dynamic_sampling` looks at proposals alone/);
    expect(() => make('x', {}, { rewardFuncs: defineReward({ name: 'r', score: async () => [] }) })).toThrow(/has no use for `rewardFuncs`/);
    expect(() => make('x', { selfPlayGame: 'juggling' }, { objective: selfPlayObjective() })).toThrow(/there is no task family "juggling"/);
  });
});
