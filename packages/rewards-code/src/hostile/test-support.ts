import { runTests, type CodeTest } from '../code-tests';
import type { Sandbox, SandboxLimits } from '../sandbox';

/**
 * Programs that try what a sandbox is there for. Each is judged by a test whose expected value is a secret of the caller's process (an environment variable, a file, a text that is
 * nowhere but in the test): whoever passes has escaped, or has forged a verdict.
 */
export interface HostileProgram {
  name: string;
  /** A whole program that declares `f`. `SECRET_FILE`, `CANARY_FILE` and `PORT` in it are put in by whoever runs it. */
  code: string;
  /** What it is put to. Default `run`. */
  against?: 'run' | 'check' | 'python' | 'stdin';
  /** What its worker is ended for, where only one thing will do. */
  limit?: 'time' | 'memory' | 'output' | 'stack';
}

const run = (name: string, code: string, limit?: HostileProgram['limit']): HostileProgram => ({ name, code, ...(limit ? { limit } : {}) });
const check = (name: string, code: string): HostileProgram => ({ name, code, against: 'check' });
const python = (name: string, code: string, limit?: HostileProgram['limit']): HostileProgram => ({ name, code, against: 'python', ...(limit ? { limit } : {}) });

/** From text to `Function`, by whichever object is at hand; then whatever that `Function` can see. */
const reach = (from: string) => `function f() {
  const make = ${from};
  const g = make('return globalThis')();
  try { return g.process.env.ESPALIER_SECRET; } catch {}
  try { return g.require('fs').readFileSync('SECRET_FILE', 'utf8'); } catch {}
  try { return g.process.mainModule.require('fs').readFileSync('SECRET_FILE', 'utf8'); } catch {}
  try { return g.process.binding('fs'); } catch {}
  return Object.getOwnPropertyNames(g).join();
}`;

export const runsWithoutEnd: readonly HostileProgram[] = [
  run('an endless loop', 'function f() { for (;;); }', 'time'),
  run('an endless loop before it is called', 'for (;;); function f() {}', 'time'),
  run('an endless loop that catches everything', 'function f() { for (;;) { try { for (;;); } catch {} finally { continue; } } }', 'time'),
  run('an endless generator', 'function f() { function* g() { for (;;) yield 1; } return [...g()]; }'),
  run('promises without end', 'function f() { const again = () => Promise.resolve().then(again); return again(); }', 'time'),
  run('an async function without end', 'async function f() { for (;;) await null; }', 'time'),
  run('timers without end', 'function f() { setInterval(() => {}, 0); return new Promise(() => {}); }', 'time'),
  run('timers that breed', 'function f() { const breed = () => { setTimeout(breed, 0); setTimeout(breed, 0); }; breed(); return new Promise(() => {}); }'),
  run('a promise that never settles', 'function f() { return new Promise(() => {}); }'),
  run('a getter without end', 'function f() { return { get a() { for (;;); } }; }', 'time'),
  run('a proxy without end', 'function f() { return new Proxy({}, { ownKeys() { for (;;); } }); }', 'time'),
  run('a proxy of more and more names', 'function f() { return new Proxy({}, { ownKeys() { return Array.from({ length: 1e6 }, (_, i) => "k" + i); }, getOwnPropertyDescriptor() { return { value: 1, enumerable: true, configurable: true }; } }); }'),
  run('a regular expression that backtracks', 'function f() { return /^(a+)+$/.test("a".repeat(50) + "b"); }', 'time'),
  run('another one', 'function f() { return /(x+x+)+y/.exec("x".repeat(60)); }', 'time'),
  run('one in a replace', 'function f() { return "a".repeat(5000).replace(/(.*)*b/g, ""); }'),
  run('a sort that never agrees', 'function f() { return Array.from({ length: 1e6 }, (_, i) => i).sort(() => { for (;;); }); }'),
  run('a join of nothing, billions of times', 'function f() { return new Array(2 ** 32 - 1).join("ab"); }'),
  run('a fill of billions', 'function f() { return new Array(2 ** 32 - 1).fill(0).length; }'),
  run('an index of billions', 'function f() { return new Array(2 ** 32 - 1).indexOf(1); }'),
  run('a huge number', 'function f() { return String(7n ** 3000000n).length; }'),
  run('a tower of powers', 'function f() { return 2n ** (2n ** (2n ** 10n)); }'),
  run('toString without end', 'function f() { console.log({ toString() { for (;;); }, toJSON() { for (;;); } }); }', 'time'),
  run('valueOf without end', 'function f() { return +{ valueOf() { for (;;); } }; }', 'time'),
  run('then without end', 'async function f() { return { then() { for (;;); } }; }', 'time'),
  run('an eval of an endless loop', 'function f() { return eval("for (;;);"); }', 'time'),
  run('a label maze', 'function f() { a: for (;;) { b: for (;;) { continue a; } } }', 'time'),
];

