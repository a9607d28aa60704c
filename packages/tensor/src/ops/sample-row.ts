/**
 * Sampling of one row of float32 logits `z[0 .. V)`. All of it is IEEE float64 with `+ - * /` in a stated order, an exponential of its own and a
 * counter-based generator, so that the Rust version (`native/crate/src/sampling.rs`) gives the same tokens, bit for bit:
 *
 * 1. Penalty (Keskar et al. 2019): `y[i] = z[i]`; for every distinct id of the history `y[i] = z[i] < 0 ? z[i] * penalty : z[i] / penalty`.
 * 2. Greedy when `temperature === 0`: the lowest id among the largest `y`.
 * 3. Weights: `inverse = 1 / temperature`, `top = max y`, `w[i] = exp((y[i] - top) * inverse)`.
 * 4. Top-k when `0 < k < V`: with `t` the k-th largest of `y`, weights with `y[i] < t` become 0 (ties at `t` stay).
 * 5. Top-p when `p < 1`: visit the ids with `w > 0` by descending `y`, lower id first among equals; keep while `mass < p * lanes(w)`; the first is always kept.
 * 6. Min-p when `minP > 0`: weights below `minP` become 0 (the largest weight is 1).
 * 7. Draw: `goal = u * Σ w`, sums running in the order of ids; the token is the first id with `w > 0` whose running sum exceeds `goal`.
 * 8. Log-prob under the temperature, without penalty and filters: `(z[token] - max z) * inverse - ln lanes(exp((z[i] - max z) * inverse))`.
 */
export interface RowSettings {
  seed: readonly [number, number]; // low and high word
  sample: number;
  position: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  penalty: number;
  history: Int32Array;
}

/** Room for one row, used again and again. */
export interface Room {
  y: Float64Array; // [V]
  w: Float64Array; // [V]
}

/** The token and its log-prob; null where the logits hold NaN or +Infinity, or nothing finite. */
export function sampleRow(logits: Float32Array, { y, w }: Room, row: RowSettings): { token: number; logp: number } | null {
  let rawTop = -Infinity;
  for (let i = 0; i < logits.length; i++) {
    const z = logits[i];
    if (Number.isNaN(z)) return null;
    y[i] = z;
    if (z > rawTop) rawTop = z;
  }
  if (!Number.isFinite(rawTop)) return null;
  const penalised = row.penalty !== 1 && row.history.length > 0;
  let top = rawTop;
  if (penalised) {
    for (const id of row.history) y[id] = logits[id] < 0 ? logits[id] * row.penalty : logits[id] / row.penalty;
    top = -Infinity;
    for (const value of y) if (value > top) top = value;
  }
  const inverse = row.temperature === 0 ? 1 : 1 / row.temperature;
  const total = weigh(y, top, inverse, w);
  const token = row.temperature === 0 ? y.indexOf(top) : pick(y, w, total, row);
  let rawTotal = total;
  if (penalised) {
    y.set(logits);
    rawTotal = weigh(y, rawTop, inverse, w);
  }
  return { token, logp: (logits[token] - rawTop) * inverse - Math.log(rawTotal) };
}

/** Steps 4 to 7. */
function pick(y: Float64Array, w: Float64Array, weightsTotal: number, row: RowSettings): number {
  let total = weightsTotal;
  if (row.topK > 0 && row.topK < y.length) {
    const threshold = y.slice().sort()[y.length - row.topK];
    for (let i = 0; i < w.length; i++) if (y[i] < threshold) w[i] = 0;
    total = lanes(w);
  }
  if (row.topP < 1) nucleus(y, w, row.topP * total);
  if (row.minP > 0) for (let i = 0; i < w.length; i++) if (w[i] < row.minP) w[i] = 0;
  return draw(w, uniform(row.seed, row.sample, row.position));
}

/** Step 5. */
function nucleus(y: Float64Array, w: Float64Array, goal: number): void {
  const order = Uint32Array.from(w.keys())
    .filter((i) => w[i] > 0)
    .sort((a, b) => y[b] - y[a] || a - b);
  let mass = 0;
  let kept = 0;
  while (kept < order.length && (mass < goal || mass === 0)) mass += w[order[kept++]];
  for (let i = kept; i < order.length; i++) w[order[i]] = 0;
}

