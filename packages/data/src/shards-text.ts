import { EspalierError } from '@espalier/spec';
import { parseRow } from './jsonl';
import { LineReader, readLineAt, type Line } from './line-reader';
import type { StreamedRow } from './row-stream';
import type { Row } from './rows';
import type { Shard, ShardOptions } from './shards';

/** A JSON Lines or a text file. */
export function textShard(path: string, bytes: number, json: boolean, options: ShardOptions): Shard {
  const toRow = (text: string, line: number): StreamedRow => {
    const row: Row = json ? parseRow(text, path, line, options) : { [options.textField]: text };
    return { row, origin: { file: path, line } };
  };
  return {
    path,
    bytes,
    read(from) {
      const reader = new LineReader(path, options.maxRowBytes, from.offset, from.line);
      return {
        async next() {
          const sample = await nextSample(reader, path, json || options.sampleBy === 'line', options.maxRowBytes);
          return sample && { place: [sample.offset, sample.size, sample.line], streamed: toRow(sample.text, sample.line) };
        },
        position: () => reader.position(),
      };
    },
    async readAt([offset, size, line]) {
      const text = await readLineAt(path, { offset, size, line });
      return toRow(json ? text : text.replaceAll('\r\n', '\n'), line);
    },
    holds: ([offset, size]) => offset + size <= bytes,
  };
}

/** The next line or paragraph that is not empty. */
async function nextSample(reader: LineReader, path: string, byLine: boolean, maxRowBytes: number): Promise<Line | null> {
  let found = null as Line | null;
  for (;;) {
    const line = await reader.next();
    if (line === null) return found;
    const empty = line.text.trim() === '';
    if (byLine && !empty) return line;
    if (empty && found) return found;
    if (empty) continue;
    found = found ? { ...found, text: `${found.text}\n${line.text}`, size: line.offset + line.size - found.offset } : line;
    if (found.size > maxRowBytes) throw new EspalierError('bad_data', `${path}:${found.line}: the paragraph has more than ${maxRowBytes} bytes`, { fix: 'an empty line between documents, or a larger `maxRowBytes`' });
  }
}