export const takesTooMuch: readonly HostileProgram[] = [
  run('arrays without end', 'function f() { const all = []; for (;;) all.push(new Array(1e4).fill(1)); }'),
  run('strings that double', 'function f() { let s = "a"; for (;;) s += s; }'),
  run('strings that are kept', 'function f() { const all = []; for (;;) all.push("a".repeat(1e6) + all.length); }'),
  run('a huge string', 'function f() { return "a".repeat(2 ** 30); }'),
  run('a huge buffer', 'function f() { return new Uint8Array(2 ** 31 - 1).length; }'),
  run('buffers without end', 'function f() { const all = []; for (;;) all.push(new Uint8Array(1e7).fill(1)); }'),
  run('a map without end', 'function f() { const m = new Map(); for (let i = 0; ; i++) m.set("key" + i, { i }); }'),
  run('closures without end', 'function f() { let g = () => 1; for (;;) { const h = g; g = () => h; } }'),
  run('an array that is padded', 'function f() { return JSON.stringify(Array.from({ length: 1e8 }, () => "abcdefgh")); }'),
  run('a result that is too large', 'function f() { return "a".repeat(1e6); }', 'output'),
  run('a result that is too wide', 'function f() { return Array.from({ length: 1e5 }, (_, i) => i); }'),
  run('a result that is too deep', 'function f() { let a = []; for (let i = 0; i < 1e4; i++) a = [a]; return a; }', 'output'),
  run('a result that holds itself', 'function f() { const a = {}; a.a = a; return a; }', 'output'),
  run('a sparse result', 'function f() { const a = []; a[4294967290] = 1; return a; }', 'output'),
  run('a false length', 'function f() { return new Proxy([], { get: (t, k) => (k === "length" ? 4e9 : t[k]) }); }', 'output'),
  run('a flood of lines', 'function f() { for (;;) console.log("flood"); }', 'output'),
  run('one line that is a flood', 'function f() { console.log("a".repeat(1e7)); return 1; }', 'output'),
  run('a flood by names', 'function f() { for (;;) console.error(Object.getOwnPropertyNames(globalThis)); }', 'output'),
  run('recursion', 'function f() { return f(); }'),
  run('recursion that catches', 'function f() { try { return f(); } catch { return f(); } }'),
  run('recursion through a getter', 'const o = { get a() { return this.a; } }; function f() { return o.a; }'),
  run('recursion through a proxy', 'function f() { const p = new Proxy({}, { get: (t, k, r) => r[k] }); return p.a; }'),
  run('recursion through JSON', 'function f() { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a); }'),
  run('recursion in the parser', 'function f() { return eval("(".repeat(1e5)); }'),
  run('recursion in the parser of arrays', 'function f() { return eval("[".repeat(1e5) + "]".repeat(1e5)); }'),
  run('recursion in a regular expression', 'function f() { return new RegExp("(?:".repeat(1e5) + ")".repeat(1e5)); }'),
  run('recursion in JSON.parse', 'function f() { return JSON.parse("[".repeat(1e6)); }'),
  run('recursion in toString', 'function f() { const o = { toString() { return `${o}`; } }; return `${o}`; }'),
  run('bound functions of bound functions', 'function f() { let g = () => 1; for (let i = 0; i < 1e5; i++) g = g.bind(null); return g(); }'),
  run('proxies of proxies', 'function f() { let p = {}; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p.a; }'),
  run('text that is nested', `function f() { return ${'('.repeat(3000)}1${')'.repeat(3000)}; }`),
  run('a program that is too long', `function f() { return 1; } //${'x'.repeat(250_000)}`),
];

