// Writes relative imports of a package's declarations out in full (`./reward` → `./reward.js`), as Node's own resolution asks for: TypeScript copies
// them as they stand in the source, and `moduleResolution: nodenext` would find nothing behind them. Run in a package's folder, after `tsc -b`.
// `tsc -b` may have written the declarations of the packages that this one refers to as well: theirs are looked at too.
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import ts from 'typescript';

/** The specifier that Node resolves to the declaration which `specifier` means, seen from `folder`; null: there is none. */
function inFull(specifier, folder) {
  if (/\.([cm]?js|json)$/.test(specifier)) return specifier;
  const target = join(folder, specifier);
  if (existsSync(`${target}.d.ts`)) return `${specifier}.js`;
  return existsSync(join(target, 'index.d.ts')) ? `${specifier.replace(/\/$/, '')}/index.js` : null;
}

function writeInFull(file) {
  const text = readFileSync(file, 'utf8');
  let written = '';
  let at = 0;
  for (const { fileName, pos } of ts.preProcessFile(text, true, true).importedFiles) {
    if (!/^\.{1,2}(\/|$)/.test(fileName)) continue;
    const start = text.indexOf(fileName, pos); // `pos` may stand at the quote
    const specifier = inFull(fileName, dirname(file));
    const end = start + fileName.length;
    if (specifier !== null) {
      written += text.slice(at, start) + specifier;
      at = end;
      continue;
    }
    // `import './it.js'` of plain JavaScript, for what it does: that is in the bundle, and no declaration is behind it.
    const bare = /import\s*['"]$/.exec(text.slice(at, start));
    if (!bare) throw new Error(`${file}: there is no declaration behind "${fileName}"`);
    written += text.slice(at, at + bare.index);
    at = end + /^['"];?\n?/.exec(text.slice(end))[0].length;
  }
  written += text.slice(at);
  if (written === text) return;
  const aside = `${file}.${process.pid}.tmp`; // another package's build may be reading it
  writeFileSync(aside, written);
  renameSync(aside, file);
}

const { references = [] } = ts.readConfigFile('tsconfig.json', ts.sys.readFile).config;
for (const project of ['.', ...references.map(({ path }) => path)]) {
  const dist = resolve(project, 'dist');
  if (!existsSync(dist)) continue;
  for (const entry of readdirSync(dist, { recursive: true })) if (entry.endsWith('.d.ts')) writeInFull(join(dist, entry));
}
