// The packages of this repository, and how its tools run commands.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** Every package that is published: its folder and its package.json, dependencies before those that need them. */
export function publicPackages() {
  const found = readdirSync(join(root, 'packages'), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(root, 'packages', name))
    .flatMap((dir) => {
      try {
        return [{ dir, manifest: readJson(join(dir, 'package.json')) }];
      } catch (error) {
        if (error.code === 'ENOENT') return []; // a folder that git left behind
        throw error;
      }
    })
    .filter(({ manifest }) => manifest.private !== true);
  const byName = new Map(found.map((entry) => [entry.manifest.name, entry]));
  const sorted = new Set();
  const visit = (entry) => {
    for (const name of Object.keys({ ...entry.manifest.dependencies, ...entry.manifest.peerDependencies })) if (byName.has(name)) visit(byName.get(name));
    sorted.add(entry);
  };
  found.forEach(visit);
  return [...sorted];
}

/** Runs a command to its end and gives what it printed; where it fails, its output is in the error. No shell. */
export function run(command, args, { cwd = root, env = process.env, input } = {}) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, { cwd, env, input, encoding: 'utf8', maxBuffer: 2 ** 28, stdio: ['pipe', 'pipe', 'pipe'] });
  if (error) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? status}\n${stdout}\n${stderr}`);
  return { stdout, stderr };
}

/**
 * The environment of somebody who has nothing to do with this repository: no variables of npm's scripts, of Node's options (certificates of the machine aside), of Espalier.
 * @param nodeBin the folder of the Node that is to run things; default: the one that runs this
 */
export function strangersEnvironment(nodeBin = dirname(process.execPath), more = {}) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(npm_(lifecycle|package|command|execpath|node)|NODE_(?!EXTRA_CA_CERTS)|ESPALIER_|VITEST|NX_|INIT_CWD|FORCE_COLOR|CI$)/i.test(name));
  const path = (process.env.PATH ?? '').split(':').filter((folder) => !folder.includes('node_modules/.bin'));
  return { ...Object.fromEntries(kept), NO_UPDATE_NOTIFIER: '1', npm_config_fund: 'false', npm_config_audit: 'false', npm_config_update_notifier: 'false', PATH: [nodeBin, ...path].join(':'), ...more };
}