/** Step 7. */
function draw(w: Float64Array, u: number): number {
  let sum = 0;
  for (let i = 0; i < w.length; i++) sum += w[i];
  const goal = u * sum;
  let running = 0;
  let last = 0;
  for (let i = 0; i < w.length; i++) {
    if (w[i] <= 0) continue;
    running += w[i];
    last = i;
    if (running > goal) return i;
  }
  return last;
}

/** `out[i] = exp((y[i] - top) * inverse)`; returns `lanes(out)`. */
function weigh(y: Float64Array, top: number, inverse: number, out: Float64Array): number {
  for (let i = 0; i < y.length; i++) out[i] = exp((y[i] - top) * inverse);
  return lanes(out);
}

/** The sum in eight lanes, `lane = i mod 8`, added as `((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))`. */
function lanes(w: Float64Array): number {
  const s = new Float64Array(8);
  for (let i = 0; i < w.length; i++) s[i & 7] += w[i];
  return s[0] + s[1] + (s[2] + s[3]) + (s[4] + s[5] + (s[6] + s[7]));
}

const smallest = -708;
const round = 6755399441055744; // 1.5 * 2^52: adding and subtracting it rounds to the nearest integer, ties to even
const ln2High = 0.6931471803691238; // ln 2 in two pieces, the first with 32 trailing zero bits (fdlibm)
const ln2Low = 1.9082149292705877e-10;

/** 1 / n!, n = 13 … 0 */
const inverseFactorials = [6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1].map((f) => 1 / f);

/** `powers[-k]` is 2^k, made by halving: exact. */
const powers = Float64Array.from({ length: 1023 });
for (let i = 0, power = 1; i < powers.length; i++, power /= 2) powers[i] = power;

/** `e^x` for `x <= 0`: with `k = round(x log2 e)`, `r = (x - k ln2High) - k ln2Low`, Horner's scheme over 1 / n!, times 2^k. 0 below -708. */
function exp(x: number): number {
  if (x < smallest) return 0;
  const k = x * Math.LOG2E + round - round;
  const r = x - k * ln2High - k * ln2Low;
  let p = inverseFactorials[0];
  for (let n = 1; n < 14; n++) p = p * r + inverseFactorials[n];
  return p * powers[-k];
}

/** The high and the low word of a product of two 32-bit numbers. */
function multiply(a: number, b: number): [number, number] {
  const [ah, al, bh, bl] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = ah * bl + Math.floor((al * bl) / 0x10000); // < 2^33
  const rest = al * bh + (middle % 0x10000); // < 2^33
  return [(ah * bh + Math.floor(middle / 0x10000) + Math.floor(rest / 0x10000)) >>> 0, Math.imul(a, b) >>> 0];
}

/** Philox4x32-10 (Salmon et al. 2011). */
export function philox(counter: readonly [number, number, number, number], key: readonly [number, number]): [number, number, number, number] {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let i = 0; i < 10; i++) {
    if (i > 0) [k0, k1] = [(k0 + 0x9e3779b9) >>> 0, (k1 + 0xbb67ae85) >>> 0];
    const [ah, al] = multiply(c0, 0xd2511f53);
    const [bh, bl] = multiply(c2, 0xcd9e8d57);
    [c0, c1, c2, c3] = [(bh ^ c1 ^ k0) >>> 0, bl, (ah ^ c3 ^ k1) >>> 0, al];
  }
  return [c0, c1, c2, c3];
}

/** A number in (0, 1) with 52 bits. Key: the seed; counter: `[position, sample, 0, 0]`. */
export function uniform(seed: readonly [number, number], sample: number, position: number): number {
  const [x0, x1] = philox([position, sample, 0, 0], seed);
  return ((x0 >>> 6) * 67108864 + (x1 >>> 6) + 0.5) / 4503599627370496;
}
