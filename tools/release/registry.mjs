// A registry on loopback for one rehearsal: Verdaccio, installed into a temporary folder from its lock file, which holds what is published here and asks the
// registry that npm is configured with for everything else. When it is stopped, nothing of it is left.
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { root, run, strangersEnvironment } from './workspace.mjs';

/** Starts it below `work`, an empty folder. Gives its address and what stops it. */
export async function startRegistry(work) {
  const home = join(work, 'verdaccio');
  mkdirSync(home, { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(root, 'tools/release/verdaccio', file), join(home, file));
  const env = strangersEnvironment();
  run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: home, env });

  const port = await freePort();
  const url = `http://127.0.0.1:${port}/`;
  const log = join(home, 'log');
  writeFileSync(join(home, 'config.yaml'), configuration({ home, log, uplink: run('npm', ['config', 'get', 'registry'], { cwd: work, env }).stdout.trim() }));
  const child = spawn(process.execPath, [join(home, 'node_modules/verdaccio/bin/verdaccio'), '--config', join(home, 'config.yaml'), '--listen', `127.0.0.1:${port}`], { cwd: home, env: { ...env, HOME: home }, stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done));
  const stop = async () => {
    child.kill('SIGTERM');
    const quick = await Promise.race([ended.then(() => true), sleep(5000, false, { ref: false })]);
    if (!quick) child.kill('SIGKILL');
    await ended;
  };
  for (let tries = 0; tries < 150; tries++) {
    if (child.exitCode !== null) break;
    if (await fetch(new URL('-/ping', url)).then(({ ok }) => ok, () => false)) return { url, log, stop };
    await sleep(200);
  }
  await stop();
  throw new Error(`Verdaccio did not start:\n${tail(log)}`);
}

const tail = (file) => {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-30).join('\n');
  } catch {
    return '(it wrote no log)';
  }
};

/** Ours are published by anybody who reaches it, which is this machine alone, and never looked for elsewhere; all others come from the uplink. */
const configuration = ({ home, log, uplink }) => `storage: ${JSON.stringify(join(home, 'storage'))}
auth:
  htpasswd:
    file: ${JSON.stringify(join(home, 'htpasswd'))}
    max_users: -1
uplinks:
  configured:
    url: ${JSON.stringify(uplink)}
    timeout: 60s
    max_fails: 20
packages:
  '@espalier/*': &ours
    access: $all
    publish: $all
  'espalier-plugin-*': *ours
  'create-espalier-plugin': *ours
  '**':
    access: $all
    proxy: configured
max_body_size: 100mb
web:
  enable: false
log: { type: file, path: ${JSON.stringify(log)}, format: json, level: warn }
`;

function freePort() {
  return new Promise((done, fail) => {
    const server = createServer().once('error', fail);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}