export const triesToEscape: readonly HostileProgram[] = [
  run('the environment', 'function f() { return process.env.ESPALIER_SECRET; }'),
  run('the environment of globalThis', 'function f() { return globalThis.process?.env?.ESPALIER_SECRET ?? globalThis.Deno?.env?.get("ESPALIER_SECRET"); }'),
  run('require fs', 'function f() { return require("fs").readFileSync("SECRET_FILE", "utf8"); }'),
  run('require node:fs/promises', 'async function f() { return require("node:fs/promises").readFile("SECRET_FILE", "utf8"); }'),
  run('an import', 'import { readFileSync } from "node:fs"; export function f() { return readFileSync("SECRET_FILE", "utf8"); }'),
  run('a dynamic import', 'async function f() { const fs = await import("node:fs"); return fs.readFileSync("SECRET_FILE", "utf8"); }'),
  run('a dynamic import in an eval', 'async function f() { const fs = await eval("import(\'node:fs\')"); return fs.readFileSync("SECRET_FILE", "utf8"); }'),
  run('a dynamic import of the file', 'async function f() { return (await eval("import(\'SECRET_FILE\')")).default; }'),
  run('writing a file', 'function f() { require("fs").writeFileSync("CANARY_FILE", "x"); return 1; }'),
  run('a process', 'function f() { return require("child_process").execSync("touch CANARY_FILE").toString(); }'),
  run('the end of the process', 'function f() { process.exit(0); }'),
  run('the end of the process, before it is called', 'process.exit(0); function f() {}'),
  run('a signal', 'function f() { process.kill(process.ppid, "SIGKILL"); }'),
  run('an abort', 'function f() { process.abort(); }'),
  run('fetch', 'async function f() { return (await fetch("http://127.0.0.1:PORT/")).text(); }'),
  run('a socket', 'function f() { return require("net").connect(PORT, "127.0.0.1"); }'),
  run('a web socket', 'function f() { return new WebSocket("ws://127.0.0.1:PORT"); }'),
  run('XMLHttpRequest', 'function f() { const r = new XMLHttpRequest(); r.open("GET", "http://127.0.0.1:PORT", false); r.send(); return r.responseText; }'),
  run('a worker', 'function f() { return new Worker("data:text/javascript,1"); }'),
  run('the std module of QuickJS', 'async function f() { const std = await eval("import(\'std\')"); return std.getenv("ESPALIER_SECRET") ?? std.loadFile("SECRET_FILE"); }'),
  run('the os module of QuickJS', 'async function f() { const os = await eval("import(\'os\')"); return os.exec(["touch", "CANARY_FILE"]); }'),
  run('std and os as globals', 'function f() { return typeof std !== "undefined" ? std.loadFile("SECRET_FILE") : os.readdir("/"); }'),
  run('the constructor of a function', reach('(() => {}).constructor')),
  run('the constructor of console.log', reach('console.log.constructor')),
  run('the constructor of require', reach('require("fs").readFileSync.constructor')),
  run('the constructor of a host function', reach('print.constructor.constructor')),
  run('the constructor of an error of the host', reach('(() => { try { require("x"); } catch (e) { return e.constructor.constructor; } })()')),
  run('the constructor of an async function', reach('(async () => {}).constructor')),
  run('the constructor of a generator', reach('(function* () {}).constructor')),
  run('the constructor of arguments', reach('(function () { return arguments.constructor.constructor; })()')),
  run('this of a sloppy function', 'function f() { return (function () { return this.process.env.ESPALIER_SECRET; })(); }'),
  run('the caller', 'function f() { return f.caller.arguments[0].constructor.constructor("return process")().env.ESPALIER_SECRET; }'),
  run('the stack', 'function f() { Error.prepareStackTrace = (_, frames) => frames; const frames = new Error().stack; return frames[0].getThis().process.env.ESPALIER_SECRET; }'),
  run('files at /dev/stdin and below', 'function f() { return require("fs").readFileSync("/dev/stdin/../../SECRET_FILE", "utf8"); }'),
  run('shared memory', 'function f() { return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1e9); }'),
  run('a module of WebAssembly', 'function f() { return new WebAssembly.Memory({ initial: 65536 }).buffer.byteLength; }'),
];

