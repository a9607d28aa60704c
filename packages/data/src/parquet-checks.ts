import { EspalierError } from '@espalier/spec';
import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet';
import { levelsOf, runsFit } from './parquet-runs';

/** No writer makes larger pages: 1 MiB is usual. */
const maxPageBytes = 2 ** 28;
/** More rows a byte than any encoding packs that a writer would use; a claim beyond it is no row count but a defect, or an attack. */
const plausible = (bytes: number): number => 1_000_000 + 4096 * bytes;

const damaged = (path: string, what: string) => new EspalierError('bad_data', `${path}: damaged Parquet file: ${what}`, { fix: 'fetch or write it again' });
const whole = (value: unknown): value is bigint | number => (typeof value === 'bigint' || (typeof value === 'number' && Number.isInteger(value))) && value >= 0 && value <= Number.MAX_SAFE_INTEGER;

/** Counts and offsets of the footer against each other and the file's size. @throws EspalierError `bad_data` */
export function checkShape(metadata: FileMetaData, schema: SchemaTree, bytes: number, path: string): void {
  const leaves = leafPaths(schema);
  if (!whole(metadata.num_rows)) throw damaged(path, `it claims ${String(metadata.num_rows)} rows`);
  let rows = 0;
  for (const [g, group] of metadata.row_groups.entries()) {
    if (!whole(group.num_rows)) throw damaged(path, `row group ${g} claims ${String(group.num_rows)} rows`);
    rows += Number(group.num_rows);
    for (const { file_path: elsewhere, meta_data: column } of group.columns) {
      if (elsewhere) throw new EspalierError('unsupported', `${path}: its columns lie in another file, ${elsewhere}`);
      if (!column) throw new EspalierError('unsupported', `${path}: it is encrypted, or its columns have no metadata`);
      const name = column.path_in_schema.join('.');
      const start = columnStart(column);
      if (!whole(column.total_compressed_size) || !whole(column.num_values) || !whole(start) || Number(start) + Number(column.total_compressed_size) > bytes) throw damaged(path, `column ${name} of row group ${g} ends behind the file's end`);
      const limit = plausible(Number(column.total_compressed_size));
      if (Number(group.num_rows) > limit || Number(column.num_values) > limit) throw damaged(path, `row group ${g} claims ${group.num_rows} rows in ${column.total_compressed_size} bytes of column ${name}`);
    }
    // the reader waits for the columns of the schema alone: an error in any other would be nobody's
    const paths = group.columns.map((column) => column.meta_data!.path_in_schema.join('\0')).sort();
    if (paths.length !== leaves.length || paths.some((leaf, i) => leaf !== leaves[i])) throw damaged(path, `the columns of row group ${g} are not those of its schema`);
    if (group.columns.length === 0 && Number(group.num_rows) > 0) throw damaged(path, `row group ${g} has rows and no columns`);
  }
  if (rows !== Number(metadata.num_rows)) throw damaged(path, `it claims ${metadata.num_rows} rows, its row groups hold ${rows}`);
}

const leafPaths = (tree: SchemaTree): string[] => (tree.children.length === 0 && tree.path.length > 0 ? [tree.path.join('\0')] : tree.children.flatMap(leafPaths)).sort();

/** The page headers of a row group: what they claim is what the reader allocates. @throws EspalierError `bad_data` */
export async function checkPages(file: AsyncBuffer, metadata: FileMetaData, group: number, path: string): Promise<void> {
  const [{ parquetHeader }, { getSchemaPath }, { compressors }] = await Promise.all([import('hyparquet/src/column.js'), import('hyparquet/src/schema.js'), import('hyparquet-compressors')]);
  const { columns } = metadata.row_groups[group];
  for (const { meta_data: column } of columns) {
    const start = Number(columnStart(column!));
    const size = Number(column!.total_compressed_size);
    const name = column!.path_in_schema.join('.');
    const reader = { view: new DataView(await file.slice(start, start + size)), offset: 0 };
    const shape = { ...levelsOf(getSchemaPath(metadata.schema, column!.path_in_schema)), codec: column!.codec, type: column!.type };
    const unpack = (input: Uint8Array, length: number): Uint8Array => {
      const codec = compressors[column!.codec];
      if (!codec) throw new EspalierError('unsupported', `${path}: column ${name} is compressed with ${column!.codec}`);
      return codec(input, length);
    };
    let values = 0;
    while (reader.offset < size - 1) {
      const header = parquetHeader(reader);
      const { compressed_page_size: packed, uncompressed_page_size: unpacked } = header;
      if (!whole(packed) || !whole(unpacked) || packed > size - reader.offset || unpacked > maxPageBytes) throw damaged(path, `a page of column ${name} claims ${packed} bytes that become ${unpacked}`);
      const v2 = header.data_page_header_v2;
      if (v2 && !(whole(v2.definition_levels_byte_length) && whole(v2.repetition_levels_byte_length) && v2.definition_levels_byte_length + v2.repetition_levels_byte_length <= packed)) throw damaged(path, `a page of column ${name} claims levels that are longer than itself`);
      const count = header.data_page_header?.num_values ?? v2?.num_values ?? 0;
      const words = header.dictionary_page_header?.num_values ?? 0;
      if (!whole(count) || !whole(words) || words > unpacked * 8) throw damaged(path, `a page of column ${name} claims ${count || words} values in ${unpacked} bytes`);
      values += count;
      if (values > Number(column!.num_values)) throw damaged(path, `the pages of column ${name} claim more values than its ${column!.num_values}`);
      if (!runsFit(header, new Uint8Array(reader.view.buffer, reader.offset, packed), shape, unpack)) throw damaged(path, `a page of column ${name} claims runs that are longer than its ${count} values`);
      reader.offset += packed;
    }
    if (values !== Number(column!.num_values)) throw damaged(path, `column ${name} claims ${column!.num_values} values, its pages ${values}`);
  }
}

function columnStart({ dictionary_page_offset: dictionary, data_page_offset: data }: { dictionary_page_offset?: bigint; data_page_offset: bigint }): bigint | number {
  return dictionary !== undefined && dictionary > 0 && dictionary < data ? dictionary : data;
}
