// Compiles the TypeScript in the pages: npx tsx tools/docs/check-blocks.mts [page …]
import { compileBlocks } from './compile-blocks';

const pages = process.argv.slice(2);
const { blocks, complaints } = compileBlocks(...(pages.length > 0 ? [pages] : []));
for (const { file, line, message } of complaints) console.log(`${file}:${line}: ${message}`);
console.log(`${blocks} blocks, ${complaints.length} complaints`);
process.exitCode = complaints.length > 0 ? 1 : 0;