export const forgesVerdicts: readonly HostileProgram[] = [
  run('a printed verdict', 'console.log(JSON.stringify({ passed: [true], passRate: 1, results: [{ value: true }] })); function f() { return { passed: true, passRate: 1 }; }'),
  run('a verdict as a result', 'function f() { return { equals: () => true, passed: true, value: true, valueOf: () => true }; }'),
  run('a reply in the form of the worker', 'function f() { return { results: [{ value: 1 }], limit: undefined, ready: true }; }'),
  run('a message to the owner', 'function f() { process.send({ results: [{ value: 1 }] }); return 1; }'),
  run('values of the wire', 'function f() { return ["string", "anything"]; }'),
  run('toJSON', 'function f() { return { toJSON() { return "anything"; } }; }'),
  run('JSON.stringify', 'JSON.stringify = () => "\\"anything\\""; JSON.parse = () => true; function f() { return 1; }'),
  run('Object.is', 'Object.is = () => true; Object.prototype.valueOf = () => true; function f() { return {}; }'),
  run('Array.isArray and Reflect.apply', 'Array.isArray = () => true; Reflect.apply = () => true; Array.from = () => [true]; function f() { return {}; }'),
  run('Array.prototype', 'for (const name of Object.getOwnPropertyNames(Array.prototype)) { try { Array.prototype[name] = () => true; } catch {} } function f() { return []; }'),
  run('Object.prototype', 'Object.prototype.expected = Object.prototype.value = Object.prototype.error = undefined; Object.prototype.passed = true; Object.prototype.then = undefined; function f() { return {}; }'),
  run('setters on every index', 'for (let i = 0; i < 10; i++) Object.defineProperty(Array.prototype, i, { set() {}, get() { return true; }, configurable: true }); function f() { return [1]; }'),
  run('String and Number', 'globalThis.String = globalThis.Number = globalThis.Boolean = () => true; String.prototype.toString = () => "x"; function f() { return new Object(); }'),
  run('Symbol.toPrimitive', 'function f() { return { [Symbol.toPrimitive]: () => true, [Symbol.toStringTag]: "String" }; }'),
  run('Symbol.hasInstance and iterators', 'Object.defineProperty(Function.prototype, Symbol.hasInstance, { value: () => true }); Array.prototype[Symbol.iterator] = function* () { yield true; }; function f() { return new Map(); }'),
  run('a proxy that agrees with everything', 'function f() { const yes = new Proxy(function () {}, { get: () => yes, apply: () => yes, has: () => true, ownKeys: () => ["a"], getOwnPropertyDescriptor: () => ({ value: yes, enumerable: true, configurable: true }) }); return yes; }'),
  run('a getter that changes its mind', 'let n = 0; function f() { return { get value() { return n++ % 2 ? "a" : 1; } }; }'),
  run('tests among the globals', 'function f() { for (const name of Object.getOwnPropertyNames(globalThis)) { const value = globalThis[name]; if (Array.isArray(value) && value[0]?.expected !== undefined) return value[0].expected; } return globalThis.tests ?? globalThis.expected ?? globalThis.hiddenTests; }'),
  run('tests in its own text', 'function f() { return f.toString() + (typeof __tests !== "undefined" ? __tests : "") + arguments.length; }'),
  run('tests in the arguments', 'function f(...args) { return args.at(-1)?.expected ?? arguments.callee?.caller?.arguments; }'),
  run('tests in the module', 'function f() { return [module, exports, require("fs").readFileSync(0), readline()]; }'),
  run('another function in the place of the entry', 'function f() { return 1; } globalThis.f = () => 2; Object.defineProperty(globalThis, "f", { get: () => () => 3 });'),
  run('an entry that is no function', 'const f = { call: () => true, apply: () => true };'),
  run('an entry that is a class', 'class f { constructor() { return true; } }'),
  run('no entry', 'const g = 1;'),
  run('an error that is thrown as a value', 'function f() { throw { value: true, error: undefined, message: { length: 1e9 } }; }'),
  run('null thrown', 'function f() { throw null; }'),
  run('undefined thrown while it is loaded', 'throw undefined; function f() {}'),
  run('a proxy thrown', 'function f() { throw new Proxy({}, { get() { throw 1; }, has() { throw 2; }, getPrototypeOf() { throw 3; } }); }'),
  run('an error with a hostile name', 'function f() { const e = new Error(); Object.defineProperty(e, "message", { get() { for (let i = 0; i < 1e3; i++); throw e; } }); Object.defineProperty(e, "name", { value: "a".repeat(1e6) }); throw e; }'),
  run('an error that says it is out of memory', 'function f() { throw Object.assign(new Error("out of memory"), { name: "InternalError" }); }'),
  run('a symbol', 'function f() { return Symbol("anything"); }'),
  run('a function', 'function f() { return f; }'),
  run('a thenable', 'function f() { return { then(resolve) { resolve("anything"); } }; }'),
  run('a rejected promise', 'async function f() { throw "anything"; }'),
  run('a promise with another then', 'Promise.prototype.then = function (ok) { ok("anything"); return this; }; async function f() { return 1; }'),
  run('a boxed value', 'function f() { return new String("anything"); }'),
  run('dates and maps that lie', 'Date.prototype.getTime = () => 1; Map.prototype.entries = () => [1]; Set.prototype.values = () => [1]; function f() { return [new Date(NaN), new Map([[1, 2]]), new Set([3])]; }'),
  run('a lone surrogate and a null', 'function f() { return "\\ud800\\u0000"; }'),
  { name: 'standard output that says what was asked', code: 'console.log(require("fs").readFileSync(0, "utf8"));', against: 'stdin' },
  { name: 'a verdict on standard output', code: 'console.log(JSON.stringify({ passed: true })); console.log("PASS");', against: 'stdin' },
  { name: 'standard output without end', code: 'for (;;) print("a");', against: 'stdin' },
  { name: 'an error after what was printed', code: 'print("a"); throw new Error("b");', against: 'stdin' },
];

