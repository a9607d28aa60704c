import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sampleOf } from '../test-support';
import { remoteReward } from './remote-reward';

const script = fileURLToPath(new URL('../../../../docs/remote-reward/server.py', import.meta.url));
const python = spawnSync('python3', ['--version']).status === 0;

describe.runIf(python)('the server of docs/remote-reward (needs python3)', () => {
  let server: ChildProcess;
  let url = '';
  beforeAll(async () => {
    server = spawn('python3', [script, '--port', '0'], { env: { ...process.env, REWARD_KEY: 'open sesame' }, stdio: ['ignore', 'pipe', 'inherit'] });
    url = await new Promise<string>((resolve, reject) => {
      server.stdout!.once('data', (line: Buffer) => resolve(String(line).trim()));
      server.once('error', reject);
      server.once('exit', (code) => reject(new Error(`it ended with ${code}`)));
    });
    process.env['ESPALIER_TEST_REWARD_KEY'] = 'open sesame';
  });
  afterAll(() => {
    delete process.env['ESPALIER_TEST_REWARD_KEY'];
    server.kill();
  });

  it('scores', async () => {
    const reward = remoteReward({ url, apiKeyEnv: 'ESPALIER_TEST_REWARD_KEY' });
    expect(await reward.score([sampleOf('It is 5.', { answer: 5 }), sampleOf('6', { answer: '5' }), sampleOf('5')], { step: 0 })).toEqual([
      { total: 1, components: { right: 1, words: 3 } },
      { total: 0, components: { right: 0, words: 1 } },
      null,
    ]);
  });
  it('refuses a wrong key, a path that is none, and what it cannot read', async () => {
    const ask = (more: object) => remoteReward({ url, apiKeyEnv: 'ESPALIER_TEST_REWARD_KEY', ...more }).score([sampleOf('5', { answer: 'five' })], { step: 0 });
    await expect(remoteReward({ url }).score([sampleOf('5')], { step: 0 })).rejects.toThrow(/status 401.*bearer token/);
    await expect(ask({ url: url.replace('/score', '/elsewhere') })).rejects.toThrow(/status 404.*post to \/score/);
    await expect(ask({})).rejects.toThrow(/status 400.*ValueError/);
  });
});
