/**
 * Runs in a fresh context before the program. Gives it a console, standard input and timers, and keeps for the host what the host will need, so that
 * whatever the program does to the built-in objects changes nothing there. No value that a program should arrive at is ever in this context.
 */
export const prelude = `(function (print) {
  const { apply } = Reflect;
  const { isArray } = Array;
  const { stringify } = JSON;
  const toText = String;
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (typeof value === 'object' && value !== null) {
      try { return stringify(value) ?? '[object]'; } catch { return '[object]'; }
    }
    return typeof value === 'function' ? '[function]' : toText(value);
  };
  const log = (...values) => {
    let line = '';
    for (let i = 0; i < values.length; i++) line += (i > 0 ? ' ' : '') + show(values[i]);
    print(line + '\\n');
  };
  globalThis.console = { log, info: log, debug: log, warn: log, error: log };
  globalThis.print = log;

  const { indexOf, slice } = String.prototype;
  let stdin = '';
  const setInput = (text) => void (stdin = text);
  let position = 0;
  globalThis.readline = () => {
    if (position >= stdin.length) return null;
    const found = apply(indexOf, stdin, ['\\n', position]);
    const end = found < 0 ? stdin.length : found;
    const line = apply(slice, stdin, [position, end]);
    position = end + 1;
    return line;
  };
  const readFileSync = (path) => {
    if (path === 0 || path === '/dev/stdin') return stdin;
    throw new Error('there are no files');
  };
  const fs = { readFileSync };
  globalThis.require = (name) => {
    if (name === 'fs' || name === 'node:fs') return fs;
    throw new Error('there is no module ' + toText(name));
  };
  globalThis.module = { exports: {} };
  globalThis.exports = globalThis.module.exports;

  // Timers do not wait: they run in the order of their times when the program has nothing else to do.
  let timers = [];
  let now = 0;
  let last = 0;
  const add = (callback, delay, every, args) => {
    const id = ++last;
    const wait = +delay > 0 ? +delay : 0;
    timers = [...timers, { id, at: now + wait, callback, args, every: every ? (wait > 1 ? wait : 1) : 0 }];
    return id;
  };
  const remove = (id) => {
    const kept = [];
    for (let i = 0; i < timers.length; i++) if (timers[i].id !== id) kept[kept.length] = timers[i];
    timers = kept;
  };
  globalThis.setTimeout = (callback, delay, ...args) => add(callback, delay, false, args);
  globalThis.setInterval = (callback, delay, ...args) => add(callback, delay, true, args);
  globalThis.clearTimeout = globalThis.clearInterval = (id) => remove(id);
  globalThis.queueMicrotask = (callback) => void Promise.resolve().then(() => callback());
  globalThis.structuredClone = (value) => JSON.parse(stringify(value));
  const runTimers = () => {
    if (timers.length === 0) return false;
    let next = timers[0];
    for (let i = 1; i < timers.length; i++) if (timers[i].at < next.at) next = timers[i];
    now = next.at;
    if (next.every > 0) next.at += next.every;
    else remove(next.id);
    apply(next.callback, undefined, next.args);
    return true;
  };

  // The same program gives the same result each time.
  let state = 0x9e3779b9;
  Math.random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };

  const { Map: M, Set: S, Date: D } = globalThis;
  const mapEntries = M.prototype.entries;
  const setValues = S.prototype.values;
  const nextOfMap = Object.getPrototypeOf(new M().entries()).next;
  const nextOfSet = Object.getPrototypeOf(new S().values()).next;
  const getTime = D.prototype.getTime;
  /** [kind, parts as a plain list] of what is no plain object, or undefined. */
  const kindOf = (value) => {
    try { return ['date', getTime.call(value)]; } catch {}
    for (const [kind, make, next] of [['map', mapEntries, nextOfMap], ['set', setValues, nextOfSet]]) {
      let iterator;
      try { iterator = apply(make, value, []); } catch { continue; }
      const list = [];
      for (;;) {
        const step = apply(next, iterator, []);
        if (step.done) return [kind, list];
        list[list.length] = step.value;
      }
    }
    return undefined;
  };
  const entryOf = (direct, name) => {
    if (typeof direct === 'function') return direct;
    const { exports } = globalThis.module;
    const found = globalThis.exports?.[name] ?? exports?.[name] ?? exports?.default ?? globalThis.exports?.default;
    return typeof found === 'function' ? found : typeof exports === 'function' ? exports : undefined;
  };
  return { isArray, kindOf, apply, runTimers, entryOf, toText, setInput };
})`;