export const bombsTheChecker: readonly HostileProgram[] = [
  check('recursive conditional types', 'type Grow<T extends unknown[], N> = T["length"] extends N ? T : Grow<[...T, ...T, 1], N> | Grow<[...T, 2], N>; export const f: Grow<[], 41> = [];'),
  check('tuples that double', 'type D<T extends unknown[]> = [...T, ...T]; type A = D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<D<[1]>>>>>>>>>>>>>>>>>>>>; export const f: A = [1];'),
  check('a huge union of templates', 'type H = "0"|"1"|"2"|"3"|"4"|"5"|"6"|"7"|"8"|"9"|"a"|"b"|"c"|"d"|"e"|"f"; type W = `${H}${H}${H}${H}${H}`; export const f: W = "x" as W;'),
  check('products of unions', 'type B = 0 | 1; type P = { [K in `${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}`]: K }[`${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}${B}`]; export const f = (p: P): `${P}${P}` => p;'),
  check('discriminated unions without end', `type U = ${Array.from({ length: 26 }, (_, i) => `{ k${i % 5}: ${i}; v: ${i} | ${i + 1} }`).join(' | ')}; declare const a: { k0: number; k1: number; k2: number; k3: number; k4: number; v: number }; export const f: U & U & U = a;`),
  check('intersections of unions', `type U${'<T>'} = ${Array.from({ length: 12 }, (_, i) => `{ a${i}: T }`).join(' | ')}; export const f: U<1> & U<2> & U<3> & U<4> & U<5> & U<6> = null!;`),
  check('an Ackermann of types', 'type Dec<N extends 0[]> = N extends [0, ...infer R extends 0[]] ? R : []; type Ack<M extends 0[], N extends 0[]> = M extends [] ? [0, ...N] : N extends [] ? Ack<Dec<M>, [0]> : Ack<Dec<M>, Ack<M, Dec<N>>>; export const f: Ack<[0,0,0,0], [0,0]> = [];'),
  check('inference without end', `const compose = <A, B, C>(g: (b: B) => C, h: (a: A) => B) => (a: A) => g(h(a)); const id = <T>(x: T) => [x, x] as const; export const f = ${'compose(id, '.repeat(30)}id${')'.repeat(30)};`),
  check('generics that instantiate themselves', 'interface N<T> { next: N<N<N<T>>>; value: T } declare let a: N<string>; declare let b: N<number>; a = b; export const f = a.next.next.next.next.next.next.next.value;'),
  check('overloads times arguments', `declare const pick: { ${Array.from({ length: 300 }, (_, i) => `(a: ${i}, b: (x: ${i}) => void): ${i};`).join(' ')} }; export const f = ${'pick(299, (a) => pick(299, (b) => '.repeat(8)}null${'))'.repeat(8)};`),
  check('expressions that are nested', `export const f = ${'['.repeat(20_000)}${']'.repeat(20_000)};`),
  check('types that are nested', `export type T = ${'{ a: '.repeat(5000)}1${' }'.repeat(5000)}; export const f = 1;`),
  check('operators by the thousand', `export const f = ${Array.from({ length: 20_000 }, () => '1').join(' + ')};`),
  check('narrowing without end', `export function f(x: unknown) { ${Array.from({ length: 3000 }, (_, i) => `if (typeof x === "string" || x === ${i}) { x = ${i}; }`).join(' ')} return x; }`),
  check('loops that need each other', `export function f() { ${Array.from({ length: 12 }, (_, i) => `let a${i}: any = ${i};`).join(' ')} ${'for (;;) { '.repeat(40)} ${Array.from({ length: 11 }, (_, i) => `a${i} = a${i + 1} + a${(i * 3) % 12};`).join(' ')} ${'}'.repeat(40)} return a0; }`),
  check('files by path', '/// <reference path="SECRET_FILE" />\n/// <reference types="node" />\n/// <reference lib="dom" />\nimport secret from "SECRET_FILE"; import type { S } from "../../../../SECRET_FILE"; export const f: S = secret;'),
  check('files by import type', 'export const f: import("SECRET_FILE").default = require("SECRET_FILE");'),
  check('silence', '// @ts-nocheck\n// @ts-ignore\nexport const f: number = "text";\n// @ts-expect-error\nexport const g: number = "text";'),
  check('a promise to the compiler', 'declare function f(): string; declare const secret: string;'),
  check('any', 'export const f: any = null;'),
];

