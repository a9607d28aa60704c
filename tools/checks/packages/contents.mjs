// What lies in a tarball: everything that the entry points reach, and nothing else; nothing of this machine; no import of what is not declared.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, normalize, relative } from 'node:path';
import ts from 'typescript';
import { root } from '../../release/workspace.mjs';
import { entries } from './manifest.mjs';

const builtins = new Set(builtinModules);

/** What is wrong with the unpacked package in `dir`, one line each. */
export function contentFaults(dir, manifest, { isLibrary }) {
  const files = readdirSync(dir, { recursive: true }).map(String).filter((path) => statSync(join(dir, path)).isFile());
  const faults = [];
  for (const wanted of ['README.md', 'LICENSE']) if (!files.includes(wanted)) faults.push(`no ${wanted}`);
  if (files.includes('LICENSE') && readFileSync(join(dir, 'LICENSE'), 'utf8') !== readFileSync(join(root, 'LICENSE'), 'utf8')) faults.push('its LICENSE is not the one of the repository');
  // a file that `files` names one by one is meant
  for (const path of files) if (/\.test(-d)?\.[mc]?[jt]sx?$|(^|\/)(fixtures|__tests__|node_modules)\/|\.tsbuildinfo$|\.log$/.test(path) && !path.startsWith('templates/') && !manifest.files?.includes(path)) faults.push(`${path} has no place in a package`);
  faults.push(...pathsOfThisMachine(dir, files));
  if (isLibrary) return faults;

  const { reached, imported, broken } = reach(dir, files, manifest);
  faults.push(...broken);
  for (const path of files) {
    // A declaration belongs to its source: that of a module which only others in the package import is read by nobody, and does no harm.
    const hasReachedSource = path.endsWith('.d.ts') && reached.has(path.replace(/^dist\/(.*)\.d\.ts$/, 'src/$1.ts'));
    if (/^(dist|src)\//.test(path) && !path.endsWith('.map') && !reached.has(path) && !hasReachedSource) faults.push(`${path} is reached from no entry point${path.startsWith('dist/') ? ` (left from an earlier build? delete the package's dist and build)` : ''}`);
  }
  const declared = new Set([manifest.name, ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies })]);
  for (const [name, by] of imported) if (!declared.has(name) && !declared.has(`@types/${name}`)) faults.push(`${by} imports ${name}, which package.json does not declare`);
  for (const name of Object.keys(manifest.dependencies ?? {})) if (!imported.has(name)) faults.push(`package.json depends on ${name}, which nothing imports`);
  return faults;
}

function pathsOfThisMachine(dir, files) {
  const paths = [...new Set([`${root}/`, `${homedir()}/`, `${tmpdir()}/`])].map((path) => Buffer.from(path));
  return files.flatMap((file) => {
    const bytes = readFileSync(join(dir, file));
    return paths.filter((path) => bytes.includes(path)).filter((path) => !(String(path) === '/tmp/')).map((path) => `${file} holds a path of this machine: ${path}`);
  });
}

/** Walks imports from the entry points, in the built files, the declarations and the sources. */
function reach(dir, files, manifest) {
  const reached = new Set();
  const imported = new Map();
  const broken = [];
  const here = new Set(files);
  const bins = typeof manifest.bin === 'string' ? [manifest.bin] : Object.values(manifest.bin ?? {});
  const queue = [...entries(manifest).flatMap(([, conditions]) => Object.values(conditions)), ...bins].map((path) => normalize(path));
  while (queue.length > 0) {
    const file = queue.pop();
    if (reached.has(file)) continue;
    if (!here.has(file)) {
      broken.push(`${file} is named by package.json, or by an import, and is not in the tarball`);
      continue;
    }
    reached.add(file);
    if (!/\.([mc]?js|ts)$/.test(file)) continue;
    const text = readFileSync(join(dir, file), 'utf8');
    // Files that are found by their name at run time: a worker, the script of a page.
    for (const other of files) if (!reached.has(other) && dirname(other) === dirname(file) && (namesInQuotes(text, other.split('/').pop()) || (file.endsWith('.js') && other === file.replace(/\.js$/, '.d.ts')))) queue.push(other);
    const isSource = file.startsWith('src/');
    for (const fileName of importsOf(file, text)) {
      if (fileName.startsWith('.')) queue.push(resolved(dir, file, fileName));
      else if (!fileName.startsWith('node:') && !builtins.has(fileName) && !isSource) {
        const name = fileName.split('/').slice(0, fileName.startsWith('@') ? 2 : 1).join('/');
        if (!imported.has(name)) imported.set(name, file);
      }
    }
  }
  return { reached, imported, broken };
}

/** Every module that the file names: imports, exports from, `import()`, `require()`, types by `import('…')`. */
function importsOf(file, text) {
  const found = [];
  const take = (node) => node && ts.isStringLiteralLike(node) && found.push(node.text);
  const visit = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) take(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node)) take(node.argument.literal);
    else if (ts.isCallExpression(node) && (node.expression.kind === ts.SyntaxKind.ImportKeyword || /^require\d*(\.resolve)?$/.test(node.expression.getText(source)))) take(node.arguments[0]);
    ts.forEachChild(node, visit);
  };
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, false, file.endsWith('.ts') ? ts.ScriptKind.TS : ts.ScriptKind.JS);
  visit(source);
  return found;
}

const namesInQuotes = (text, name) => [`'${name}'`, `"${name}"`, `'./${name}'`, `"./${name}"`].some((quoted) => text.includes(quoted));

/** The file behind a relative import: declarations name the `.js` that they declare, sources name no extension. */
function resolved(dir, from, specifier) {
  const target = join(dirname(from), specifier);
  const candidates = from.endsWith('.d.ts') ? [target.replace(/\.js$/, '.d.ts')] : from.endsWith('.ts') ? [`${target}.ts`, join(target, 'index.ts'), `${target}.js`, target, target.replace(/\.js$/, '.ts')] : [target];
  return normalize(relative(dir, candidates.map((path) => join(dir, path)).find((path) => existsSync(path) && statSync(path).isFile()) ?? join(dir, candidates[0])));
}
