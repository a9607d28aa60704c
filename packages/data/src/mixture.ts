import { EspalierError } from '@espalier/spec';
import type { Dataset } from './dataset';
import { hash32, Random } from './random';
import type { RowStream, StreamState } from './row-stream';

export interface MixtureOptions {
  /** How often each source is drawn from, relative to one another. Default: in turn. */
  weights?: readonly number[];
  seed?: number;
  /**
   * When a pass is over: as soon as one source has no row left; when every source has had all its rows at least once (smaller ones begin again); or when all rows
   * were given, each once (sources that have none left are passed over). Default `first_exhausted`.
   */
  stoppingStrategy?: 'first_exhausted' | 'all_exhausted' | 'all_exhausted_without_replacement';
  /**
   * Flattens the weights: each to the power of 1 / temperature. Without `weights` the sizes of the datasets count: 1 draws in proportion to the rows, more of small
   * sources the higher it is (mT5: arXiv:2010.11934, section 3.2; T5: arXiv:1910.10683, section 3.5.2). Default: weights as they are, or in turn.
   */
  temperature?: number;
}

/** Shares of the sources that add up to 1; null: in turn. */
function shares(sources: readonly { name: string; size?: number }[], { weights: given, temperature }: MixtureOptions): number[] | null {
  if (sources.length === 0) throw new EspalierError('bad_config', 'a mixture of no sources has nothing to give', { fix: 'at least one' });
  if (temperature !== undefined && !(temperature > 0 && Number.isFinite(temperature))) throw new EspalierError('bad_config', `the \`temperature\` of the mixture is ${temperature}`, { fix: 'above 0; 1 changes nothing' });
  if (given === undefined && temperature === undefined) return null;
  const sizes = sources.map(({ size }) => size);
  if (given === undefined && !sizes.every((size) => Number.isFinite(size))) throw new EspalierError('bad_config', 'a mixture by `temperature` alone needs the sizes of its sources', { fix: '`weights` beside it: streams and tasks without end have no size' });
  const weights = given ?? (sizes as number[]);
  if (weights.length !== sources.length) throw new EspalierError('bad_config', `the mixture has ${weights.length} weights for ${sources.length} sources`, { fix: `${sources.length} would do` });
  const bad = weights.findIndex((weight) => !(weight > 0 && Number.isFinite(weight)));
  if (bad >= 0) throw new EspalierError('bad_config', `the weight of ${sources[bad].name} is ${weights[bad]}`, { fix: 'above 0; leave a source out that is not wanted' });
  const largest = Math.max(...weights);
  const flattened = temperature === undefined ? weights : weights.map((weight) => (weight / largest) ** (1 / temperature));
  const total = flattened.reduce((a, b) => a + b, 0);
  return flattened.map((weight) => weight / total);
}

/**
 * The source of the `draw`-th row: a function of seed, number and `turn` alone. Sources that are passed over have no part.
 * @param turn whose turn it is, where there are no weights
 */
function pick(parts: readonly number[] | null, passedOver: readonly boolean[], seed: number, draw: number, turn: number): number {
  const count = passedOver.length;
  if (parts === null) {
    for (let i = 0; i < count; i++) if (!passedOver[(turn + i) % count]) return (turn + i) % count;
    return turn;
  }
  const total = parts.reduce((sum, part, i) => (passedOver[i] ? sum : sum + part), 0);
  let left = (hash32(seed, 0x317, draw) / 4294967296) * total;
  let last = 0;
  for (let i = 0; i < count; i++) {
    if (passedOver[i]) continue;
    left -= parts[i];
    if (left < 0) return i;
    last = i;
  }
  return last;
}

/**
 * Rows of several datasets, mixed by weights and a seed: `datasets.interleave_datasets`. Row `i` is always the same, so that a position among them can
 * be saved. Without end when a dataset without end decides it.
 *
 * @throws EspalierError `bad_config` for weights that make no sense
 * @example
 * interleaveDatasets([arithmeticTask({ size: 1000 }), await loadJsonl('chat.jsonl')], { weights: [1, 3], seed: 7 });
 */
export function interleaveDatasets(sources: readonly Dataset[], options: MixtureOptions = {}): Dataset {
  const { seed = 0, stoppingStrategy = 'first_exhausted' } = options;
  const parts = shares(sources, options);
  const empty = sources.find(({ size }) => !(size >= 1));
  if (empty) throw new EspalierError('bad_data', `${empty.name} has no rows to mix`);
  const taken = sources.map(() => 0); // draws from each
  const places: { source: number; row: number }[] = [];
  const once = stoppingStrategy === 'all_exhausted_without_replacement';
  let turn = 0;
  const exhausted = () => sources.map(({ size }, i) => taken[i] >= size);
  const none = sources.map(() => false);
  const over = () => {
    if (parts === null && !once && places.length % sources.length !== 0) return false; // rounds are whole
    return stoppingStrategy === 'first_exhausted' ? exhausted().some(Boolean) : exhausted().every(Boolean);
  };
  const grow = () => {
    const source = pick(parts, once ? exhausted() : none, seed, places.length, turn);
    turn = (source + 1) % sources.length;
    places.push({ source, row: taken[source] % sources[source].size });
    taken[source]++;
  };
  const ends = stoppingStrategy === 'first_exhausted' ? sources.some(({ size }) => Number.isFinite(size)) : sources.every(({ size }) => Number.isFinite(size));
  if (ends) while (!over()) grow();
  const at = (index: number) => {
    while (!ends && places.length <= index) grow();
    if (!(index >= 0 && index < places.length)) throw new EspalierError('internal', `row ${index} of a mixture was asked for, it has ${places.length}`);
    return places[index];
  };
  return {
    name: sources.map(({ name }) => name).join(' + '),
    size: ends ? places.length : Infinity,
    row: (index) => sources[at(index).source].row(at(index).row),
    origin: (index) => sources[at(index).source].origin(at(index).row),
  };
}