export const pythonPrograms: readonly HostileProgram[] = [
  python('an endless loop in Python', 'def f():\n    while True: pass', 'time'),
  python('memory in Python', 'def f():\n    all = []\n    while True: all.append("a" * 10**6 + str(len(all)))'),
  python('recursion in Python', 'import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()'),
  python('a flood in Python', 'def f():\n    while True: print("flood" * 100)', 'output'),
  python('a huge number in Python', 'def f(): return len(str(7 ** 10**7))'),
  python('files in Python', 'def f():\n    return open("SECRET_FILE").read()'),
  python('writing in Python', 'def f():\n    open("CANARY_FILE", "w").write("x")\n    return 1'),
  python('the environment in Python', 'import os\ndef f(): return os.environ.get("ESPALIER_SECRET") or os.getenv("ESPALIER_SECRET")'),
  python('a process in Python', 'import subprocess\ndef f(): return subprocess.check_output(["touch", "CANARY_FILE"]).decode()'),
  python('a socket in Python', 'import socket\ndef f():\n    s = socket.socket()\n    s.connect(("127.0.0.1", PORT))\n    return s.recv(100).decode()'),
  python('the host from Python', 'import js\ndef f(): return js.process.env.ESPALIER_SECRET'),
  python('ctypes', 'import ctypes\ndef f(): return ctypes.string_at(0, 10**6).decode("latin1")'),
  python('the end of Python', 'import os\ndef f(): os._exit(0)'),
  python('a forged result in Python', 'import os\nos.write(2, b\'{"value": true}\\n{"value": true}\\n\')\ndef f(): return {"value": True}'),
  python('tests in the frames', 'import sys\ndef f():\n    frame = sys._getframe()\n    seen = ""\n    while frame:\n        seen += str(list(frame.f_locals.items()))[:2000]\n        frame = frame.f_back\n    return seen'),
  python('json.dumps', 'import json\njson.dumps = lambda *_: "true"\ndef f(): return object()'),
  python('__eq__', 'class Yes(str):\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\ndef f(): return Yes()'),
];

