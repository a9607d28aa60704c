import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { complaints, espalier, fixture, onlyJson } from './testing';

let dir: string;
const reward = (name: string, version = 'v1') => `{ specVersion: '${version}', name: '${name}', score: async (samples) => samples.map(({ completion }) => -completion.length) }`;
const plugin = (name: string, rewards: string, version = 'v1') => `{ specVersion: '${version}', name: '${name}', rewards: { ${rewards} } }`;

/** A package as npm would install it. */
function install(name: string, text: string, more: object = { keywords: ['espalier-plugin'] }): void {
  const folder = join(dir, 'node_modules', name);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '1.2.3', type: 'module', exports: { '.': { types: './index.d.ts', default: './index.js' }, './package.json': './package.json' }, ...more }));
  writeFileSync(join(folder, 'index.js'), text);
}

beforeAll(() => {
  dir = realpathSync(mkdtempSync(join(tmpdir(), 'espalier-plugins-')));
  install('espalier-plugin-brevity', `export const plugin = ${plugin('espalier-plugin-brevity', `brevity: () => (${reward('brevity')})`)};`);
  install('@me/espalier-plugin-tone', `export default ${plugin('@me/espalier-plugin-tone', `polite: () => (${reward('polite')}), stale: () => (${reward('stale', 'v0')})`)};`);
  install('espalier-plugin-newer', `export default ${plugin('espalier-plugin-newer', '', 'v9')};`);
  install('espalier-plugin-coincidence', `export default ${plugin('espalier-plugin-coincidence', '')};`, {});
  install('espalier-plugins-guide', 'throw new Error("never loaded")');
  mkdirSync(join(dir, 'node_modules', '@espalier'), { recursive: true });
  symlinkSync(fileURLToPath(new URL('../../pipeline', import.meta.url)), join(dir, 'node_modules', '@espalier', 'pipeline'));
  writeFileSync(join(dir, 'rows.jsonl'), '{"prompt": "1+1=", "answer": "2"}\n'.repeat(4));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface Listed {
  name: string;
  version: string | null;
  from: string;
  state: string;
  parts: Record<string, string[]>;
  reason?: string;
}
const listed = async () => (onlyJson(await espalier(['plugins', '--json'], { cwd: dir })) as { plugins: Listed[] }).plugins;
const train = (...more: string[]) => espalier(['grpo', '--model', fixture('smollm2'), '--dataset', 'rows.jsonl', '--num-generations', '2', '--per-device-train-batch-size', '2', '--max-completion-length', '3', '--max-steps', '1', '--dry-run', ...more], { cwd: dir });

describe('plugins', () => {
  it('are found by their names, loaded to be shown, and used by nothing', async () => {
    const found = await listed();
    expect(found.map(({ name, version, state, parts }) => [name, version, state, parts])).toEqual([
      ['@me/espalier-plugin-tone', '1.2.3', 'installed', { rewards: ['polite', 'stale'] }],
      ['espalier-plugin-brevity', '1.2.3', 'installed', { rewards: ['brevity'] }],
      ['espalier-plugin-coincidence', '1.2.3', 'installed', { rewards: [] }],
      ['espalier-plugin-newer', '1.2.3', 'refused', {}],
    ]);
    expect(found[1].from).toBe(join(dir, 'node_modules', 'espalier-plugin-brevity'));
    expect(found[2].reason).toContain('lacks the keyword');
    expect(found[3].reason).toBe('plugin "espalier-plugin-newer" speaks contracts "v9", this Espalier speaks v1 (update Espalier, or install an earlier release of plugin "espalier-plugin-newer")');
    const unknown = await train('--reward', 'brevity');
    expect([unknown.status, complaints(unknown)[0]]).toEqual([2, expect.stringContaining('there is no reward function "brevity"')]);
  });

  it('are named in full or without the prefix; what speaks other contracts is refused, whole or in part', async () => {
    expect((await train('--plugin', 'espalier-plugin-brevity', '--reward', 'brevity')).status).toBe(0);
    expect((await train('--plugin', 'brevity', '--plugin', '@me/tone', '--reward', 'brevity', '--reward', 'polite')).status).toBe(0);
    const newer = await train('--plugin', 'newer', '--reward', 'numeric');
    expect([newer.status, complaints(newer)[0]]).toEqual([2, expect.stringContaining('speaks contracts "v9", this Espalier speaks v1 (update Espalier')]);
    const stale = await train('--plugin', '@me/tone', '--reward', 'stale');
    expect([stale.status, complaints(stale)[0]]).toEqual([2, expect.stringContaining('reward function "@me/espalier-plugin-tone/stale" speaks contracts "v0", this Espalier speaks v1 (install a later release')]);
    const absent = await train('--plugin', 'nowhere', '--reward', 'numeric');
    expect([absent.status, complaints(absent)[0]]).toEqual([2, expect.stringContaining('npm install espalier-plugin-nowhere')]);
  });

  it("are registered by the folder's espalier.config.ts, for commands and for its pipeline", async () => {
    const config = join(dir, 'espalier.config.ts');
    writeFileSync(
      config,
      `import { defineConfig } from '@espalier/pipeline';
import { plugin as brevity } from 'espalier-plugin-brevity';
export default defineConfig({ plugins: [brevity], pipeline: ({ pipeline, startFrom, evaluate }) => pipeline(startFrom(${JSON.stringify(fixture('smollm2'))}), evaluate({ dataset: 'rows.jsonl', reward: 'brevity', maxCompletionLength: 3 })) });
`,
    );
    expect((await listed())[0]).toMatchObject({ name: 'espalier-plugin-brevity', version: '1.2.3', from: 'espalier.config.ts', state: 'registered' });
    const table = await espalier(['plugins'], { cwd: dir });
    expect(table.stdout).toMatch(/espalier-plugin-brevity +1\.2\.3 +registered +espalier\.config\.ts +rewards brevity/);
    expect((await train('--reward', 'brevity')).status).toBe(0);
    const { stages } = onlyJson(await espalier(['run', 'espalier.config.ts', '--output-dir', 'run', '--json'], { cwd: dir })) as { stages: { metrics: Record<string, number> }[] };
    expect(stages[1].metrics).toHaveProperty('rewards/brevity/mean');
    writeFileSync(config, `export default { plugins: [${plugin('mine', '', 'v9')}] };`);
    const refused = await espalier(['plugins'], { cwd: dir });
    expect([refused.status, complaints(refused)[0]]).toEqual([2, expect.stringContaining('plugin "mine" speaks contracts "v9"')]);
    rmSync(config);
  });
});
