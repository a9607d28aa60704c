// The side of the parent: processes that take turns.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { createInterface } from 'node:readline';

/** A process that speaks as lib/serve.mjs does. */
export class Child {
  constructor({ name, command, args, env = {} }, { verbose = false, seconds = 900 } = {}) {
    this.name = name;
    this.limit = seconds * 1000;
    this.process = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.errors = '';
    this.waiting = null;
    this.ended = null;
    this.process.stderr.setEncoding('utf8').on('data', (text) => {
      this.errors = (this.errors + text).slice(-3000);
      if (verbose) process.stderr.write(text);
    });
    this.process.stdin.on('error', () => undefined); // what went wrong is told by the exit
    this.process.on('error', (error) => this.fail(error.message));
    this.process.on('close', (status) => this.fail(`ended with status ${status}`));
    createInterface({ input: this.process.stdout }).on('line', (line) => {
      if (line.startsWith('@@')) this.waiting?.resolve(JSON.parse(line.slice(2)));
      else if (verbose) process.stderr.write(`${line}\n`);
    });
  }

  fail(why) {
    this.ended = new Error(`${this.name}: ${why}\n${this.errors}`);
    this.waiting?.reject(this.ended);
  }

  async answer() {
    if (this.ended) throw this.ended;
    let timer;
    try {
      return await new Promise((resolve, reject) => {
        this.waiting = { resolve, reject };
        timer = setTimeout(() => {
          this.process.kill('SIGKILL');
          reject(new Error(`${this.name} did not answer in ${this.limit / 1000} s`));
        }, this.limit);
      });
    } finally {
      clearTimeout(timer);
      this.waiting = null;
    }
  }

  ready() {
    return this.answer();
  }

  go(argument = null) {
    const answer = this.answer();
    this.process.stdin.write(`go ${JSON.stringify(argument)}\n`);
    return answer;
  }

  end() {
    const answer = this.answer();
    this.process.stdin.write('end\n');
    return answer;
  }

  kill() {
    this.ended ??= new Error(`${this.name} was ended`);
    this.process.kill('SIGKILL');
  }
}

/** Bytes that new processes can have. */
export function availableMemory() {
  try {
    return 1024 * Number(/^MemAvailable:\s+(\d+)/m.exec(readFileSync('/proc/meminfo', 'utf8'))[1]);
  } catch {
    return freemem();
  }
}

/**
 * Runs contestants in turns: each round asks each of them for each of its arguments once, one after another, never two at a time. Where memory allows all of them stay
 * loaded; else each is started anew in each round, warm-up included.
 *
 * @param contestants `{ name, command, args, env, gigabytes, turns: [argument, …] }`
 * @returns by name: `{ ready, end, answers: [[answer, …] for each argument] }`; one that failed has `error`
 */
export async function alternate(contestants, { rounds, log = () => undefined, verbose = false }) {
  const results = new Map(contestants.map(({ name, turns = [null] }) => [name, { ready: null, end: null, answers: turns.map(() => []), error: null }]));
  const wanted = contestants.reduce((sum, { gigabytes = 2 }) => sum + gigabytes, 0);
  const together = wanted * 1e9 < availableMemory();
  const failed = (name, error) => {
    results.get(name).error = error.message;
    log(`  ${name} failed: ${error.message.trim().split('\n').slice(0, 12).join('\n    ')}`);
  };
  const open = async (contestant) => {
    const child = new Child(contestant, { verbose });
    try {
      const ready = await child.ready();
      results.get(contestant.name).ready ??= ready;
      return child;
    } catch (error) {
      child.kill();
      failed(contestant.name, error);
      return null;
    }
  };
  const round = async (contestant, child) => {
    const { turns = [null], name } = contestant;
    for (const [i, argument] of turns.entries()) {
      const answer = await child.go(argument);
      results.get(name).answers[i].push(answer);
      log(`  ${name}${argument === null ? '' : ` ${JSON.stringify(argument)}`}: ${answer.seconds === undefined ? 'done' : `${answer.seconds.toFixed(3)} s`}`);
    }
  };
  const close = async (contestant, child) => {
    const end = await child.end();
    const result = results.get(contestant.name);
    result.end = { ...end, peak: Math.max(end.peak ?? 0, result.end?.peak ?? 0) };
  };
  const guarded = async (contestant, child, body) => {
    try {
      await body();
    } catch (error) {
      child.kill();
      failed(contestant.name, error);
    }
  };
  if (together) {
    const running = [];
    for (const contestant of contestants) running.push([contestant, await open(contestant)]);
    for (let r = 0; r < rounds; r++) for (const [contestant, child] of running) if (child && !results.get(contestant.name).error) await guarded(contestant, child, () => round(contestant, child));
    for (const [contestant, child] of running) if (child && !results.get(contestant.name).error) await guarded(contestant, child, () => close(contestant, child));
  } else {
    log(`  ${wanted} GB together are more than is free: each is started anew in each round`);
    for (let r = 0; r < rounds; r++)
      for (const contestant of contestants) {
        if (results.get(contestant.name).error) continue;
        const child = await open(contestant);
        if (child) await guarded(contestant, child, async () => (await round(contestant, child), await close(contestant, child)));
      }
  }
  return results;
}
