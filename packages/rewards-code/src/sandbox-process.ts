import { spawn, type ChildProcess } from 'node:child_process';
import type { WorkerParts } from './worker-parts';

/**
 * The first thing that runs in a sandbox process: reads its script and its data from standard input and runs the script.
 * The head is a line of JSON with the length of each part.
 */
const boot = `
const { Script } = require('node:vm');
const chunks = [];
process.stdin.on('data', (chunk) => chunks.push(chunk)).on('end', () => {
  const all = Buffer.concat(chunks);
  const head = all.indexOf(10);
  let at = head + 1;
  const read = Object.fromEntries(JSON.parse(all.toString('utf8', 0, head)).map(([name, length]) => [name, all.subarray(at, (at += length))]));
  const evaluate = (text, name, names) => new Script('(function (' + names.join(', ') + ') {' + text + '\\n})', { filename: name }).runInThisContext();
  const parts = { ...read, ...(read.libraries && { libraries: JSON.parse(read.libraries.toString()) }), evaluate };
  evaluate(read.script.toString('utf8'), 'worker.js', ['require', 'process', 'module', 'exports', 'parts', '__dirname', '__filename'])(require, process, { exports: {} }, {}, parts, '/', '/worker.js');
});
`;

/** Node's own permission model, under whichever name this Node has it: no file, no process, no thread, no add-on. */
const permissionFlag = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';

/**
 * A process that runs what nobody trusts. Its script and data come through standard input, so that it needs no permission at all: Node refuses it files, processes,
 * threads and add-ons; its environment is empty; text cannot become code in it. The untrusted program itself runs a wall further in, in WebAssembly (or is only
 * read, by the compiler).
 */
export function startProcess(parts: WorkerParts, options: { heapMb: number; stackKb?: number }): ChildProcess {
  const child = spawn(
    process.execPath,
    [permissionFlag, '--disallow-code-generation-from-strings', '--no-warnings', `--max-old-space-size=${options.heapMb}`, ...(options.stackKb === undefined ? [] : [`--stack-size=${options.stackKb}`]), '-e', boot],
    { env: {}, cwd: '/', stdio: ['pipe', 'ignore', 'pipe', 'ipc'], serialization: 'json', windowsHide: true },
  );
  const pieces: [string, Uint8Array][] = [['script', Buffer.from(parts.script)], ...Object.entries(parts.blobs)];
  child.stdin!.on('error', () => undefined); // a process that dies while it is told what to do: its exit says so
  child.stdin!.write(`${JSON.stringify(pieces.map(([name, bytes]) => [name, bytes.length]))}\n`);
  for (const [, bytes] of pieces) child.stdin!.write(bytes);
  child.stdin!.end();
  return child;
}
