import { hash32 } from '@espalier/data';
import { EspalierError, isEspalierError, throwIfAborted, type Completion, type GenerateRequest, type Message, type RolloutEngine, type SamplingOptions } from '@espalier/spec';
import type { Conversation } from './conversation';
import type { EnvironmentPool } from './environment-pool';
import type { Episode, EpisodeGroup, EpisodeTask } from './episode';
import { EpisodeBuilder } from './episode-builder';

/** An environment with what episodes in it need to know. */
export interface EpisodeEnvironment {
  pool: EnvironmentPool;
  /** Messages to token ids; it was told the environment's tools. */
  conversation: Conversation;
  /** Replies an episode. Default 10. */
  maxTurns?: number | undefined;
  /** New tokens a reply. Default: what is left of the episode's. */
  maxTurnTokens?: number | undefined;
  /** A beginning of more tokens is refused: it would leave no room. Default: none is. */
  maxPromptTokens?: number | undefined;
}

export interface CollectEpisodesOptions {
  /** Episodes a task. Default 1. */
  n?: number;
  /** `maxNewTokens` counts all that comes after the prompt: replies, and what tools and environment say between them. */
  sampling?: SamplingOptions;
  /** Default: none. An episode is then one reply to the task's prompt. */
  environment?: EpisodeEnvironment;
  /** A learner trains on the episodes before the weights change: see `RolloutEngine.generate`. Default false. */
  forTraining?: boolean;
  signal?: AbortSignal;
  /** Told about each episode as it ends: for progress. */
  onEpisode?(episode: Episode, done: number, total: number): void;
}

/** A token is rarely longer than this; text that is too long for what is left in any case is not tokenised. */
const charactersPerToken = 64;

/**
 * `n` episodes of each task, in the order of the tasks, by index. Turn by turn: every episode that goes on gives its ids so far, all are sampled together, and each reply
 * goes to its environment as soon as it ends, while the others are still sampled. Ids are appended and never made again from text: the prompt of a turn is that of the
 * turn before, the sampled ids, and the ids of the observation.
 *
 * The first turn's sample `k` of a task is determined by (seed, k), later turns by (seed, k, turn): neither by other episodes nor by time.
 *
 * A failing environment (it throws, takes too long, or breaks its contract) ends its own episode alone, which then says why in `failure`.
 *
 * @throws EspalierError `aborted` when the signal fires; `bad_data` for two tasks of one id; `internal` when the engine leaves a sample out; what the engine throws; and
 * when every episode failed, what the first one failed with
 *
 * @example
 * const pool = new EnvironmentPool(() => guessingGame());
 * const environment = { pool, conversation: new Conversation(engine.tokenizer), maxTurns: 6 };
 * const groups = await collectEpisodes(rollouts, [{ id: 'a', row: {}, seed: 1 }], { n: 8, environment, sampling: { maxNewTokens: 64 } });
 */
export async function collectEpisodes<Row>(engine: RolloutEngine, tasks: readonly EpisodeTask<Row>[], options: CollectEpisodesOptions = {}): Promise<EpisodeGroup<Row>[]> {
  const { n = 1, environment, signal } = options;
  throwIfAborted(signal);
  const ids = new Set<string>();
  for (const { id } of tasks) if (ids.size === ids.add(id).size) throw new EspalierError('bad_data', `two tasks have the id "${id}"`, { fix: 'number them' });
  const groups = tasks.map((task) => Array.from({ length: n }, (_, index) => new EpisodeBuilder(task, index)));
  const all = groups.flat();
  try {
    await Promise.all(all.map((episode) => begin(episode, environment, signal)));
    throwIfAborted(signal);
    let ended = 0;
    const tell = (episode: EpisodeBuilder) => void (!goesOn(episode) && options.onEpisode?.(episode.build(), ++ended, all.length));
    all.forEach(tell);
    for (let live = all.filter(goesOn), turn = 0; live.length > 0; live = live.filter(goesOn), turn++) {
      const answers: Promise<void>[] = [];
      for await (const { episode, completion } of sampleTurn(engine, live, turn, options)) {
        episode.reply(completion);
        const answered = answer(episode, turn, options).then(() => tell(episode));
        answered.catch(() => undefined); // told below, when all were sampled
        answers.push(answered);
      }
      await Promise.all(answers);
      throwIfAborted(signal);
    }
    for (const episode of all) if (episode.environment && !episode.failure) environment!.pool.give(episode.environment);
  } catch (error) {
    for (const episode of all) if (episode.environment && !episode.failure) void environment!.pool.discard(episode.environment);
    throw error;
  }
  const [{ failure }] = all.length > 0 ? all : [{ failure: null }];
  if (failure && all.every((episode) => episode.failure)) throw new EspalierError(failure.code, `every episode failed: ${failure.message}`, { cause: failure });
  return tasks.map((task, i) => ({ task, episodes: groups[i].map((episode) => episode.build()) }));
}

const goesOn = ({ finishReason }: EpisodeBuilder): boolean => finishReason === null;

