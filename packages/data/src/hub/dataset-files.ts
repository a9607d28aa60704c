import { EspalierError } from '@espalier/spec';

/** A configuration of a dataset's card: which files are which split. */
export interface CardConfig {
  name: string;
  default: boolean;
  files: readonly { split: string; patterns: readonly string[] }[];
}

/** The configurations that a card's metadata lists; what makes no sense there is left out. */
export function cardConfigs(cardData: unknown): CardConfig[] {
  const configs = (cardData as { configs?: unknown } | null | undefined)?.configs;
  if (!Array.isArray(configs)) return [];
  return configs.flatMap((raw: unknown): CardConfig[] => {
    const { config_name: name = 'default', data_files: files, data_dir: dir, default: isDefault } = (raw ?? {}) as Record<string, unknown>;
    const inDir = (pattern: string) => (typeof dir === 'string' && dir !== '' ? `${dir.replace(/\/+$/, '')}/${pattern}` : pattern);
    const patternsOf = (value: unknown) => [value].flat().filter((item): item is string => typeof item === 'string').map(inDir);
    const list = files === undefined ? (typeof dir === 'string' ? ['**'] : []) : [files].flat();
    const named = list.every((item) => typeof item === 'object' && item !== null && 'path' in item);
    const found = named ? (list as { split?: unknown; path: unknown }[]).map(({ split, path }) => ({ split: typeof split === 'string' ? split : 'train', patterns: patternsOf(path) })) : [{ split: 'train', patterns: patternsOf(list) }];
    return typeof name === 'string' && found.length > 0 ? [{ name, default: isDefault === true || name === 'default', files: found }] : [];
  });
}

/** A pattern of a card (`main/train-*`, `**` over folders) as a regular expression. */
export function globPattern(pattern: string): RegExp {
  const source = pattern.replace(/^\.\//, '').replace(/\*\*\/?|[*?]|[.+^${}()|[\]\\]/g, (part) => (part.startsWith('**') ? '.*' : part === '*' ? '[^/]*' : part === '?' ? '[^/]' : `\\${part}`));
  return new RegExp(`^${source}$`);
}

const dataFile = /\.(jsonl|ndjson|json|csv|tsv|parquet)(\.gz)?$/i;
const notData = /(^|\/)(dataset_infos?|config|package|dataset_dict|state)\.json$|(^|\/)\./;
/** The words by which `datasets` tells splits in names of files and folders. */
const words: Readonly<Record<string, readonly string[]>> = { train: ['train', 'training'], validation: ['validation', 'valid', 'dev', 'val'], test: ['test', 'testing', 'eval', 'evaluation'] };
const hasWord = (path: string, word: string) => new RegExp(`(^|[-._ 0-9/])${word}([-._ 0-9/]|$)`, 'i').test(path);

/** What is wanted of a repository. */
export interface DatasetSelection {
  config?: string;
  /** Default `train`. */
  split?: string;
  /** A file, a folder, a pattern, or `config/split`: what stands behind the repository's name. */
  path?: string;
}

/**
 * The files of a split, in their order: by the card's configurations, else by the words `train`, `test`, `validation` in their names, else all of them. Of
 * several formats the one with most files.
 *
 * @throws EspalierError `not_found` naming what there is, `unsupported` for a repository without files of rows
 */
export function chooseDataFiles(name: string, files: readonly string[], configs: readonly CardConfig[], selection: DatasetSelection): string[] {
  const data = files.filter((path) => dataFile.test(path) && !notData.test(path)).sort();
  if (data.length === 0) throw new EspalierError('unsupported', `${name} has no .parquet, .jsonl, .json, .csv or .tsv file`, { fix: files.some((path) => path.endsWith('.py')) ? 'it is made by a script: convert it first' : `it has ${files.slice(0, 8).join(', ') || 'nothing'}` });
  const { path } = selection;
  if (path !== undefined) {
    if (data.includes(path)) return [path];
    const pattern = path.includes('*') ? globPattern(path) : null;
    const below = data.filter((file) => (pattern ? pattern.test(file) : file.startsWith(`${path.replace(/\/+$/, '')}/`)));
    const parts = path.split('/');
    if (parts.length <= 2 && pattern === null && !dataFile.test(path)) {
      const asConfig = choose(name, data, configs, parts.length === 2 ? { config: parts[0], split: parts[1] } : { ...selection, config: parts[0] });
      if (asConfig) return oneFormat(asConfig);
      const asSplit = parts.length === 1 ? choose(name, data, configs, { ...selection, split: parts[0] }) : null;
      if (asSplit) return oneFormat(asSplit);
    }
    if (below.length > 0) return oneFormat(below);
    throw missing(name, `no file or split ${path}`, data, configs);
  }
  const found = choose(name, data, configs, selection);
  if (found) return oneFormat(found);
  throw missing(name, `no split ${selection.split ?? 'train'}${selection.config ? ` of a configuration ${selection.config}` : ''}`, data, configs);
}

function choose(name: string, data: readonly string[], configs: readonly CardConfig[], { config, split = 'train' }: DatasetSelection): string[] | null {
  if (configs.length > 0) {
    const chosen = config === undefined ? (configs.find((one) => one.default) ?? (configs.length === 1 ? configs[0] : undefined)) : configs.find((one) => one.name === config);
    if (!chosen && config === undefined) throw new EspalierError('not_found', `${name} has ${configs.length} configurations`, { fix: `name one: ${configs.map((one) => one.name).slice(0, 12).join(', ')}` });
    if (!chosen) return null;
    const patterns = chosen.files.filter((entry) => entry.split === split).flatMap((entry) => entry.patterns.map(globPattern));
    const found = data.filter((file) => patterns.some((pattern) => pattern.test(file)));
    return found.length > 0 ? found : null;
  }
  const inConfig = config === undefined || config === 'default' ? data : data.filter((file) => file.startsWith(`${config}/`) || file.includes(`/${config}/`));
  const spelled = Object.entries(words).find(([canonical, all]) => canonical === split || all.includes(split))?.[1] ?? [split];
  const found = inConfig.filter((file) => spelled.some((word) => hasWord(file, word)));
  if (found.length > 0) return found;
  const anySplit = inConfig.some((file) => Object.values(words).flat().some((word) => hasWord(file, word)));
  return split === 'train' && !anySplit && inConfig.length > 0 ? [...inConfig] : null;
}

/** Files of one format: of several the one with most. */
function oneFormat(files: readonly string[]): string[] {
  const groups = new Map<string, string[]>();
  for (const file of files) {
    const ending = dataFile.exec(file)![1].toLowerCase();
    groups.set(ending, [...(groups.get(ending) ?? []), file]);
  }
  return [...groups.values()].sort((a, b) => b.length - a.length)[0];
}

function missing(name: string, what: string, data: readonly string[], configs: readonly CardConfig[]): EspalierError {
  const there = configs.length > 0 ? configs.flatMap((config) => config.files.map(({ split }) => `${config.name}/${split}`)) : data;
  return new EspalierError('not_found', `${name} has ${what}`, { fix: `it has ${there.slice(0, 8).join(', ')}${there.length > 8 ? ' …' : ''}` });
}
