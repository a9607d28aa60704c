import { decontaminate, dedupe, describeOrigin, detectChatFormat, detectRowType, isConversational, type ContaminatedRow, type Dataset, type RemovedRow } from '@espalier/data';
import { openRows } from '@espalier/pipeline';
import { Command } from 'commander';
import { z } from 'zod';
import { buildCommand, defined, type CommandContext } from '../command';
import { startProgress } from '../progress';
import { checkOutput, writeRows } from '../write-rows';
import { dataFields, hubOptions } from './data-fields';

const dataset = z.string().min(1).describe('a file of rows (.jsonl, .json, .csv, .tsv, .parquet, the first four also .gz), a dataset of the hub or a task, with options behind # if need be');
const from = { dataset, datasetConfig: dataFields.datasetConfig, datasetTrainSplit: dataFields.datasetTrainSplit };
const to = {
  output: z.string().min(1).describe('the file to write: .jsonl or .json, also with .gz'),
  overwrite: z.boolean().default(false).describe('write over --output when it is there'),
};
const report = z.string().min(1).optional().describe('a .json file for what was left out and why');
const columns = z.array(z.string().min(1)).optional().describe("columns whose text counts; default: those of TRL's formats, and the usual names of questions and answers");
const argument = { syntax: '<dataset>', field: 'dataset', help: dataset.description ?? '' };

type From = { dataset: string; datasetConfig?: string | undefined; datasetTrainSplit?: string | undefined };
const open = (values: From, { output }: CommandContext): Promise<Dataset> => openRows(values.dataset, { ...hubOptions(values), onNotice: (message) => output.note(`notice: ${message}`) });

/** How many of what was left out a person is shown; the report has all. */
const shown = 5;

/** Cleans rows under a progress bar. */
async function cleaned<Result>(title: string, rows: Dataset, { output, signal }: CommandContext, clean: (how: { signal: AbortSignal; onProgress: (done: number) => void }) => Promise<Result>): Promise<Result> {
  const progress = startProgress(title, { unit: 'row', total: rows.size, quiet: output.json });
  return clean({ signal, onProgress: (done) => progress.update(done) }).finally(() => progress.stop());
}

async function finish(left: Dataset, report: { rows: number; kept: number; removed: readonly (RemovedRow | ContaminatedRow)[] }, values: { output: string; overwrite: boolean; report?: string | undefined }, { output, signal }: CommandContext, say: (removed: never) => string): Promise<void> {
  await writeRows(values.output, left, { overwrite: values.overwrite, signal });
  if (values.report !== undefined) await writeRows(values.report, [report], { overwrite: values.overwrite, signal, whole: true });
  await output.result({ output: values.output, ...report });
  for (const removed of report.removed.slice(0, shown)) output.line(say(removed as never));
  if (report.removed.length > shown) output.line(`… and ${report.removed.length - shown} more${values.report === undefined ? ' (--report FILE writes all)' : ''}`);
  output.line(`${report.kept} of ${report.rows} rows written to ${values.output}`);
}

function checkOutputs(values: { output: string; overwrite: boolean; report?: string | undefined }): void {
  checkOutput(values.output, values.overwrite);
  if (values.report !== undefined) checkOutput(values.report, values.overwrite, ['.json']);
}

const place = (row: number, origin: RemovedRow['origin']): string => (origin.file === undefined ? `row ${row}` : describeOrigin(origin));

const dedupeCommand = () =>
  buildCommand({
    name: 'dedupe',
    summary: 'leave out rows that repeat an earlier one',
    argument,
    shape: {
      ...from,
      ...to,
      report,
      columns,
      method: z.enum(['near', 'exact']).default('near').describe('near: MinHash over word n-grams, every find compared in full; exact: the same words'),
      threshold: z.number().gt(0).max(1).default(0.8).describe('Jaccard similarity from which rows count as one'),
      ngram: z.int().min(1).default(5).describe('words of an n-gram'),
      permutations: z.int().min(16).max(4096).default(128).describe('length of a signature'),
      seed: z.int().min(0).max(0xffffffff).default(0).describe('the same seed gives the same result'),
    },
    notes: 'With --json: {"output", "method", "rows", "kept", "removed": [{"row", "origin", "kind", "similarity", "of"}]}, rows counted from 0.',
    async run(values, context) {
      checkOutputs(values);
      const rows = await open(values, context);
      const { method, threshold, ngram, permutations, seed, columns } = values;
      const result = await cleaned('dedupe', rows, context, (how) => dedupe(rows, { method, threshold, ngram, permutations, seed, ...defined({ columns }), ...how }));
      await finish(result.dataset, result.report, values, context, ({ row, origin, kind, similarity, of }: RemovedRow) => `${place(row, origin)} repeats ${place(of.row, of.origin)} (${kind === 'exact' ? 'exact' : `similarity ${similarity.toFixed(2)}`})`);
    },
  });

