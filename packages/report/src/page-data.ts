/** Plain JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** What a page is drawn from: embedded in it as JSON. */
export interface PageData {
  version: 1;
  kind: 'run' | 'pipeline';
  /** The name of the run's folder. */
  title: string;
  /** When the page was made, ISO 8601. */
  made: string;
  seed?: number;
  /** The stages of a pipeline, those of its branches included; a trainer's run is one stage. */
  stages: readonly StageData[];
}

export type RunStatus = 'running' | 'done' | 'stopped' | 'failed' | 'unknown';

export interface StageData {
  /** `ppo/evaluate` for a stage of a branch. Empty for a trainer's run. */
  name: string;
  /** Below the run's folder. */
  folder: string;
  status: RunStatus;
  seconds: number | null;
  /** What the stage gave at its end. */
  metrics: Readonly<Record<string, number>>;
  run: RunData;
}

/** The files of one folder. */
export interface RunData {
  status: RunStatus;
  /** Why it failed or stopped. */
  message: string | null;
  step: number;
  totalSteps: number | null;
  /** Milliseconds since 1970; null: not known. */
  started: number | null;
  ended: number | null;
  backend: string | null;
  precision: string | null;
  curves: CurvesData;
  notices: readonly NoticeData[];
  samples: SamplesData | null;
  /** `insight.json`: what two checkpoints say of the same texts. Absent where there is none. */
  insight?: InsightData;
  /** `config.json`. */
  config: Json;
  /** `command.json`: the flags that it was started with. */
  command: Json;
  /** What could not be read. */
  problems: readonly string[];
}

/** Metrics in columns. Those that stand on the same steps share an axis. */
export interface CurvesData {
  /** Records of `metrics.jsonl`. */
  rows: number;
  /** Axes of steps: float64 in base64. */
  axes: readonly string[];
  series: readonly { name: string; axis: number; /** Values: float32 in base64; NaN: nothing applied. */ values: string; /** How many there were before thinning. */ total: number }[];
}

export interface NoticeData {
  name: string;
  level: 'note' | 'warning' | 'alarm';
  message: string;
  step: number;
}

/** Samples in columns: entry `i` of each is of sample `i`. */
export interface SamplesData {
  /** Records of `samples.jsonl`; more than are here when some were left out. */
  total: number;
  step: readonly (number | null)[];
  prompts: readonly Json[];
  /** Index into `prompts`. */
  prompt: readonly number[];
  completion: readonly string[];
  reward: readonly (number | null)[];
  advantage: readonly (number | null)[];
  /** Tokens of the completion. */
  tokens: readonly (number | null)[];
  finish: readonly (string | null)[];
  /** What else the record holds: the rewards by function, their components, fields of other trainers. */
  more: readonly { readonly [key: string]: Json | undefined }[];
  /** Characters of the completion that each token stands for. */
  tokenLengths: readonly (readonly number[] | null)[];
  logps: readonly (readonly number[] | null)[];
  /** Where they differ by token. */
  tokenAdvantages: readonly (readonly number[] | null)[];
}

/** One text under two checkpoints: numbers a token of the completion, in nats. */
export interface InsightSample {
  prompt: Json;
  completion: string;
  /** The completion's text by token; together they are the completion. */
  tokens: readonly string[];
  before: readonly number[]; // log-prob of each token
  after: readonly number[];
  entropyBefore: readonly number[];
  entropyAfter: readonly number[];
  /** Weighted sum of the rewards; null: none applied, or none was asked for. */
  reward: number | null;
  /** By function, and by function and part (`format/length`). */
  components: Readonly<Record<string, number>>;
  advantage: number | null;
}

export interface InsightData {
  version: 1;
  before: string;
  after: string;
  samples: readonly InsightSample[];
}
