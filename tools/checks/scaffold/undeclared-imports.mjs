// Whether a package imports anything that its own package.json does not name: where several share one folder of dependencies, Node would find it all the same.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join } from 'node:path';
import ts from 'typescript';

const builtins = new Set(builtinModules);
const packageOf = (specifier) => specifier.split('/').slice(0, specifier.startsWith('@') ? 2 : 1).join('/');

/** One line for each file and package. What is published may import dependencies and peers; tests and configurations development dependencies too. */
export function undeclaredImports(dir) {
  const manifest = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const published = Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, [manifest.name]: '' });
  const all = [...published, ...Object.keys(manifest.devDependencies ?? {})];
  return filesBelow(dir).flatMap((file) => {
    const declared = file.startsWith('dist/') || (file.startsWith('src/') && !file.endsWith('.test.ts')) ? published : all;
    const imported = ts.preProcessFile(readFileSync(join(dir, file), 'utf8'), true, true).importedFiles.map(({ fileName }) => fileName);
    return imported
      .filter((specifier) => !specifier.startsWith('.') && !specifier.startsWith('node:') && !builtins.has(specifier) && !declared.includes(packageOf(specifier)))
      .map((specifier) => `${file} imports ${specifier}, which its package.json does not name`);
  });
}

function filesBelow(dir, prefix = '') {
  return readdirSync(join(dir, prefix))
    .filter((name) => name !== 'node_modules')
    .flatMap((name) => {
      const path = prefix ? `${prefix}/${name}` : name;
      return statSync(join(dir, path)).isDirectory() ? filesBelow(dir, path) : /\.([mc]?[jt]s)$/.test(name) ? [path] : [];
    });
}
