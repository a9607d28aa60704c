// Empty folders of somebody who never saw this repository, with whatever Node they have.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, run, strangersEnvironment } from '../../release/workspace.mjs';

/** The folder of a Node's executable: of the newest 20, 22 … as npm's `node` package brings it, kept below .cache; without a version, of the one that runs this. */
export function nodeFolder(version) {
  if (version === undefined || process.versions.node.split('.')[0] === version) return dirname(process.execPath);
  const prefix = join(root, '.cache/node', version);
  const bin = join(prefix, 'node_modules/node/bin');
  if (!existsSync(join(bin, 'node'))) {
    mkdirSync(prefix, { recursive: true });
    run('npm', ['install', '--silent', '--no-save', '--no-package-lock', '--prefix', prefix, `node@${version}`], { cwd: prefix, env: strangersEnvironment() });
  }
  return bin;
}

/**
 * Makes an empty folder and installs packages into it, with nothing of ours but what was packed, or published.
 * @param packed tarballs of all our packages, by name; null: a registry has them
 * @param native false: npm is told to leave optional dependencies out, so the prebuilt Rust library is not there
 */
export function installInto(folder, names, { packed, registry, env, native, cache }) {
  mkdirSync(folder, { recursive: true });
  const manifest = { private: true, type: 'module' };
  if (packed) {
    // What was asked for is a tarball, and so is each package of ours that it needs: without the overrides npm would look for those in the registry.
    const overrides = Object.fromEntries([...packed].map(([name, file]) => [name, `file:${file}`]));
    Object.assign(manifest, { dependencies: Object.fromEntries(names.map((name) => [name, overrides[name]])), overrides });
  }
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  if (registry) writeFileSync(join(folder, '.npmrc'), `registry=${registry}\n`);
  run('npm', ['install', '--loglevel=error', ...(packed ? ['--prefer-offline'] : names), ...(native ? [] : ['--omit=optional']), ...(cache ? ['--cache', cache] : [])], { cwd: folder, env });
}
