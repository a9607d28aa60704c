import type { ColumnMetaData, PageHeader, SchemaTree } from 'hyparquet';

interface Levels {
  repetition: number;
  definition: number;
}

/** What is to be known of a column to walk through its pages. */
export interface ColumnShape extends Levels {
  codec: ColumnMetaData['codec'];
  type: ColumnMetaData['type'];
}

/** How deep the levels of a column go. */
export function levelsOf(path: readonly SchemaTree[]): Levels {
  const count = (...types: readonly (string | undefined)[]) => path.slice(1).filter(({ element }) => types.includes(element.repetition_type)).length;
  return { repetition: count('REPEATED'), definition: count('REPEATED', 'OPTIONAL') };
}

const widthOf = (level: number): number => 32 - Math.clz32(level);

/**
 * Whether the runs of a page are no longer than its values. A run says how often a value is repeated, and the reader writes it that often: a false
 * count would fill memory.
 * @param unpack decompresses what it is given
 */
export function runsFit(header: PageHeader, bytes: Uint8Array, shape: ColumnShape, unpack: (input: Uint8Array, length: number) => Uint8Array): boolean {
  const v1 = header.data_page_header;
  const v2 = header.data_page_header_v2;
  if (v1) {
    const page = shape.codec === 'UNCOMPRESSED' ? bytes : unpack(bytes, header.uncompressed_page_size);
    let at = 0;
    for (const level of [shape.repetition, shape.definition]) {
      if (level === 0) continue;
      const length = new DataView(page.buffer, page.byteOffset, page.byteLength).getUint32(at, true);
      if (!walk(page, at + 4, Math.min(page.length, at + 4 + length), widthOf(level), v1.num_values)) return false;
      at += 4 + length;
    }
    return valuesFit(v1.encoding, page, at, v1.num_values, shape);
  }
  if (v2) {
    const [repetition, definition] = [v2.repetition_levels_byte_length, v2.definition_levels_byte_length];
    if (shape.repetition > 0 && !walk(bytes, 0, repetition, widthOf(shape.repetition), v2.num_values)) return false;
    if (shape.definition > 0 && !walk(bytes, repetition, repetition + definition, widthOf(shape.definition), v2.num_values)) return false;
    const size = header.uncompressed_page_size - repetition - definition;
    if (size < 0 || !(v2.num_nulls >= 0 && v2.num_nulls <= v2.num_values)) return false;
    const rest = bytes.subarray(repetition + definition);
    return valuesFit(v2.encoding, shape.codec === 'UNCOMPRESSED' || v2.is_compressed === false || size === 0 ? rest : unpack(rest, size), 0, v2.num_values, shape);
  }
  return true;
}

function valuesFit(encoding: string, page: Uint8Array, at: number, values: number, { type }: ColumnShape): boolean {
  if (encoding === 'RLE') return at + 4 > page.length || walk(page, at + 4, page.length, 1, values);
  if (!encoding.endsWith('_DICTIONARY') || type === 'BOOLEAN' || at >= page.length) return true;
  return page[at] === 0 || walk(page, at + 1, page.length, page[at], values);
}

/** Walks through runs until they have all values: each is as long as what is left, or one group of 8 longer. */
function walk(page: Uint8Array, start: number, end: number, width: number, values: number): boolean {
  if (width > 32) return false;
  const bytes = (width + 7) >> 3;
  for (let at = start, seen = 0; seen < values; ) {
    if (at >= end) return true; // what is missing is the reader's to say
    let header = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= page.length || shift > 28) return false;
      header += (page[at] & 0x7f) * 2 ** shift;
      if (page[at++] < 0x80) break;
    }
    const packed = header % 2 === 1;
    const count = packed ? Math.floor(header / 2) * 8 : Math.floor(header / 2);
    if (count === 0 || (packed ? Math.floor(header / 2) * width > page.length - at + width : count > values - seen)) return false;
    at += packed ? Math.floor(header / 2) * width : bytes;
    seen += count;
  }
  return true;
}
