import { extractCode } from './extract-code';
import { closingBrace } from './function-body';
import type { CodeLanguage } from './sandbox';

export interface ProgramOptions {
  /** Default `typescript`. */
  language?: CodeLanguage;
  /** The function that is wanted. */
  entry?: string | undefined;
  /** How it begins: `function add(a: number, b: number): number`, `def add(a, b):`. A completion without that beginning is taken as what follows it. */
  signature?: string | undefined;
}

/**
 * The program that a completion makes: the code in it, or, where that does not declare the wanted function, the function's signature with the code as its body, up to the end of
 * the body. A body whose last brace a stop sequence took is closed. Null when the completion has no program.
 *
 * @example
 * programOf('  return a + b;\n}\n\nfunction other() {', { entry: 'add', signature: 'function add(a: number, b: number): number' });
 * // 'function add(a: number, b: number): number {\n  return a + b;\n}'
 */
export function programOf(completion: string, options: ProgramOptions = {}): string | null {
  const { language = 'typescript', entry, signature } = options;
  const extracted = extractCode(completion, language);
  if (extracted === null) return null;
  const { code } = extracted;
  if (!entry || !signature || declares(code, entry, language)) return code.trim();
  return language === 'python' ? `${signature.trimEnd()}\n${pythonBody(code)}` : `${signature.trimEnd()} {\n${scriptBody(code)}\n}`;
}

/** Whether the code is the whole program: the function is declared in it, at the start of a line, and no brace is closed that the code did not open. */
function declares(code: string, entry: string, language: CodeLanguage): boolean {
  const name = entry.replace(/\$/g, '\\$');
  if (language === 'python') return new RegExp(`^(?:async\\s+)?def\\s+${name}\\b|^${name}\\s*=`, 'm').test(code);
  const asFunction = `(?:export\\s+)?(?:default\\s+)?(?:async\\s+)?function\\s*\\*?\\s*${name}(?![\\w$])`;
  const asValue = `(?:export\\s+)?(?:const|let|var)\\s+${name}(?![\\w$])[^=\\n]*=`;
  const asExport = `(?:module\\.)?exports(?:\\.${name})?\\s*=`;
  const inList = `export\\s*\\{[^}]*\\b${name}\\s*[,}]`;
  return new RegExp(`^(?:${inList}|${asFunction}|${asValue}|${asExport}|class\\s+${name}\\b)`, 'm').test(code) && closingBrace(code) < 0;
}

function scriptBody(code: string): string {
  const end = closingBrace(code);
  return (end < 0 ? code : code.slice(0, end)).replace(/^\n+|\s+$/g, '');
}

/** Lines up to the first that is not indented. A first line whose indent stands in the prompt gets it back. */
function pythonBody(code: string): string {
  const lines = code.replace(/^\n+/, '').split('\n');
  if (/^\S/.test(lines[0])) lines[0] = `    ${lines[0]}`;
  const end = lines.findIndex((line) => /^\S/.test(line));
  return (end < 0 ? lines : lines.slice(0, end)).join('\n').trimEnd();
}
