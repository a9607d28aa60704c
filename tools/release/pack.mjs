// Packs every package that is published, as it will stand in the registry: node tools/release/pack.mjs --out FOLDER [--libraries FOLDER] [--every-platform]
// The packages must be built. Two things are written into what is packed and nowhere else: `optionalDependencies` of @espalier/native on the libraries that are
// packed beside it, and where the workflow says which repository it runs in, `repository`, which npm holds a package's provenance against.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { librariesAtHand, platforms, writePlatformPackage } from './native-packages.mjs';
import { publicPackages, readJson, root, run } from './workspace.mjs';

/**
 * @returns in the order in which they can be published: `{ name, version, file, manifest, files }`, `files` with `path` and `size`
 */
export function packAll({ out, libraries: folder, everyPlatform = false }) {
  mkdirSync(out, { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'espalier-pack-'));
  try {
    const libraries = librariesAtHand(folder);
    const missing = platforms.filter(({ name }) => !libraries.has(name));
    if (everyPlatform && missing.length > 0) throw new Error(`no library for ${missing.map(({ name }) => name).join(', ')} in ${folder}`);

    const natives = [...libraries].map(([name, library]) => {
      const dir = join(work, 'natives', name);
      return { dir, manifest: writePlatformPackage(name, library, dir) };
    });
    const optionalDependencies = Object.fromEntries(natives.map(({ manifest }) => [manifest.name, manifest.version]));
    const packages = [...natives, ...publicPackages()];
    const edited = packages.map(({ dir, manifest }) => {
      const additions = { ...(manifest.name === '@espalier/native' && natives.length > 0 && { optionalDependencies }), ...repositoryOf(dir) };
      return Object.keys(additions).length === 0 ? dir : withAdditions(dir, additions, join(work, 'edited', manifest.name));
    });
    const packed = npmPack(edited, out);
    return packages.map(({ manifest: { name, version } }) => {
      const { filename, files } = packed.find((one) => one.name === name && one.version === version);
      const file = join(out, filename);
      return { name, version, file, files: files.map(({ path, size }) => ({ path, size })), manifest: manifestIn(file) };
    });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function npmPack(folders, out) {
  const { stdout } = run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', out, ...folders]);
  const said = JSON.parse(stdout); // npm 11 gives a list, npm 12 an object by name
  return (Array.isArray(said) ? said : Object.values(said)).map((one) => ({ ...one, filename: one.filename.replace('@', '').replace('/', '-') }));
}

/** A copy of what the package in `dir` packs, with `additions` in its package.json. */
function withAdditions(dir, additions, copy) {
  mkdirSync(copy, { recursive: true });
  const [{ filename }] = npmPack([dir], copy);
  run('tar', ['-xzf', join(copy, filename), '-C', copy]);
  const folder = join(copy, 'package');
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify({ ...readJson(join(folder, 'package.json')), ...additions }, null, 2)}\n`);
  return folder;
}

/** In GitHub Actions: which repository the package comes from. Nothing elsewhere. */
function repositoryOf(dir) {
  const { GITHUB_SERVER_URL: server, GITHUB_REPOSITORY: repository } = process.env;
  if (!server || !repository) return {};
  const directory = relative(root, dir);
  return { repository: { type: 'git', url: `git+${server}/${repository}.git`, ...(!directory.startsWith('..') && { directory }) } };
}

export const manifestIn = (tarball) => JSON.parse(run('tar', ['-xzOf', tarball, 'package/package.json']).stdout);

/** Tarballs that were packed before, in the order in which they can be published. */
export function readPacked(folder) {
  const found = readdirSync(folder).filter((file) => file.endsWith('.tgz')).map((file) => ({ file: join(folder, file), manifest: manifestIn(join(folder, file)) }));
  const order = publicPackages().map(({ manifest }) => manifest.name);
  return found.map(({ file, manifest }) => ({ name: manifest.name, version: manifest.version, file, manifest })).sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name)); // libraries, which are not in the list, first
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { out: { type: 'string' }, libraries: { type: 'string' }, 'every-platform': { type: 'boolean' } } });
  if (!values.out) throw new Error('--out FOLDER is missing');
  const packed = packAll({ out: resolve(values.out), libraries: values.libraries && resolve(values.libraries), everyPlatform: values['every-platform'] });
  for (const { name, version, files } of packed) console.log(`${name}@${version}: ${files.length} files, ${(files.reduce((sum, { size }) => sum + size, 0) / 1000).toFixed(0)} kB`);
}
