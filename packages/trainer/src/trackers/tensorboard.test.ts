import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineTracker } from '@espalier/spec';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseTrackers } from './choose-trackers';
import { crc32c, maskedCrc32c } from './crc32c';
import { scalarsEvent } from './event-proto';
import { tensorboardTracker } from './tensorboard';
import { tfRecord } from './tfrecord';

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, 'hex'));

describe('CRC-32C', () => {
  // RFC 3720, appendix B.4
  it.each([
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    [Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
    [bytes('01c0000000000000000000000000000014000000000004000000001400000018280000000000000002000000000000'.padEnd(96, '0')), 0xd9963a56],
    [Buffer.from('123456789'), 0xe3069283],
  ])('%#', (data, expected) => expect(crc32c(data)).toBe(expected));
  it('is masked by rotation and a constant, which can be undone', () => {
    const masked = maskedCrc32c(Buffer.from('123456789'));
    const rotated = (masked - 0xa282ead8) >>> 0;
    expect(((rotated << 15) | (rotated >>> 17)) >>> 0).toBe(0xe3069283);
  });
});

/** A reader of its own, from the specifications of TFRecord and of protocol buffers alone: bit-by-bit CRC, generic wire format. */
function slowCrc(data: Uint8Array): number {
  let c = ~0;
  for (const byte of data) for (let bit = 0; bit < 8; bit++) c = (c >>> 1) ^ (((c ^ (byte >>> bit)) & 1) ? 0x82f63b78 : 0);
  return ~c >>> 0;
}
const slowMasked = (data: Uint8Array) => Number((((BigInt(slowCrc(data)) >> 15n) | (BigInt(slowCrc(data)) << 17n)) & 0xffffffffn) + 0xa282ead8n & 0xffffffffn);

function records(file: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < file.length; ) {
    const length = Number(file.readBigUInt64LE(at));
    expect(file.readUInt32LE(at + 8)).toBe(slowMasked(file.subarray(at, at + 8)));
    const data = file.subarray(at + 12, at + 12 + length);
    expect(file.readUInt32LE(at + 12 + length)).toBe(slowMasked(data));
    found.push(data);
    at += length + 16;
    expect(at).toBeLessThanOrEqual(file.length);
  }
  return found;
}

type Field = { field: number; value: bigint | Buffer };
function fields(data: Buffer): Field[] {
  const found: Field[] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < data.length) {
    const key = Number(varint());
    const [field, type] = [key >> 3, key & 7];
    if (type === 0) found.push({ field, value: varint() });
    else {
      const size = type === 1 ? 8 : type === 5 ? 4 : Number(varint());
      found.push({ field, value: data.subarray(at, at + size) });
      at += size;
    }
  }
  expect(at).toBe(data.length);
  return found;
}
const part = (list: readonly Field[], field: number) => list.find((f) => f.field === field)?.value;
const inside = (list: readonly Field[], field: number) => fields(part(list, field) as Buffer);

function parseEvent(data: Buffer) {
  const event = fields(data);
  const step = part(event, 2) as bigint | undefined;
  const values = part(event, 5) === undefined ? [] : inside(event, 5).map(({ value }) => fields(value as Buffer));
  return {
    time: (part(event, 1) as Buffer).readDoubleLE(),
    step: Number(step ?? 0n),
    version: part(event, 3)?.toString(),
    session: part(event, 7) === undefined ? undefined : Number(part(inside(event, 7), 1)),
    scalars: Object.fromEntries(values.filter((v) => part(v, 2) !== undefined).map((v) => [(part(v, 1) as Buffer).toString(), (part(v, 2) as Buffer).readFloatLE()])),
    texts: Object.fromEntries(
      values.filter((v) => part(v, 8) !== undefined).map((v) => {
        const tensor = inside(v, 8);
        expect(part(tensor, 1)).toBe(7n); // DT_STRING
        expect(part(inside(inside(tensor, 2), 2), 1)).toBe(1n); // one of them
        expect(part(inside(inside(v, 9), 1), 1)?.toString()).toBe('text');
        return [(part(v, 1) as Buffer).toString(), (part(tensor, 8) as Buffer).toString()];
      }),
    ),
  };
}

