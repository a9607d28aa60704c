// The public API of @espalier/spec, as plugins are written against it, held to a committed report: node tools/checks/api.mjs [--update]
// The package must be built. A change shows as a diff and fails; `npm run api` writes the report anew, and the change is then read in review.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { Extractor, ExtractorConfig, ExtractorLogLevel } from '@microsoft/api-extractor';
import { readJson, root } from '../release/workspace.mjs';
import { entries } from './packages/manifest.mjs';

const { values } = parseArgs({ options: { update: { type: 'boolean' } } });
const folder = join(root, 'packages/spec');
const reports = join(root, 'etc');
const work = mkdtempSync(join(tmpdir(), 'espalier-api-'));
let changed = 0;
try {
  mkdirSync(reports, { recursive: true });
  for (const [entry, { types }] of entries(readJson(join(folder, 'package.json')))) {
    const name = `spec${entry === '.' ? '' : `-${entry.slice(2)}`}.api.md`;
    const now = extract(types, name);
    const report = join(reports, name);
    const before = existsSync(report) ? readFileSync(report, 'utf8') : '';
    if (now === before) {
      console.log(`@espalier/spec${entry.slice(1)}: as in ${relative(root, report)}`);
      continue;
    }
    if (values.update) {
      writeFileSync(report, now);
      console.log(`${relative(root, report)} is written anew`);
      continue;
    }
    changed += 1;
    console.log(`@espalier/spec${entry.slice(1)}: its public API is not what ${relative(root, report)} says:\n`);
    writeFileSync(join(work, 'now.md'), now);
    console.log(spawnSync('diff', ['-u', '--label', `${relative(root, report)} (committed)`, '--label', 'as built', existsSync(report) ? report : '/dev/null', join(work, 'now.md')], { encoding: 'utf8' }).stdout);
  }
  if (changed > 0) console.log('Plugins are written against this. If the change is meant: `npm run api`, and say it in a changeset (what is taken away or narrowed is a major change).');
} finally {
  rmSync(work, { recursive: true, force: true });
}
process.exitCode = changed === 0 ? 0 : 1;

/** The report of one entry point: every exported declaration, without comments. */
function extract(types, name) {
  const config = ExtractorConfig.prepare({
    configObjectFullPath: join(folder, 'api-extractor.json'),
    packageJsonFullPath: join(folder, 'package.json'),
    configObject: {
      projectFolder: folder,
      mainEntryPointFilePath: join(folder, types),
      newlineKind: 'lf',
      compiler: { overrideTsconfig: { compilerOptions: { module: 'nodenext', moduleResolution: 'nodenext', target: 'es2022', lib: ['es2023'], types: ['node'], strict: true, skipLibCheck: true }, files: [types] } },
      apiReport: { enabled: true, reportFileName: name, reportFolder: work, reportTempFolder: join(work, 'temp') },
      docModel: { enabled: false },
      dtsRollup: { enabled: false },
      tsdocMetadata: { enabled: false },
      messages: {
        compilerMessageReporting: { default: { logLevel: 'error' } },
        extractorMessageReporting: { default: { logLevel: 'none' }, 'ae-forgotten-export': { logLevel: 'warning', addToApiReportFile: true } },
        tsdocMessageReporting: { default: { logLevel: 'none' } },
      },
    },
  });
  const { succeeded } = Extractor.invoke(config, {
    localBuild: true,
    messageCallback: (message) => {
      message.handled = true; // what matters stands in the report
      if (message.logLevel === ExtractorLogLevel.Error) console.error(`${message.sourceFilePath ?? ''} ${message.text}`);
    },
  });
  if (!succeeded) throw new Error(`api-extractor could not read ${types} of @espalier/spec`);
  return readFileSync(join(work, name), 'utf8');
}
