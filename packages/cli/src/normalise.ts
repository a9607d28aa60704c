import { kebabCase } from './fields';

/** Names that TRL's command line uses for what has a shorter one here. */
export const flagAliases: Readonly<Record<string, string>> = {
  'model-name-or-path': 'model',
  'dataset-name': 'dataset',
  'reward-funcs': 'reward',
  'matmul-precision': 'precision',
  'num-return-sequences': 'num-return',
  'lora-r': 'lora-rank',
};

/** The same for keys of a configuration file. */
export const keyAliases: Readonly<Record<string, string>> = {
  modelNameOrPath: 'model',
  datasetName: 'dataset',
  rewardFuncs: 'reward',
  matmulPrecision: 'precision',
  rewards: 'reward',
  loraR: 'loraRank',
};

/** `--learning_rate=1e-5`, `--learningRate 1e-5` → `--learning-rate …`: only the names of flags change, up to a lone `--`. */
export function normaliseArguments(argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((argument, i) => {
    if (end >= 0 && i >= end) return argument;
    const match = /^--([A-Za-z][A-Za-z0-9_-]*)(=.*)?$/s.exec(argument);
    if (!match) return argument;
    const name = kebabCase(match[1]);
    return `--${flagAliases[name] ?? name}${match[2] ?? ''}`;
  });
}
