import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));

/** A fenced block of a page. */
export interface CodeBlock {
  /** Path from the root of the repository. */
  file: string;
  /** Line of the fence. */
  line: number;
  language: string;
  /** Words behind the language: `run`, `as=NAME` … */
  marks: readonly string[];
  code: string;
  /** Code in a comment before the block (`<!-- with: … -->`), which readers do not see and the block needs. */
  hidden: string;
}

/** The pages whose code is checked: docs/, the READMEs of packages and examples, and the README. */
export function pages(): string[] {
  const inside = (folder: string) =>
    readdirSync(join(root, folder), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => `${folder}/${entry.name}/README.md`);
  const docs = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`);
  return ['README.md', ...docs, ...inside('packages'), ...inside('examples')].filter((path) => readable(path) !== null).sort();
}

function readable(path: string): string | null {
  try {
    return readFileSync(join(root, path), 'utf8');
  } catch {
    return null;
  }
}

/** The fenced blocks of a page, in their order. */
export function codeBlocks(file: string, text: string = readFileSync(join(root, file), 'utf8')): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const pattern = /(?:<!-- with:\n([\s\S]*?)\n?-->\n+)?^```([\w-]+)?([^\n]*)\n([\s\S]*?)^```/gm;
  for (const match of text.matchAll(pattern)) {
    const [whole, hidden = '', language = '', marks, code] = match;
    const line = text.slice(0, match.index + whole.indexOf('```')).split('\n').length;
    blocks.push({ file: relative(root, join(root, file)), line, language, marks: marks.trim().split(/\s+/).filter(Boolean), code, hidden });
  }
  return blocks;
}