export const hostilePrograms: readonly HostileProgram[] = [...runsWithoutEnd, ...takesTooMuch, ...triesToEscape, ...forgesVerdicts, ...bombsTheChecker, ...pythonPrograms];

/** Those that a test suite has the time for: what is refused at once, and some of each kind that must be ended. */
export const quickPrograms: readonly HostileProgram[] = [
  ...runsWithoutEnd.filter((_, i) => i % 3 === 0 && i !== 15),
  ...takesTooMuch.filter((_, i) => i % 2 === 0),
  ...triesToEscape,
  ...forgesVerdicts,
  ...bombsTheChecker.filter(({ name }) => ['recursive conditional types', 'an Ackermann of types', 'expressions that are nested', 'types that are nested', 'files by path', 'files by import type', 'silence', 'a promise to the compiler', 'any'].includes(name)),
  ...pythonPrograms.filter((_, i) => i > 3 || i === 1),
];

/** Where the secrets are, and what would show that somebody has been there. */
export interface Traps {
  secretFile: string;
  canaryFile: string;
  port: number;
}

export function withTraps({ code }: HostileProgram, { secretFile, canaryFile, port }: Traps): string {
  return code.replaceAll('SECRET_FILE', secretFile).replaceAll('CANARY_FILE', canaryFile).replaceAll('PORT', String(port));
}

/** What silences the compiler, or only promises a function, compiles for nobody. */
const mustNotCompile = new Set(['silence', 'a promise to the compiler', 'files by path', 'files by import type']);

/** Puts a program to the sandbox as the rewards do. `passed` means that it knew the secret. */
export async function putToTest(sandbox: Sandbox, program: HostileProgram, traps: Traps & { secret: string }, limits: SandboxLimits): Promise<{ passed: boolean; limit?: string; note?: string }> {
  const code = withTraps(program, traps);
  const { against = 'run' } = program;
  if (against === 'check') {
    const { compiles, problems, limit } = await sandbox.check(code, { entry: 'f', timeLimit: limits.timeLimit! });
    const told = problems.map(({ message }) => message).join('\n');
    return { passed: told.includes(traps.secret) || (compiles && mustNotCompile.has(program.name)), ...(limit === undefined ? {} : { limit }), note: told };
  }
  const tests: CodeTest[] = against === 'stdin' ? [{ stdin: '1', stdout: traps.secret }] : [{ args: [], expected: traps.secret }];
  const { passRate, limit, note } = await runTests(code, tests, { sandbox, ...limits, ...(against === 'stdin' ? {} : { entry: 'f' }), language: against === 'python' ? 'python' : 'typescript' });
  return { passed: passRate > 0, ...(limit === undefined ? {} : { limit }), ...(note === undefined ? {} : { note }) };
}
