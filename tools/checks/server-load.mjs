// Holds an espalier server under load: N requests in flight for M minutes, streaming and not, some of them left in the middle. Fails when a request fails, a stream
// breaks off, a slot stays taken, or memory grows. The server runs in a process of its own and is ended by SIGTERM, which must drain it.
//
//   node tools/checks/server-load.mjs [--minutes 5] [--in-flight 200] [--model DIR] [--max-tokens 24] [--limit-mb 64] [--heap-mb 80]
//
// Needs `npm run build`. Memory: the least resident set of the second fifth of the time against that of the last. V8's heap takes about a
// minute and a half to reach its size under this load; in a shorter run `--heap-mb` bounds the server's, so that a leak can be told from garbage not yet collected.
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '5' },
    'in-flight': { type: 'string', default: '200' },
    model: { type: 'string', default: fileURLToPath(new URL('../../packages/models/fixtures/smollm2', import.meta.url)) },
    'max-tokens': { type: 'string', default: '24' },
    'limit-mb': { type: 'string', default: '64' },
    'heap-mb': { type: 'string' },
    'serve-in-this-process': { type: 'boolean', default: false },
  },
});
const [minutes, inFlight, maxTokens, limitMb] = ['minutes', 'in-flight', 'max-tokens', 'limit-mb'].map((name) => Number(values[name]));

if (values['serve-in-this-process']) {
  const { openModel, serve } = await import(import.meta.resolve('@espalier/server'));
  const engine = await openModel({ model: values.model });
  const controller = new AbortController();
  process.once('SIGTERM', () => controller.abort());
  const server = await serve({ models: [{ id: 'load', engine }], port: 0, signal: controller.signal });
  process.stdout.write(`${server.url}\n`);
  await server.closed;
  await engine.close();
} else {
  const heap = values['heap-mb'] === undefined ? [] : [`--max-old-space-size=${values['heap-mb']}`]; // one that grows past it ends the server
  const child = spawn(process.execPath, [...heap, fileURLToPath(import.meta.url), '--serve-in-this-process', '--model', values.model], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, ESPALIER_API_KEY: '' } });
  const exited = new Promise((resolve) => child.once('exit', (status, signal) => resolve(signal ?? status)));
  const url = await new Promise((resolve, reject) => {
    child.stdout.once('data', (text) => resolve(String(text).trim()));
    child.once('exit', () => reject(new Error('the server did not start')));
  });
  const counts = { whole: 0, streamed: 0, left: 0, tokens: 0 };
  const errors = [];
  const end = Date.now() + minutes * 60_000;

  const ask = async (i) => {
    const kind = i % 5 === 4 ? 'left' : i % 2 === 0 ? 'whole' : 'streamed';
    const chat = i % 3 === 0;
    const prompt = Array.from({ length: 3 + (i % 29) }, (_, t) => 10 + ((i * 31 + t * 17) % 200));
    const body = { model: 'load', max_tokens: 1 + ((i * 7) % maxTokens), seed: i, stream: kind !== 'whole', n: i % 11 === 0 ? 2 : 1, ...(chat ? { messages: [{ role: 'user', content: `say ${i}` }] } : { prompt, logprobs: 1, ignore_eos: true }) };
    const controller = new AbortController();
    const response = await fetch(`${url}/v1/${chat ? 'chat/' : ''}completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal: controller.signal });
    if (response.status !== 200) throw new Error(`status ${response.status}: ${(await response.text()).slice(0, 300)}`);
    if (kind === 'left') {
      await response.body.getReader().read();
      controller.abort();
    } else {
      const text = await response.text();
      if (kind === 'whole') counts.tokens += JSON.parse(text).usage.completion_tokens;
      else if (!text.endsWith('data: [DONE]\n\n') || text.includes('"error"')) throw new Error(`a stream broke off: ${text.slice(-200)}`);
    }
    counts[kind]++;
  };
  let next = 0;
  const client = async () => {
    while (Date.now() < end) {
      try {
        await ask(next++);
      } catch (error) {
        errors.push(String(error.cause ?? error));
        if (errors.length > 20) return;
      }
    }
  };
  const metrics = async () => (await fetch(`${url}/metrics`)).text();
  const gauge = (text, name) => Number(new RegExp(`^${name} (.+)$`, 'm').exec(text)[1]);
  const samples = [];
  const start = Date.now();
  let most = 0;
  await metrics();
  const watch = (async () => {
    while (Date.now() < end) {
      await sleep(Math.min(1000, (minutes * 60_000) / 50));
      const text = await metrics().catch(() => null);
      if (text === null) continue;
      samples.push({ at: (Date.now() - start) / (end - start), rss: gauge(text, 'process_resident_memory_bytes') });
      most = Math.max(most, gauge(text, 'espalier_samples_in_flight'));
    }
  })();
  await Promise.all([watch, ...Array.from({ length: inFlight }, client)]);
  let held = 1;
  for (let i = 0; i < 100 && held > 0; i++) {
    held = gauge(await metrics(), 'espalier_samples_in_flight');
    await sleep(100);
  }
  child.kill('SIGTERM');
  const status = await exited;
  const least = (from, to) => Math.min(...samples.filter(({ at }) => at >= from && at <= to).map(({ rss }) => rss)) / 2 ** 20;
  const [before, after] = [least(0.2, 0.4), least(0.8, 1.1)];
  const problems = [
    ...errors.slice(0, 5),
    ...(held > 0 ? [`${held} slots stayed taken`] : []),
    ...(status !== 0 ? [`the server ended with ${status}`] : []),
    ...(after - before > limitMb ? [`memory grew from ${before.toFixed(0)} to ${after.toFixed(0)} MB`] : []),
  ];
  console.log(JSON.stringify({ minutes, inFlight, ...counts, mostSamplesInFlight: most, errors: errors.length, rssMb: { early: Math.round(before), late: Math.round(after) }, status, ok: problems.length === 0 }));
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}
