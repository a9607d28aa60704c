import { existsSync } from 'node:fs';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { extractPrompt } from '@espalier/data';
import { textModel } from '@espalier/rollouts';
import { EspalierError, type TextModel } from '@espalier/spec';
import { writeFileDurably } from '@espalier/spec/files';
import { datasetDigest, describeRow, openDataset, openPolicy, type DatasetInput, type ModelArgumentsInput } from '@espalier/trainer';
import { cachedModel } from './cached-model';
import { parseConstitutionalConfig, type ConstitutionalConfig, type ConstitutionalConfigInput } from './config';
import { constitutionDigest, loadConstitution, type Constitution } from './constitution';
import { critiqueRevise, revisionMetrics, revisionPairs, revisionRows } from './critique-revise';
import { defaultConstitution } from './default-constitution';
import { labelMetrics, labelPreferences, preferenceRows, samplePairs, type AnswerPair } from './label-preferences';
import { limitedModel } from './limited-model';
import { loggedModel } from './logged-model';
import { modelIdentity } from './model-identity';
import { preferenceJudge } from './preference-judge';
import { columnText, rowPrompt, type Prompt } from './turns';

/** A model by path or id, or one that is there already with the name that tells it (and its weights) from others. */
export type ModelInput = string | { model: TextModel; name: string };

export interface ConstitutionalTrainerOptions {
  /** Answers the prompts. */
  model: ModelInput;
  /** Judges, and criticises and revises where no critic is given. Default: the model itself. */
  judge?: ModelInput;
  /** Criticises and revises. Default: the judge. */
  critic?: ModelInput;
  /** A constitution; overrides `args.constitution`. */
  constitution?: Constitution;
  /** Rows with a prompt. Pairs that are there already (`chosen` and `rejected`) are labelled as they are, and agreement with them is measured. */
  trainDataset: DatasetInput;
  args?: ConstitutionalConfigInput;
  modelArgs?: ModelArgumentsInput;
  /** The model on the caller's thread: for tests and debugging. */
  inline?: boolean;
  onProgress?(stage: 'critique' | 'pairs' | 'labels', done: number, total: number): void;
}

/** Rows that a run made. */
export interface ProducedRows {
  path: string;
  count: number;
  metrics: Record<string, number>;
}

export interface ConstitutionalResult {
  outputDir: string;
  /** For SFT: `prompt` and `completion`. */
  sft?: ProducedRows;
  /** For reward models and DPO: `prompt`, `chosen`, `rejected`, `soft_label`. */
  preferences?: ProducedRows;
  /** All metrics, as `critique/…` and `preferences/…`. */
  metrics: Record<string, number>;
}

interface OpenModel {
  model: TextModel;
  name: string;
}

type OpenModels = Record<'policy' | 'judge' | 'critic', OpenModel>;

/**
 * Makes rows to train on by a constitution: critique and revision, which give rows for SFT, and AI preferences, which give pairs with soft labels. It trains
 * nothing itself. The run's folder holds every finished row (`critiques.jsonl`, `pairs.jsonl`, `labels.jsonl`), flushed as it is made; a run that was killed
 * goes on with `resume` and makes no finished row again.
 *
 * @throws EspalierError `bad_config` that names every wrong field
 * @example
 * const trainer = new ConstitutionalTrainer({ model: 'my-model', trainDataset: 'prompts.jsonl', args: { outputDir: 'runs/cai', numRevisions: 2 } });
 * const { sft, preferences } = await trainer.train();
 * await trainer.close();
 */
export class ConstitutionalTrainer {
  readonly args: ConstitutionalConfig;
  private readonly options: ConstitutionalTrainerOptions;
  private readonly closers: (() => Promise<void>)[] = [];
  private opened: Promise<OpenModels> | undefined;

  constructor(options: ConstitutionalTrainerOptions) {
    this.options = options;
    this.args = parseConstitutionalConfig(options.args);
  }

