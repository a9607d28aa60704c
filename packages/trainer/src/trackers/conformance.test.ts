import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeTracker } from '@espalier/testkit';
import { tensorboardTag, tensorboardTracker } from './tensorboard';

/** The fields of a message of protocol buffers: number, and varint, fixed or bytes. */
function fields(data: Buffer): { field: number; value: bigint | Buffer }[] {
  const found: { field: number; value: bigint | Buffer }[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = Number(varint());
    const width = { 1: 8, 5: 4 }[key & 7] ?? 0;
    if ((key & 7) === 0) found.push({ field: key >> 3, value: varint() });
    else {
      const length = width || Number(varint());
      found.push({ field: key >> 3, value: data.subarray(at, (at += length)) });
    }
  }
  return found;
}
const part = (data: Buffer, field: number) => fields(data).filter((each) => each.field === field).map(({ value }) => value);

/** The scalars of every event file of a run: TFRecords of `Event { step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`. */
async function scalars(outputDir: string): Promise<{ step: number; values: Record<string, number> }[]> {
  const folder = join(outputDir, 'tensorboard');
  const records: { step: number; values: Record<string, number> }[] = [];
  const order = (name: string) => Number(name.split('.').at(-1));
  for (const name of (await readdir(folder)).sort((a, b) => order(a) - order(b))) {
    const file = await readFile(join(folder, name));
    for (let at = 0; at < file.length; ) {
      const length = Number(file.readBigUInt64LE(at));
      const event = file.subarray(at + 12, at + 12 + length);
      at += length + 16;
      const values: Record<string, number> = {};
      for (const value of part(event, 5).flatMap((summary) => part(summary as Buffer, 1)) as Buffer[]) {
        const [simple] = part(value, 2) as Buffer[];
        if (simple) values[String(part(value, 1)[0])] = simple.readFloatLE();
      }
      if (Object.keys(values).length > 0) records.push({ step: Number(part(event, 2)[0] ?? 0n), values });
    }
  }
  return records;
}

describeTracker(() => tensorboardTracker(), {
  title: 'tensorboardTracker',
  read: scalars,
  nameOf: tensorboardTag,
  failing: async (dir) => {
    await writeFile(join(dir, 'a-file'), '');
    return { tracker: tensorboardTracker({ dir: join(dir, 'a-file') }) };
  },
});