/**
 * Datasets one after another, of each the share of its rows that is asked for (TRL: `DatasetMixtureConfig`), drawn by a seed.
 * @param sources datasets, or datasets with the `fraction` of their rows that counts
 * @throws EspalierError `bad_config` for a fraction out of (0, 1], or a dataset without end
 */
export function concatenateDatasets(sources: readonly (Dataset | { dataset: Dataset; fraction?: number })[], options: { seed?: number } = {}): Dataset {
  const places: { dataset: Dataset; row: number }[] = [];
  const entries = sources.map((source) => ('dataset' in source ? source : { dataset: source }));
  entries.forEach(({ dataset, fraction = 1 }, i) => {
    if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end: nothing can come after it`, { fix: 'give the task a `size`, or interleave' });
    if (!(fraction > 0 && fraction <= 1)) throw new EspalierError('bad_config', `the \`fraction\` of ${dataset.name} is ${fraction}`, { fix: 'above 0, at most 1' });
    const rows = fraction === 1 ? Array.from({ length: dataset.size }, (_, row) => row) : [...new Random(options.seed ?? 0, 0xc0, i).permutation(dataset.size).slice(0, Math.max(1, Math.floor(fraction * dataset.size)))];
    for (const row of rows) places.push({ dataset, row });
  });
  if (places.length === 0) throw new EspalierError('bad_config', 'a mixture of no rows has nothing to give', { fix: 'at least one dataset' });
  return { name: entries.map(({ dataset }) => dataset.name).join(' + '), size: places.length, row: (i) => places[i].dataset.row(places[i].row), origin: (i) => places[i].dataset.origin(places[i].row) };
}

/**
 * Streams mixed by weights and a seed. A stream that has no row left begins its next pass; the others go on where they stand. The position is that of
 * every stream and the number of draws.
 *
 * @throws EspalierError `bad_config` for weights that make no sense
 */
export function interleaveStreams(sources: readonly RowStream[], options: MixtureOptions = {}): RowStream {
  const { seed = 0, stoppingStrategy = 'first_exhausted' } = options;
  const parts = shares(sources, options);
  let draws = 0;
  let passes = 0;
  let turn = 0;
  const once = stoppingStrategy === 'all_exhausted_without_replacement';
  const none = sources.map(() => false);
  let exhausted = sources.map(() => false);
  let began = sources.map((source) => source.progress());
  return {
    name: sources.map(({ name }) => name).join(' + '),
    async next(call) {
      for (;;) {
        const source = pick(parts, once ? exhausted : none, seed, draws, turn);
        const streamed = await sources[source].next(call);
        if (streamed !== null) {
          draws++;
          turn = (source + 1) % sources.length;
          return streamed;
        }
        exhausted[source] = true;
        if (stoppingStrategy === 'first_exhausted' || exhausted.every(Boolean)) {
          exhausted = sources.map(() => false);
          turn = 0;
          began = sources.map((other) => other.progress());
          passes++;
          return null;
        }
      }
    },
    progress: () => {
      const inside = sources.map((source, i) => source.progress() - began[i]);
      return passes + Math.min(1 - 1e-6, stoppingStrategy === 'first_exhausted' ? Math.max(...inside) : Math.min(...inside));
    },
    state: () => ({ draws, passes, turn, exhausted: [...exhausted], began: [...began], sources: sources.map((source) => source.state()) }),
    restore(state: StreamState) {
      const saved = state as { draws: number; passes: number; turn?: number; exhausted: boolean[]; began: number[]; sources: StreamState[] };
      if (!Array.isArray(saved.sources) || saved.sources.length !== sources.length || !Number.isInteger(saved.draws)) throw new EspalierError('bad_data', `${JSON.stringify(state).slice(0, 200)} is no position in a mixture of ${sources.length} streams`);
      ({ draws, passes } = saved);
      turn = saved.turn ?? draws % sources.length;
      exhausted = [...saved.exhausted];
      began = [...saved.began];
      sources.forEach((source, i) => source.restore(saved.sources[i]));
    },
    digest: async () => ({ weights: parts, seed, stoppingStrategy, sources: await Promise.all(sources.map((source) => source.digest())) }),
  };
}