const decontaminateCommand = () =>
  buildCommand({
    name: 'decontaminate',
    summary: 'leave out rows that share text with evaluation sets',
    argument,
    shape: {
      ...from,
      ...to,
      report,
      columns,
      against: z.array(z.string().min(1)).min(1).describe('evaluation sets, as the dataset is given; may be given several times'),
      evalColumns: z.array(z.string().min(1)).optional().describe('columns of the evaluation sets; default: prompts, questions and texts, not answers'),
      ngram: z.int().min(2).default(13).describe('words of a run that may not be shared; a shorter evaluation text is looked for in whole'),
      threshold: z.number().min(0).max(1).default(0).describe("share of an evaluation text's runs that a row must hold; 0: one is enough"),
    },
    whole: ['against'],
    notes: 'With --json: {"output", "rows", "kept", "evaluationTexts", "removed": [{"row", "origin", "kind", "match", "overlap", "of"}]}, rows counted from 0.',
    async run(values, context) {
      checkOutputs(values);
      const rows = await open(values, context);
      const evaluations: Dataset[] = [];
      for (const ref of [values.against].flat()) evaluations.push(await openRows(ref));
      const { ngram, threshold, columns, evalColumns } = values;
      const result = await cleaned('decontaminate', rows, context, (how) => decontaminate(rows, evaluations, { ngram, threshold, ...defined({ columns, evalColumns }), ...how }));
      await finish(result.dataset, result.report, values, context, ({ row, origin, match, of }: ContaminatedRow) => `${place(row, origin)} shares ${JSON.stringify(match.slice(0, 60))} with ${of.origin.file === undefined ? `row ${of.row} of ${of.dataset}` : describeOrigin(of.origin)}`);
    },
  });

const convertCommand = () =>
  buildCommand({
    name: 'convert',
    summary: "write rows as JSON Lines, conversations in TRL's form",
    argument,
    shape: { ...from, ...to, columns: z.array(z.string().min(1)).optional().describe('these columns alone'), limit: z.int().positive().optional().describe('the first rows alone') },
    notes: 'With --json: {"output", "rows"}. Options behind #: chat=none leaves conversations as they are; split=a:0.9,b:0.1;take=a takes a part.',
    async run(values, context) {
      checkOutput(values.output, values.overwrite);
      const rows = await open(values, context);
      const size = Math.min(rows.size, values.limit ?? Infinity);
      const { columns } = values;
      const picked: Dataset = { ...rows, size, row: (i) => (columns ? Object.fromEntries(Object.entries(rows.row(i)).filter(([name]) => columns.includes(name))) : rows.row(i)) };
      await writeRows(values.output, picked, { overwrite: values.overwrite, signal: context.signal });
      await context.output.result({ output: values.output, rows: size });
      context.output.line(`${size} rows written to ${values.output}`);
    },
  });

const kindOf = (value: unknown): string => (value === null || value === undefined ? 'null' : Array.isArray(value) ? (typeof value[0] === 'object' && value[0] !== null && 'role' in value[0] ? 'messages' : 'list') : typeof value === 'string' ? 'text' : typeof value);

const inspectCommand = () =>
  buildCommand({
    name: 'inspect',
    summary: 'what a dataset holds: rows, columns, types, the first rows',
    argument,
    shape: { ...from, rows: z.int().min(0).max(100).default(3).describe('rows to show') },
    notes: 'With --json: {"name", "rows", "types", "conversational", "columns": {name: {kind: rows}}, "chat_formats", "first"}.',
    async run(values, context) {
      const data = await openRows(values.dataset, { ...hubOptions(values), endlessSize: 512, onNotice: (message) => context.output.note(`notice: ${message}`) });
      const columns: Record<string, Record<string, number>> = {};
      const types: Record<string, number> = {};
      const chat: Record<string, number> = {};
      let conversational = 0;
      const count = (where: Record<string, number>, key: string) => void (where[key] = (where[key] ?? 0) + 1);
      for (let i = 0; i < data.size; i++) {
        const row = data.row(i);
        count(types, detectRowType(row) ?? 'none');
        const format = detectChatFormat(row);
        if (format) count(chat, format);
        if (isConversational(row)) conversational++;
        for (const [name, value] of Object.entries(row)) count((columns[name] ??= {}), kindOf(value));
      }
      const first = Array.from({ length: Math.min(values.rows, data.size) }, (_, i) => data.row(i));
      const { output } = context;
      await output.result({ name: data.name, rows: data.size, types, conversational, columns, chat_formats: chat, first });
      output.line(`${data.name}: ${data.size} rows`);
      output.line(`types    ${Object.entries(types).map(([type, n]) => `${type} ${n}`).join(', ')}${conversational > 0 ? `, ${conversational} of them messages` : ''}`);
      for (const [name, kinds] of Object.entries(columns)) output.line(`${name.padEnd(16)} ${Object.entries(kinds).map(([kind, n]) => `${kind} ${n}`).join(', ')}`);
      for (const row of first) output.line(JSON.stringify(row).slice(0, 400));
    },
  });

/** `espalier data dedupe|decontaminate|convert|inspect`. */
export function dataCommand(): Command {
  const command = new Command('data').description('look at rows, clean them, turn them into JSON Lines').showSuggestionAfterError(false);
  for (const part of [inspectCommand(), convertCommand(), dedupeCommand(), decontaminateCommand()]) command.addCommand(part);
  return command;
}
