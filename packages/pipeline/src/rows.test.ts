import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { openRows, rowsFingerprint } from './rows';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'espalier-rows-'));
  vi.stubEnv('ESPALIER_CACHE', dir);
});
afterAll(() => {
  vi.unstubAllEnvs();
  rmSync(dir, { recursive: true });
});

it('a part of a file: two stages share no row, and depend on the file and on what is taken', async () => {
  const path = join(dir, 'rows.csv');
  writeFileSync(path, `prompt,answer\n${Array.from({ length: 10 }, (_, i) => `${i}+0=,${i}\n`).join('')}`);
  const ref = (take: string) => `${path}#split=sft:0.4,rpt:0.6;take=${take}`;
  const prompts = async (take: string) => {
    const rows = await openRows(ref(take), { accepted: ['prompt_only'] });
    return Array.from({ length: rows.size }, (_, i) => rows.row(i).prompt);
  };
  const [sft, rpt] = [await prompts('sft'), await prompts('rpt')];
  expect([sft.length, rpt.length, new Set([...sft, ...rpt]).size]).toEqual([4, 6, 10]);
  const before = await rowsFingerprint(ref('sft'));
  expect(before).toEqual(await rowsFingerprint(ref('sft')));
  expect(before).not.toEqual(await rowsFingerprint(ref('rpt')));
  writeFileSync(path, 'prompt,answer\nx,1\n');
  expect(before).not.toEqual(await rowsFingerprint(ref('sft')));
  expect(await rowsFingerprint('arithmetic:size=5')).toEqual({ ref: 'arithmetic:size=5' });
});
