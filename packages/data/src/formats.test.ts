import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { isEspalierError } from '@espalier/spec';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import csvGolden from '../fixtures/csv-python.json';
import parquetGolden from '../fixtures/rows-parquet.json';
import { loadRows, openParquet, Random, readCsv, type LoadRowsOptions } from './index';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
let dir: string;
beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'espalier-formats-'))));
afterAll(() => rmSync(dir, { recursive: true }));
const write = (name: string, content: string | Uint8Array) => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};
const all = async (path: string, options?: LoadRowsOptions) => {
  const rows = await loadRows(path, options);
  return Array.from({ length: rows.size }, (_, i) => rows.row(i));
};

describe(`Parquet by pyarrow ${parquetGolden.versions.pyarrow}`, () => {
  it.each(Object.values(parquetGolden.files))('%s: the rows that `datasets` reads', async (name) => {
    const rows = await loadRows(fixture(name), { chat: 'none' });
    expect(rows.size).toBe(parquetGolden.rows.length);
    for (let i = 0; i < rows.size; i++) expect(rows.row(i)).toEqual(parquetGolden.rows[i]);
    expect(rows.origin(119)).toEqual({ file: fixture(name), row: 120 });
  });
  it('is read a row group at a time', async () => {
    const file = await openParquet(fixture('rows-zstd.parquet'));
    expect(file.starts).toEqual([0, 37, 74, 111, 120]);
    expect(file.columns).toEqual(Object.keys(parquetGolden.rows[0]));
    expect(await file.readGroup(3)).toEqual(parquetGolden.rows.slice(111));
  });
  it('names file and row of a wrong one', async () => {
    await expect(loadRows(fixture('rows-snappy.parquet'), { accepted: ['prompt_only'] })).rejects.toThrow(/rows-snappy\.parquet, row 1: `prompt`/);
    await expect(loadRows(join(dir, 'none.parquet'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(loadRows(write('text.parquet', 'a,b\n1,2\n'))).rejects.toMatchObject({ code: 'bad_data', message: expect.stringContaining('text.parquet') });
  });

  /** The bytes of a file with its footer's thrift changed where `find` stands. */
  const damaged = (name: string, change: (bytes: Buffer) => void) => {
    const bytes = readFileSync(fixture('rows-plain.parquet'));
    change(bytes);
    return write(name, bytes);
  };
  const refusal = async (path: string): Promise<string> => {
    const before = process.memoryUsage().rss;
    const began = performance.now();
    try {
      await loadRows(path);
    } catch (error) {
      if (!isEspalierError(error)) throw error;
      expect(['bad_data', 'unsupported']).toContain(error.code);
      expect(error.message).toContain(path);
      expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28);
      expect(performance.now() - began).toBeLessThan(5000);
      return error.message;
    }
    return 'accepted';
  };
  it('that is cut anywhere is refused', async () => {
    for (const keep of [0, 3, 8, 100, 9000, 28000, 28331, 28338]) {
      const path = join(dir, 'cut.parquet');
      copyFileSync(fixture('rows-plain.parquet'), path);
      truncateSync(path, keep);
      expect(await refusal(path)).not.toBe('accepted');
    }
  });
  it('that claims a footer of 4 GB, or a thousand million rows, is refused', async () => {
    expect(await refusal(damaged('footer.parquet', (bytes) => bytes.writeUInt32LE(0xfffffff0, bytes.length - 8)))).toMatch(/footer\.parquet/);
    // FileMetaData.num_rows: field 3, an i64 in zigzag: 120 → 0xf0 0x01, and behind it the list of row groups (field 4)
    const many = readFileSync(fixture('rows-plain.parquet'));
    const at = many.indexOf(Buffer.from([0x16, 0xf0, 0x01, 0x19, 0x1c]));
    expect(at).toBeGreaterThan(0);
    const zigzag: number[] = [];
    for (let n = 2_000_000_000; ; n = Math.floor(n / 128)) {
      zigzag.push(n >= 128 ? (n % 128) | 0x80 : n);
      if (n < 128) break;
    }
    const grown = Buffer.concat([many.subarray(0, at + 1), Buffer.from(zigzag), many.subarray(at + 3)]);
    grown.writeUInt32LE(grown.readUInt32LE(grown.length - 8) + zigzag.length - 2, grown.length - 8);
    expect(await refusal(write('many.parquet', grown))).toMatch(/claims 1000000000 rows, its row groups hold 120/);
  });
  it('with any byte changed is read or refused, within bounds', async () => {
    const random = new Random(5);
    const original = readFileSync(fixture('rows-zstd.parquet'));
    for (let n = 0; n < 150; n++) {
      const bytes = Buffer.from(original);
      for (let k = random.int(1, 3); k > 0; k--) bytes[random.int(0, bytes.length - 1)] = random.int(0, 255);
      await refusal(write('fuzzed.parquet', bytes));
    }
  });
});

describe(`CSV as Python's csv ${csvGolden.versions.python}`, () => {
  it.each(csvGolden.cases)('$name', async ({ content, delimiter, rows }) => {
    const [columns, ...expected] = rows;
    const path = write('odd.csv', content);
    const read = await all(path, { delimiter, chat: 'none' });
    expect(read).toEqual(expected.map((fields) => Object.fromEntries(columns.map((name, i) => [name, fields[i]]))));
    const counted: number[] = [];
    for await (const { line, offset } of readCsv(path, { delimiter, chat: 'none' })) {
      const before = Buffer.from(content).subarray(0, offset).toString() + /^[\r\n]*/.exec(Buffer.from(content).subarray(offset).toString())![0];
      counted.push(line - (before.match(/\r\n?|\n/g) ?? []).length - 1);
    }
    expect(counted.every((difference) => difference === 0)).toBe(true);
  });
  it('has columns of types', async () => {
    const path = write('typed.csv', 'prompt,label,score,messages\n12,True,-1.5e3,"[{""role"":""user"",""content"":""a""}]"\n"",0,,\n');
    expect(await all(path, { types: { label: 'boolean', score: 'number', messages: 'json' } })).toEqual([
      { prompt: '12', label: true, score: -1500, messages: [{ role: 'user', content: 'a' }] },
      { prompt: '', label: false, score: null, messages: null },
    ]);
    await expect(loadRows(path, { types: { score: 'boolean' } })).rejects.toThrow(/typed\.csv:2: `score`: must be boolean, found "-1\.5e3"/);
    await expect(loadRows(path, { types: { points: 'number' } })).rejects.toThrow('no column `points`');
  });
  it('tsv, columns by option, without quotes, in gzip', async () => {
    expect(await all(write('a.tsv', 'a\tb\n1\t"x\n'), { quote: null })).toEqual([{ a: '1', b: '"x' }]);
    expect(await all(write('a.csv.gz', gzipSync('1,2\n3,4\n')), { columns: ['x', 'y'] })).toEqual([{ x: '1', y: '2' }, { x: '3', y: '4' }]);
    expect(await all(write('bom.csv', '\uFEFFa,b\n1,2\n'))).toEqual([{ a: '1', b: '2' }]);
  });
  it('names file and line of what is wrong', async () => {
    const failing = (text: string | Uint8Array) => loadRows(write('bad.csv', text));
    await expect(failing('a,b\n1,2\n3,"4\n5,6\n'.concat('7,8\n'.repeat(9)))).rejects.toThrow(/bad\.csv:3: a quote .* never closed/);
    await expect(failing('a,b\n1,2\n3,"4"x\n')).rejects.toThrow(/bad\.csv:3: text behind the closing quote/);
    await expect(failing('a,b\n"1\n1",2\n3\n')).rejects.toThrow(/bad\.csv:4: 1 fields for 2 columns/);
    await expect(failing('a,a\n1,2\n')).rejects.toThrow(/bad\.csv:1: two columns are named "a"/);
    await expect(failing(Uint8Array.of(0x61, 0x0a, 0xff, 0x0a))).rejects.toThrow(/bad\.csv:1 or later: not UTF-8/);
    await expect(failing('a,b\n')).rejects.toThrow('has no rows');
    await expect(failing('')).rejects.toThrow('has no rows');
  });
  it('an open quote before 80 MB ends at the limit of a row', async () => {
    const path = write('open.csv', Buffer.concat([Buffer.from('a,b\n1,"'), Buffer.alloc(80 * 2 ** 20, 0x78)]));
    await expect(loadRows(path)).rejects.toThrow(/open\.csv:2: the row which begins here has more than 67108864 bytes/);
  }, 60_000);
});

describe('JSON', () => {
  it('arrays, a list in an object, lines', async () => {
    expect(await all(write('a.json', '[{"text":"a"},\n {"text":"b"}]'))).toEqual([{ text: 'a' }, { text: 'b' }]);
    expect(await all(write('b.json', '{"version":1,"data":[{"text":"a"}]}'), { field: 'data' })).toEqual([{ text: 'a' }]);
    expect(await all(write('c.json', '{"text":"a"}\n\n{"text":"b"}\n'))).toEqual([{ text: 'a' }, { text: 'b' }]);
    expect(await all(write('d.json.gz', gzipSync('[{"text":"a"}]')))).toEqual([{ text: 'a' }]);
    expect((await loadRows(join(dir, 'a.json'))).origin(1)).toEqual({ file: join(dir, 'a.json'), row: 2 });
  });
  it('names file and line, or row', async () => {
    await expect(loadRows(write('e.json', '[{"text":"a"},\n{"text":}]'))).rejects.toThrow(/e\.json:2: not valid JSON/);
    await expect(loadRows(write('e.json', '[{"text":"a"}, 3]'))).rejects.toThrow(/e\.json, row 2: a row must be a JSON object, found 3/);
    await expect(loadRows(write('e.json', '[{"text":"a"},{"text":4}]'), { accepted: ['language_modeling'] })).rejects.toThrow(/e\.json, row 2: `text`: .*found 4/);
    await expect(loadRows(write('e.json', '{"text":"a"}\n{"text":\n'))).rejects.toThrow(/e\.json:2: not valid JSON/);
    await expect(loadRows(write('e.json', '{"rows":[]}'), { field: 'data' })).rejects.toThrow('there is no list `data` (it has `rows`)');
  });
  it('Lines in gzip, and line separators inside of text', async () => {
    expect(await all(write('a.jsonl.gz', gzipSync('{"text":"a"}\n{"text":"b"}\n')))).toEqual([{ text: 'a' }, { text: 'b' }]);
    const cut = gzipSync('{"text":"a"}\n'.repeat(5000));
    await expect(loadRows(write('cut.jsonl.gz', cut.subarray(0, cut.length - 20)))).rejects.toThrow(/cut\.jsonl\.gz: damaged gzip file/);
    expect(await all(write('u.jsonl', '{"text":"a\u2028b\u2029c"}\n'))).toEqual([{ text: 'a\u2028b\u2029c' }]);
    await expect(loadRows(write('bad.jsonl', Uint8Array.of(0x7b, 0x7d, 0x0a, 0xff, 0x0a)))).rejects.toThrow(/bad\.jsonl:2: not UTF-8/);
    await expect(loadRows(write('bomb.jsonl.gz', gzipSync(Buffer.alloc(100 * 2 ** 20, 0x20))))).rejects.toThrow(/bomb\.jsonl\.gz:1: the line has more than/);
  }, 30_000);
});
