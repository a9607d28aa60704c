import { EspalierError } from '@espalier/spec';
import { finishRow } from './finish-row';
import { openParquet } from './parquet-file';
import type { StreamedRow } from './row-stream';
import type { Row } from './rows';
import type { Place, Shard, ShardOptions } from './shards';

/** A Parquet file: of its rows one row group is in memory. A place's offset is the number of the row. @throws EspalierError `bad_data` */
export async function parquetShard(path: string, options: ShardOptions): Promise<Shard> {
  const file = await openParquet(path);
  let held: { group: number; rows: Row[] } | null = null;
  const at = async (index: number): Promise<StreamedRow> => {
    const group = file.starts.findIndex((start, g) => start <= index && index < (file.starts[g + 1] ?? 0));
    if (group < 0) throw new EspalierError('bad_data', `${path} has no row ${index + 1}`);
    if (held?.group !== group) held = { group, rows: await file.readGroup(group) };
    const origin = { file: path, row: index + 1 };
    return { row: finishRow(held.rows[index - file.starts[group]], origin, options), origin };
  };
  /** A row's share of the file's bytes: what progress counts. */
  const share = (index: number) => Math.floor(((index + 1) * file.bytes) / file.rows) - Math.floor((index * file.bytes) / file.rows);
  return {
    path,
    bytes: file.bytes,
    read(from) {
      let index = from.offset;
      return {
        async next() {
          if (index >= file.rows) return null;
          const place: Place = [index, share(index), index + 1];
          const streamed = await at(index);
          index++;
          return { place, streamed };
        },
        position: () => ({ offset: index, line: index + 1 }),
      };
    },
    readAt: ([index]) => at(index),
    holds: ([index]) => index < file.rows,
  };
}
