// What a package.json must say for its package to be published.
const lifecycle = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare'];

/** What is wrong with it, one line each. `isLibrary`: a prebuilt Rust library, which has no code and no types. */
export function manifestFaults(manifest, { isLibrary }) {
  const faults = [];
  const must = (holds, line) => void (holds || faults.push(line));
  must(/^\d+\.\d+\.\d+/.test(manifest.version), `version is ${JSON.stringify(manifest.version)}`);
  must(manifest.description?.length >= 20, 'no description, or a very short one');
  must(manifest.license === 'Apache-2.0', `license is ${JSON.stringify(manifest.license)}`);
  must(manifest.keywords?.includes('espalier') || manifest.keywords?.includes('espalier-plugin'), 'keywords lack "espalier"');
  must(manifest.engines?.node === '>=20.19', `engines.node is ${JSON.stringify(manifest.engines?.node)}, not ">=20.19"`);
  must(manifest.publishConfig?.access === 'public' && manifest.publishConfig?.provenance === true, 'publishConfig is not { access: "public", provenance: true }');
  must(!manifest.private, 'it is private');
  for (const script of lifecycle) must(!(script in (manifest.scripts ?? {})), `the script "${script}" would run on the machine of whoever installs it`);
  for (const [name, range] of Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies })) {
    must(/^(\^|>=)?\d+(\.\d+){0,2}$/.test(range), `it depends on ${name} "${range}": a range such as ^1.2.3 is wanted`);
  }
  if (isLibrary) return faults;
  must(manifest.type === 'module', 'type is not "module"');
  must(typeof manifest.sideEffects === 'boolean' || Array.isArray(manifest.sideEffects), 'sideEffects is not given: bundlers then keep everything');
  must(manifest.main === undefined && manifest.module === undefined && manifest.types === undefined, 'main, module or types stands beside exports');
  must(manifest.exports?.['./package.json'] === './package.json', 'exports lack "./package.json"');
  for (const [entry, conditions] of entries(manifest)) {
    must(/^\.\/dist\/.*\.d\.ts$/.test(conditions.types ?? ''), `exports["${entry}"].types is ${JSON.stringify(conditions.types)}`);
    must(/^\.\/dist\/.*\.js$/.test(conditions.default ?? ''), `exports["${entry}"].default is ${JSON.stringify(conditions.default)}`);
    must(/^\.\/src\/.*\.ts$/.test(conditions['@espalier/source'] ?? ''), `exports["${entry}"]["@espalier/source"] is ${JSON.stringify(conditions['@espalier/source'])}`);
    must(Object.keys(conditions).at(-1) === 'default', `exports["${entry}"]: "default" does not stand last`);
  }
  return faults;
}

/** The entry points with code: `[name, conditions]`. What is given as a path alone is data, `./package.json` for one. */
export const entries = (manifest) => Object.entries(manifest.exports ?? {}).filter(([, conditions]) => typeof conditions === 'object');