/** The prompt, and its ids: of the task, or of an environment that is reset for it. */
async function begin(episode: EpisodeBuilder, environment: EpisodeEnvironment | undefined, signal: AbortSignal | undefined): Promise<void> {
  const { task } = episode;
  if (!environment) {
    if (task.prompt === undefined || task.tokens === undefined) throw new EspalierError('bad_data', `task "${task.id}" has no prompt, and there is no environment that would say one`);
    return episode.begin(task.prompt, task.tokens);
  }
  const { pool, conversation, maxPromptTokens } = environment;
  await guard(episode, pool, signal, async () => {
    episode.environment = await pool.take(signal);
    const messages = await pool.reset(episode.environment, task.row as Record<string, unknown>, task.seed, signal);
    const tokens = conversation.begin(messages);
    if (maxPromptTokens !== undefined && tokens.length > maxPromptTokens) {
      throw new EspalierError('bad_data', `environment "${episode.environment.name}" begins with ${tokens.length} tokens, and the model's positions leave room for ${Math.max(0, maxPromptTokens)} beside the replies`, { fix: 'a shorter beginning, or a smaller `max_completion_length`' });
    }
    episode.begin(messages, tokens);
  });
}

/** One turn of every episode that goes on. Episodes of a group that begin alike share a request, and so their prompt is computed once. */
async function* sampleTurn(engine: RolloutEngine, live: readonly EpisodeBuilder[], turn: number, options: CollectEpisodesOptions): AsyncGenerator<{ episode: EpisodeBuilder; completion: Completion }> {
  const { n = 1, sampling, environment, forTraining = false, signal } = options;
  const requests = new Map<string, GenerateRequest>();
  const waiting = new Map<string, Map<number, EpisodeBuilder | null>>(); // by request, by index; null: drawn with the group, and nobody's
  for (const episode of live) {
    const { task, index } = episode;
    const prompt = episode.tokens;
    const shared = turn === 0 ? requests.get(task.id) : undefined;
    if (shared && sameTokens(shared.prompt, prompt)) {
      waiting.get(task.id)!.set(index, episode);
      continue;
    }
    const first = turn === 0 && !shared;
    const id = first ? task.id : `${task.id}/${index}/${turn}`;
    const left = sampling?.maxNewTokens === undefined ? undefined : sampling.maxNewTokens - episode.length;
    const most = environment?.maxTurnTokens === undefined ? left : Math.min(left ?? Infinity, environment.maxTurnTokens);
    const own = most === undefined ? sampling : { ...sampling, maxNewTokens: most };
    requests.set(id, { id, prompt, n: first ? n : 1, seed: first ? task.seed : hash32(task.seed, index, turn), ...(own ? { sampling: own } : {}) });
    waiting.set(id, new Map(first ? Array.from({ length: n }, (_, k) => [k, k === index ? episode : null] as const) : [[0, episode]]));
  }
  for await (const completion of engine.generate([...requests.values()], { signal, ...(forTraining && !environment && { forTraining }) })) {
    const { requestId, index } = completion;
    const asked = waiting.get(requestId);
    const episode = asked?.get(index);
    if (episode === undefined) throw new EspalierError('internal', `rollout engine "${engine.name}" gave sample ${index} of "${requestId}", which nobody asked for`);
    if (completion.finishReason === 'aborted') {
      throwIfAborted(signal);
      throw new EspalierError('internal', `rollout engine "${engine.name}" aborted sample ${index} of "${requestId}"`);
    }
    asked!.delete(index);
    if (episode) yield { episode, completion };
  }
  throwIfAborted(signal);
  for (const [id, left] of waiting) for (const index of left.keys()) throw new EspalierError('internal', `rollout engine "${engine.name}" gave no sample ${index} of "${id}"`);
}

/** What follows a reply: the end, or an observation and another turn. */
async function answer(episode: EpisodeBuilder, turn: number, options: CollectEpisodesOptions): Promise<void> {
  const { environment, signal, sampling } = options;
  const reply = episode.replies.at(-1)!;
  if (!environment) {
    episode.finishReason = reply.finishReason;
    return;
  }
  const { pool, conversation, maxTurns = 10 } = environment;
  await guard(episode, pool, signal, async () => {
    const { observation = [], reward, done, toolCalls } = await pool.step(episode.environment!, { role: 'assistant', content: reply.text }, signal);
    episode.rewards.add(turn, reward);
    if (toolCalls) {
      episode.toolCalls.made += toolCalls.made;
      episode.toolCalls.failed += toolCalls.failed;
    }
    const left = (sampling?.maxNewTokens ?? Infinity) - episode.length;
    if (left <= 0) episode.finishReason = reply.finishReason === 'length' || !done ? 'length' : 'stop';
    else if (done) episode.finishReason = 'stop';
    else if (turn + 1 >= maxTurns) episode.finishReason = 'turns';
    else {
      const bridge = bridgeTo(conversation, episode, reply.tokens, observation, left);
      if (bridge === null) episode.finishReason = 'length'; // no room for it and a reply to it
      else episode.observe(observation, bridge);
    }
  });
}

function bridgeTo(conversation: Conversation, episode: EpisodeBuilder, reply: Int32Array, observation: readonly Message[], left: number): Int32Array | null {
  const characters = observation.reduce((sum, { content }) => sum + content.length, 0);
  if (characters > charactersPerToken * left) return null;
  const bridge = conversation.observe(episode.history.slice(0, -1), reply, observation);
  return bridge.length < left ? bridge : null;
}

/** Whatever the environment does, it ends its own episode alone; an abort ends them all. */
async function guard(episode: EpisodeBuilder, pool: EnvironmentPool, signal: AbortSignal | undefined, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (episode.environment) void pool.discard(episode.environment);
    episode.fail(isEspalierError(error) ? error : new EspalierError('bad_data', `environment "${episode.environment?.name ?? '?'}" failed: ${error instanceof Error ? error.message : String(error)}`, { cause: error }));
  }
}

function sameTokens(a: Int32Array, b: Int32Array): boolean {
  return a.length === b.length && a.every((token, i) => token === b[i]);
}
