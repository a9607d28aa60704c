import { openEngine } from '@espalier/engine';
import { loadNative } from '@espalier/native';
const native = loadNative();
let gaps = null, last = 0, inside = false;
for (const name of Object.keys(native)) {
  const original = native[name];
  if (typeof original !== 'function' || /^[A-Z]/.test(name)) continue;
  native[name] = (...args) => {
    if (!gaps || inside) return original(...args);
    inside = true;
    const start = performance.now();
    const e = (gaps[name] ??= { n: 0, gap: [], own: [] });
    e.n++; e.gap.push(start - last);
    const r = original(...args);
    last = performance.now();
    e.own.push(last - start);
    inside = false;
    return r;
  };
}
const engine = await openEngine({ model: '/tmp/peers/smollm2', inline: true });
const B = Number(process.argv[2] ?? 1);
const run = async () => { for await (const r of engine.generate(Array.from({ length: B }, (_, i) => ({ id: String(i), prompt: Int32Array.from({ length: 64 }, (_, j) => 1000 + i * 64 + j), sampling: { maxNewTokens: 64, ignoreEos: true, temperature: 1 }, seed: i })))) void r; };
await run(); await run();
const med = (x) => [...x].sort((a, b) => a - b)[x.length >> 1];
for (let i = 0; i < 3; i++) { gaps = {}; last = performance.now(); const s = performance.now(); await run(); const t = performance.now() - s;
console.log(t.toFixed(0), 'ms', Object.entries(gaps).map(([n, { n: c, gap, own }]) => `${n} ${c} gap ${med(gap).toFixed(3)} own ${med(own).toFixed(3)}`).join('; ')); gaps = null; }
await engine.close();
