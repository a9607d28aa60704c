import { describeOrigin, type Dataset } from '@espalier/data';
import type { Tokenizer } from '@espalier/models';
import { EspalierError, throwIfAborted } from '@espalier/spec';
import { openDataset, readPlannedModel, type DatasetInput } from '@espalier/trainer';
import type { ObjectiveSetup } from '../objective';

/** The tokenizer and the limits of the model that is to be trained; no weights are read. */
export async function modelOnPaper({ options: { model }, planned }: ObjectiveSetup): Promise<{ tokenizer: Tokenizer; maxPositions: number; eosTokenIds: readonly number[] }> {
  const { tokenizer, config } = planned ?? (typeof model === 'string' ? await readPlannedModel(model) : { tokenizer: model.tokenizer, config: model.info.config });
  return { tokenizer, maxPositions: config.maxPositions, eosTokenIds: config.eosTokenIds };
}

/** @throws EspalierError `bad_config` for a dataset without end */
export async function openCorpus(input: DatasetInput, name: string): Promise<Dataset> {
  const dataset = await openDataset(input, name);
  if (!Number.isFinite(dataset.size)) throw new EspalierError('bad_config', `${dataset.name} has no end`, { fix: 'give the task a `size`' });
  return dataset;
}

/**
 * The texts of a corpus, one a row.
 * @throws EspalierError `bad_data` that names the row without `text`
 */
export async function* corpusTexts(dataset: Dataset, signal?: AbortSignal): AsyncGenerator<string> {
  for (let i = 0; i < dataset.size; i++) {
    if (i % 64 === 63) {
      await new Promise((resolve) => setImmediate(resolve)); // the caller's event loop stays free
      throwIfAborted(signal);
    }
    const { text } = dataset.row(i);
    if (typeof text !== 'string') throw new EspalierError('bad_data', `${describeOrigin(dataset.origin(i))}: there is no \`text\``, { fix: 'a corpus has one text a row: {"text": …}' });
    yield text;
  }
}

/**
 * All rows that texts give.
 * @throws EspalierError `bad_data` when there are none
 */
export async function collectRows<Row>(rows: AsyncIterable<Row>, name: string, fix: string): Promise<Row[]> {
  const list: Row[] = [];
  for await (const row of rows) list.push(row);
  if (list.length === 0) throw new EspalierError('bad_data', `no text of ${name} has a place that could be asked about`, { fix });
  return list;
}