  /**
   * Makes the rows.
   * @throws EspalierError `bad_config` when the folder holds another run, or one and neither `resume` nor `overwriteOutputDir` is asked for; `bad_data` for a row
   * without a prompt; `limit`, `aborted`, `no_space`, `io`
   */
  async train(options: { resume?: boolean; signal?: AbortSignal } = {}): Promise<ConstitutionalResult> {
    const { args } = this;
    const { signal } = options;
    const resume = options.resume ?? args.resumeFromCheckpoint;
    const constitution = this.options.constitution ?? (args.constitution === 'default' ? defaultConstitution : await loadConstitution(args.constitution));
    const dataset = await openDataset(this.options.trainDataset);
    if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give the task a `size`' });
    const rows = Array.from({ length: dataset.size }, (_, i) => ({ row: dataset.row(i), prompt: rowPrompt(dataset.row(i), { ...dataset.origin(i), file: dataset.origin(i).file ?? describeRow(dataset, i) }) }));
    const prompts = rows.map(({ prompt }) => prompt);
    const { policy, judge, critic } = await this.open(signal);
    const dir = resolve(args.outputDir ?? join('runs', `constitutional-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, '').replace('T', '-')}`));
    await this.openFolder(dir, resume, { constitution: { name: constitution.name, digest: constitutionDigest(constitution) }, dataset: await datasetDigest(dataset), policy: policy.name, judge: judge.name, ...(critic === judge ? {} : { critic: critic.name }) });

    const guardedJudge = this.guarded(judge, dir);
    const guardedCritic = critic === judge ? guardedJudge : this.guarded(critic, dir);
    const { seed, temperature, maxCompletionLength, batchSize, promptFormat: format, fewShot, principleTags: tags } = args;
    const job = (stage: 'critique' | 'pairs' | 'labels', log: string) => ({ log: join(dir, log), resume: true, batchSize, seed, ...(signal ? { signal } : {}), onProgress: (done: number, total: number) => this.options.onProgress?.(stage, done, total) });
    const common = { constitution, format, ...(fewShot === undefined ? {} : { fewShot }), ...(tags === undefined ? {} : { tags }) };
    const result: ConstitutionalResult = { outputDir: dir, metrics: {} };

    const names = { critic: critic.name, policyName: policy.name };
    const revise = (toRevise: readonly Prompt[], rowJob: ReturnType<typeof job>) => {
      const { numRevisions, maxCritiqueLength, maxRevisionLength, skipCritique } = args;
      return critiqueRevise(guardedCritic, toRevise.map((prompt) => ({ prompt })), { ...rowJob, ...common, ...names, policy: policy.model, temperature, maxCompletionLength, maxCritiqueLength, maxRevisionLength, skipCritique, ...(numRevisions === undefined ? {} : { numRevisions }) });
    };

    if (args.produce.includes('critique')) {
      const { keepRevisions, keepInitial } = args;
      const revised = await revise(prompts, job('critique', 'critiques.jsonl'));
      result.sft = await produced(dir, 'sft.jsonl', revisionRows(revised, { constitution, keep: keepRevisions, initial: keepInitial, ...names }), revisionMetrics(revised));
    }
    if (args.produce.includes('preferences')) {
      const { pairsPerPrompt, principlesPerLabel, orders, chainOfThought, maxReasoningLength, labelClamp, labels, labelMargin, minOptionMass } = args;
      const compare = preferenceJudge(guardedJudge, { ...common, principlesPerLabel, orders, chainOfThought, maxReasoningLength, minOptionMass, seed, ...(labelClamp === undefined ? {} : { clamp: labelClamp }) });
      const given = rows.filter(({ row }) => row.chosen !== undefined && row.rejected !== undefined).map(({ row, prompt }) => givenPair(prompt, row));
      const toSample = rows.filter(({ row }) => row.chosen === undefined || row.rejected === undefined).map(({ prompt }) => prompt);
      const drawn =
        args.pairs === 'revisions'
          ? revisionPairs(await revise(toSample.flatMap((prompt) => new Array<Prompt>(pairsPerPrompt).fill(prompt)), job('pairs', 'pairs.jsonl')))
          : await samplePairs(policy.model, toSample, { ...job('pairs', 'pairs.jsonl'), policyName: policy.name, pairsPerPrompt, temperature, maxCompletionLength, format });
      const pairs = [...given, ...drawn.filter(({ excluded }) => excluded === undefined)];
      const labelled = await labelPreferences(compare, pairs, { ...job('labels', 'labels.jsonl'), judgeName: judge.name });
      const provenance = { constitution: constitution.name, constitutionDigest: constitutionDigest(constitution), policy: policy.name };
      const made = preferenceRows(labelled, judge.name, { labels, margin: labelMargin, provenance });
      const metrics = labelMetrics(labelled);
      result.preferences = await produced(dir, 'preferences.jsonl', made, { ...metrics, undecided: metrics.pairs - metrics.excluded - made.length, sampled_excluded: drawn.length + given.length - pairs.length });
    }
    for (const [stage, rows_] of [['critique', result.sft], ['preferences', result.preferences]] as const) for (const [name, value] of Object.entries(rows_?.metrics ?? {})) result.metrics[`${stage}/${name}`] = value;
    await writeFileDurably(join(dir, 'metrics.json'), `${JSON.stringify(result.metrics, null, 2)}\n`);
    return result;
  }

