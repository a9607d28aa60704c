/** What the sandbox gives a program besides the language itself, as types. */
export const sandboxDeclarations = `interface Console {
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
}
declare var console: Console;
declare function print(...values: unknown[]): void;
declare function readline(): string | null;
declare function setTimeout(callback: (...args: any[]) => void, delay?: number, ...args: any[]): number;
declare function setInterval(callback: (...args: any[]) => void, delay?: number, ...args: any[]): number;
declare function clearTimeout(id: number | undefined): void;
declare function clearInterval(id: number | undefined): void;
declare function queueMicrotask(callback: () => void): void;
declare function structuredClone<T>(value: T): T;
declare var module: { exports: any };
declare var exports: any;
declare function require(name: 'fs' | 'node:fs'): { readFileSync(path: 0 | '/dev/stdin', encoding?: string): string };
`;
