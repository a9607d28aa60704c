import type { CodeLanguage } from './sandbox';

export interface ExtractedCode {
  code: string;
  /** What its fence says; null without a fence, or where the fence says nothing. */
  language: CodeLanguage | null;
  fenced: boolean;
}

const languageNames: Readonly<Record<string, CodeLanguage>> = {
  typescript: 'typescript', ts: 'typescript', tsx: 'typescript', mts: 'typescript',
  javascript: 'javascript', js: 'javascript', jsx: 'javascript', mjs: 'javascript', node: 'javascript',
  python: 'python', py: 'python', python3: 'python',
};

/** Whether a program in one language serves where another is wanted: JavaScript is TypeScript too. */
const serves = (given: CodeLanguage, wanted: CodeLanguage) => given === wanted || (given !== 'python' && wanted !== 'python');

/**
 * The program in a completion: its last fenced block in the wanted language (or in none that is named), a block cut off by the end of the text included. Without any
 * fence, the whole text. What comes before `</think>` does not count. Null when there is none: all fences are in other languages, or nothing is in them.
 *
 * @param wanted default `typescript`, for which JavaScript serves too
 * @example
 * extractCode('So:\n```ts\nconst one = 1;\n```\nDone.'); // { code: 'const one = 1;', language: 'typescript', fenced: true }
 */
export function extractCode(completion: string, wanted: CodeLanguage = 'typescript'): ExtractedCode | null {
  const thought = completion.lastIndexOf('</think>');
  const text = thought < 0 ? completion : completion.slice(thought + '</think>'.length);
  const blocks = fencedBlocks(text);
  if (blocks.length === 0) return text.trim() === '' ? null : { code: text, language: null, fenced: false };
  for (const { info, code } of blocks.reverse()) {
    const language = Object.hasOwn(languageNames, info) ? languageNames[info] : null;
    const fits = language === null ? info === '' : serves(language, wanted);
    if (code.trim() === '' || !fits) continue;
    return { code, language, fenced: true };
  }
  return null;
}

/** Markdown's fenced blocks: what the opening fence says in lower case, and the lines until a fence as long, or the end. */
function fencedBlocks(text: string): { info: string; code: string }[] {
  const blocks: { info: string; code: string }[] = [];
  let open: { fence: string; info: string; indent: number; lines: string[] } | null = null;
  for (const line of text.split(/\r?\n/)) {
    const mark = /^(\s*)(`{3,}|~{3,})\s*([^\s`{]*)[^`]*$/.exec(line);
    if (open === null) {
      if (mark) open = { fence: mark[2], info: mark[3].toLowerCase(), indent: mark[1].length, lines: [] };
    } else if (mark && mark[2][0] === open.fence[0] && mark[2].length >= open.fence.length && line.trim() === mark[2]) {
      blocks.push({ info: open.info, code: open.lines.join('\n') });
      open = null;
    } else {
      const { indent } = open;
      open.lines.push(line.slice(0, indent).trim() === '' ? line.slice(indent) : line);
    }
  }
  if (open) blocks.push({ info: open.info, code: open.lines.join('\n') });
  return blocks;
}