  /** Closes the models that it opened. Harmless when repeated. */
  async close(): Promise<void> {
    this.opened = undefined;
    for (const closer of this.closers.splice(0)) await closer();
  }

  private open(signal: AbortSignal | undefined): Promise<OpenModels> {
    return (this.opened ??= (async () => {
      const { model, judge: judgeInput = model, critic: criticInput = judgeInput } = this.options;
      const policy = await this.openModel(model, signal);
      const judge = judgeInput === model ? policy : await this.openModel(judgeInput, signal);
      const critic = criticInput === judgeInput ? judge : criticInput === model ? policy : await this.openModel(criticInput, signal);
      return { policy, judge, critic };
    })());
  }

  private async openModel(input: ModelInput, signal: AbortSignal | undefined): Promise<OpenModel> {
    if (typeof input !== 'string') return input;
    const { modelArgs, inline } = this.options;
    const opened = await openPolicy(input, { ...(modelArgs ? { modelArgs } : {}), ...(inline === undefined ? {} : { inline }), ...(signal ? { signal } : {}) });
    this.closers.push(() => opened.close());
    return { model: textModel(opened.rollouts, opened.engine.tokenizer), name: await modelIdentity(input) };
  }

  private guarded({ model, name }: OpenModel, dir: string): TextModel {
    const { requestsPerMinute, maxConcurrency, maxRequests, logJudge, cacheJudge, cacheDir = join(dir, 'cache') } = this.args;
    const limited = limitedModel(model, { ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }), ...(maxConcurrency === undefined ? {} : { maxConcurrency }), ...(maxRequests === undefined ? {} : { maxRequests }) });
    const logged = logJudge ? loggedModel(limited, join(dir, 'judge.jsonl')) : limited;
    return cacheJudge ? cachedModel(logged, { dir: cacheDir, id: name }) : logged;
  }

  /** What decides the rows stands in `config.json`; a run of other settings is not gone on with. */
  private async openFolder(dir: string, resume: boolean, made: Record<string, unknown>): Promise<void> {
    const { outputDir: _dir, overwriteOutputDir, resumeFromCheckpoint: _resume, batchSize: _size, cacheJudge: _cache, cacheDir: _cacheDir, logJudge: _log, requestsPerMinute: _rate, maxConcurrency: _concurrency, maxRequests: _requests, ...decides } = this.args;
    const config = `${JSON.stringify({ ...decides, ...made }, null, 2)}\n`;
    const path = join(dir, 'config.json');
    const holds = existsSync(path);
    if (holds && !resume) {
      if (!overwriteOutputDir) throw new EspalierError('bad_config', `\`output_dir\` ${dir} holds a run already`, { fix: 'resume it (--resume), choose another folder, or set `overwrite_output_dir`' });
      for (const name of ['config.json', 'critiques.jsonl', 'pairs.jsonl', 'labels.jsonl', 'sft.jsonl', 'preferences.jsonl', 'metrics.json', 'judge.jsonl']) await rm(join(dir, name), { force: true });
    }
    if (holds && resume) {
      const before = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
      const now = JSON.parse(config) as Record<string, unknown>;
      const changed = [...new Set([...Object.keys(before), ...Object.keys(now)])].filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
      if (changed.length > 0) throw new EspalierError('bad_config', `the run in ${dir} was begun with another ${changed.map((name) => `\`${name}\``).join(', ')}`, { fix: 'what it was begun with, or another `output_dir`' });
      return;
    }
    await mkdir(dir, { recursive: true });
    await writeFileDurably(path, config);
  }
}

/** A pair that people have decided: which of the two stands first says nothing about which is better. */
function givenPair(prompt: Prompt, row: Record<string, unknown>): AnswerPair {
  const { chosen, rejected } = row.prompt === undefined || row.prompt === null ? extractPrompt(row as { chosen: Prompt; rejected: Prompt }) : row;
  return { prompt, first: columnText(chosen), second: columnText(rejected), preferred: 'first' };
}

async function produced(dir: string, name: string, rows: readonly object[], metrics: Record<string, number>): Promise<ProducedRows> {
  const path = join(dir, name);
  await writeFileDurably(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return { path, count: rows.length, metrics };
}