describe('TFRecord', () => {
  it('frames data with its length and both checksums', () => {
    const data = Buffer.from('a record of some length: ÄÖÜ');
    expect(records(Buffer.concat([tfRecord(data), tfRecord(Buffer.alloc(0)), tfRecord(data)])).map(String)).toEqual([data.toString(), '', data.toString()]);
  });
});

describe('tensorboardTracker', () => {
  let dir: string;
  beforeEach(async () => void (dir = await mkdtemp(join(tmpdir(), 'espalier-tensorboard-'))));
  afterEach(() => rm(dir, { recursive: true, force: true }));
  const run = (step: number) => ({ name: 'test', outputDir: dir, config: { learningRate: 1e-3 }, totalSteps: 300, step });
  const read = async () => {
    const folder = join(dir, 'tensorboard');
    const names = (await readdir(folder)).sort();
    return Promise.all(names.map(async (name) => ({ name, events: records(await readFile(join(folder, name))).map(parseEvent) })));
  };

  it('writes events that a reader made from the specification alone reads back', async () => {
    const tracker = tensorboardTracker();
    await tracker.start!(run(0));
    await tracker.log({ step: 200, epoch: 1.5, kind: 'train', metrics: { loss: 0.125, 'rewards/numeric/mean': -3, kl: NaN } });
    await tracker.log({ step: 300, epoch: 2, kind: 'eval', metrics: { eval_loss: 0.1 } });
    await tracker.notice!({ name: 'reward_flat', level: 'warning', message: 'the reward — flat', step: 300 });
    await tracker.flush!();
    await tracker.end!({ step: 300 });
    const [{ name, events }] = await read();
    expect(name).toMatch(/^events\.out\.tfevents\.\d{10}\./);
    expect(events).toHaveLength(5);
    expect(events[0]).toMatchObject({ version: 'brain.Event:2', step: 0 });
    expect(Math.abs(events[0].time - Date.now() / 1000)).toBeLessThan(60);
    expect(events[1].texts.config).toContain('"learningRate": 0.001');
    expect(events[2]).toMatchObject({ step: 200, scalars: { 'train/loss': 0.125, 'train/rewards/numeric/mean': -3, 'train/epoch': 1.5 } });
    expect(Object.keys(events[2].scalars)).toHaveLength(3); // what is NaN is left out
    expect(events[3]).toMatchObject({ step: 300, scalars: { 'eval/loss': Math.fround(0.1) } });
    expect(events[4]).toMatchObject({ step: 300, texts: { 'notice/reward_flat': 'the reward — flat' } });
  });

  it('a run that goes on says from which step on older files are superseded', async () => {
    for (const step of [0, 150]) {
      const tracker = tensorboardTracker();
      await tracker.start!(run(step));
      await tracker.end!({ step });
    }
    const sessions = (await read()).map(({ events }) => events.find(({ session }) => session !== undefined));
    expect(sessions.filter((event) => event !== undefined)).toMatchObject([{ session: 1, step: 151 }]);
  });

  it('steps beyond 32 bits are whole', () => expect(parseEvent(scalarsEvent(1, 2 ** 40 + 3, {})).step).toBe(2 ** 40 + 3));
});

describe('chooseTrackers', () => {
  const mine = defineTracker({ name: 'mine', log: () => undefined });
  it('joins those that were given with those that are named', () => {
    expect(chooseTrackers('none', [mine])).toEqual([mine]);
    expect(chooseTrackers(['mine', 'tensorboard'], [mine]).map(({ name }) => name)).toEqual(['mine', 'tensorboard']);
    expect(chooseTrackers('all').map(({ name }) => name)).toEqual(['tensorboard']);
  });
  it('names what nobody has, and what clashes', () => {
    expect(() => chooseTrackers('wandb')).toThrow('`report_to` "wandb": there is no such tracker (tensorboard, none, all, or a tracker of that name in `trackers`)');
    expect(() => chooseTrackers('none', [mine, { ...mine }])).toThrow('two trackers are named "mine"');
    expect(() => chooseTrackers('none', [{ ...mine, specVersion: 'v9' as 'v1' }])).toThrow(expect.objectContaining({ code: 'incompatible_plugin' }));
  });
});
