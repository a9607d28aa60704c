import { EspalierCausalAttention, EspalierCausalAttentionGrad } from '@espalier/native';
import type { CausalAttentionAttrs, CausalAttentionGradInputs, CausalAttentionInputs } from '@espalier/native';
import { add, addN, concat, exp, logSumExp, matMul, mul, reshape, slice, sub, sum, tensor2d, transpose } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { check, dims, fusedGradient, portableKernel, run, runKnown, sharedGradients } from './kernel';

/**
 * How the rows of a packed batch form sequences: sequence `s` is rows `offsets[s] .. offsets[s + 1]` and continues sequence `prefixOf[s]` (-1: none).
 * A prefix has no prefix of its own and stands before its users.
 */
export interface SequenceLayout {
  offsets: Int32Array; // [S + 1]
  prefixOf: Int32Array; // [S]
}

export interface AttentionOptions {
  /** Factor of the scores: `1 / sqrt(Dh)` for every architecture here. */
  scale: number;
  /** A token at position `p` sees only positions `> p - window`. Absent: no window. */
  window?: number;
}

/**
 * Causal self-attention over packed sequences, with grouped queries: query head `h` reads key head `floor(h / (H / Hkv))`. Token `i` of a sequence
 * sees its whole prefix and its own tokens up to `i`. Nothing is padded, and no `[T, T]` matrix is kept.
 * @param q `[T, H, Dh]`
 * @param k `[T, Hkv, Dh]`
 * @param v `[T, Hkv, Dh]`
 * @param known what it gives, where that is known: it is then recorded, and not computed
 * @returns `[T, H, Dh]`
 */
export function causalAttention(q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout, options: AttentionOptions, known?: AttentionOutputs): Tensor {
  const { o, lse } = causalAttentionOutputs(q, k, v, layout, options, known);
  lse.dispose(); // the tape keeps its own
  return o;
}

/** What attention gives: `o [T, H, Dh]`, and `lse [T, H]`, the logarithm of the sum of the exponentials of each query's scores. */
export interface AttentionOutputs {
  o: Tensor;
  lse: Tensor;
}

/** {@link causalAttention} with all that it gives. */
export function causalAttentionOutputs(q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout, options: AttentionOptions, known?: AttentionOutputs): AttentionOutputs {
  const { offsets, prefixOf } = layout;
  check(q.rank === 3 && k.rank === 3 && dims(q)[1] % dims(k)[1] === 0 && q.shape[2] === k.shape[2], 'causalAttention', () => `q [${q.shape}] and k [${k.shape}] do not fit`);
  check(offsets.length === prefixOf.length + 1 && offsets.at(-1) === q.shape[0], 'causalAttention', () => `offsets end at ${offsets.at(-1)}, q has ${q.shape[0]} rows`);
  prefixOf.forEach((prefix, s) => check(prefix < 0 || (prefix < s && prefixOf[prefix] < 0), 'causalAttention', () => `sequence ${s} continues ${prefix}, which should stand before it and have no prefix itself`));
  const attrs: CausalAttentionAttrs = { offsets, prefixOf, scale: options.scale, window: options.window ?? 0 };
  const inputs = { q, k, v };
  const [o, lse] = known ? runKnown(EspalierCausalAttention, inputs, attrs, [known.o, known.lse]) : run<Tensor[]>(EspalierCausalAttention, inputs, attrs);
  return { o, lse };
}

/** One sequence with its context: rows `[start, start + n)` of the batch see the `m` rows of `parts`. */
interface Span {
  sequence: number;
  prefix: number;
  start: number;
  n: number;
  prefixRows: number;
}

function* spans({ offsets, prefixOf }: SequenceLayout): Generator<Span> {
  for (let s = 0; s < prefixOf.length; s++) {
    const n = offsets[s + 1] - offsets[s];
    const prefix = prefixOf[s];
    if (n > 0) yield { sequence: s, prefix, start: offsets[s], n, prefixRows: prefix < 0 ? 0 : offsets[prefix + 1] - offsets[prefix] };
  }
}

const rows = (x: Tensor, start: number, n: number) => slice(x, [start, 0, 0], [n, -1, -1]);

/** `[n, H, Dh]` → `[groups, H / groups * n, Dh]`: the query heads of a key head under one another. */
const grouped = (x: Tensor, groups: number) => reshape(transpose(x, [1, 0, 2]), [groups, -1, dims(x)[2]]);

/** The inverse of {@link grouped}. */
const ungrouped = (x: Tensor, n: number) => transpose(reshape(x, [-1, n, dims(x)[2]]), [1, 0, 2]);

/** The rows that a span sees, `[Hkv, m, Dh]`. */
function context(x: Tensor, span: Span, { offsets }: SequenceLayout): Tensor {
  const own = rows(x, span.start, span.n);
  const all = span.prefixRows > 0 ? concat([rows(x, offsets[span.prefix], span.prefixRows), own], 0) : own;
  return transpose(all, [1, 0, 2]);
}

/** 0 where a query sees a key, -Infinity where not: `[n, m]`. */
function mask(span: Span, window: number): Tensor {
  const m = span.prefixRows + span.n;
  const bias = new Float32Array(span.n * m);
  for (let i = 0; i < span.n; i++) {
    const position = span.prefixRows + i;
    for (let j = 0; j < m; j++) if (j > position || (window > 0 && j <= position - window)) bias[i * m + j] = -Infinity;
  }
  return tensor2d(bias, [span.n, m]);
}

/** `[H, n, m]`, masked. */
function scores(q: Tensor, k: Tensor, span: Span, attrs: CausalAttentionAttrs): Tensor {
  const s = matMul(q, k, false, true); // [Hkv, G n, m]
  return add(mul(reshape(s, [-1, span.n, dims(s)[2]]), attrs.scale), mask(span, attrs.window));
}

portableKernel<CausalAttentionInputs, CausalAttentionAttrs>(EspalierCausalAttention, ({ q, k, v }, attrs) => {
  const groups = dims(k)[1];
  const outs: Tensor[] = [];
  const lses: Tensor[] = [];
  for (const span of spans(attrs)) {
    const s = scores(grouped(rows(q, span.start, span.n), groups), context(k, span, attrs), span, attrs); // [H, n, m]
    const lse = logSumExp(s, -1, true); // [H, n, 1]
    const p = reshape(exp(sub(s, lse)), [groups, -1, dims(s)[2]]);
    outs.push(ungrouped(matMul(p, context(v, span, attrs)), span.n));
    lses.push(transpose(reshape(lse, [-1, span.n]), [1, 0]));
  }
  if (outs.length === 0) return [q.clone(), reshape(slice(q, [0, 0, 0], [-1, -1, 1]), [0, dims(q)[1]])];
  return [concat(outs, 0), concat(lses, 0)];
});

portableKernel<CausalAttentionGradInputs, CausalAttentionAttrs>(EspalierCausalAttentionGrad, ({ dy, q, k, v, o, lse }, attrs) => {
  const groups = dims(k)[1];
  const dqs: Tensor[] = [];
  const dks: Tensor[][] = attrs.offsets.length > 1 ? Array.from(attrs.prefixOf, () => []) : [];
  const dvs: Tensor[][] = dks.map(() => []);
  const delta = sum(mul(dy, o), -1); // [T, H]
  for (const span of spans(attrs)) {
    const { start, n } = span;
    const column = (x: Tensor) => reshape(transpose(slice(x, [start, 0], [n, -1]), [1, 0]), [-1, n, 1]); // [T, H] → [H, n, 1]
    const qs = grouped(rows(q, start, n), groups);
    const ks = context(k, span, attrs);
    const p = exp(sub(scores(qs, ks, span, attrs), column(lse))); // [H, n, m]
    const dys = grouped(rows(dy, start, n), groups); // [Hkv, G n, Dh]
    const dp = reshape(matMul(dys, context(v, span, attrs), false, true), p.shape);
    // ds = p (dp - Σ dy o) scale
    const ds = reshape(mul(mul(p, sub(dp, column(delta))), attrs.scale), [groups, -1, dims(p)[2]]);
    dqs.push(ungrouped(matMul(ds, ks), n));
    for (const [list, gradient] of [[dks, matMul(ds, qs, true, false)], [dvs, matMul(reshape(p, ds.shape), dys, true, false)]] as [Tensor[][], Tensor][]) {
      const byRow = transpose(gradient, [1, 0, 2]); // [m, Hkv, Dh]
      if (span.prefixRows > 0) list[span.prefix].push(rows(byRow, 0, span.prefixRows));
      list[span.sequence].push(rows(byRow, span.prefixRows, n));
    }
  }
  if (dqs.length === 0) return [q.clone(), k.clone(), v.clone()];
  const gathered = (list: Tensor[][]) => concat(list.filter((parts) => parts.length > 0).map((parts) => addN(parts)), 0);
  return [concat(dqs, 0), gathered(dks), gathered(dvs)];
});

fusedGradient<CausalAttentionAttrs>(EspalierCausalAttention, { inputsToSave: ['q', 'k', 'v'], outputsToSave: [true, true], dys: 1 }, ([dy], [q, k, v, o, lse], attrs) => {
  const gradient = sharedGradients(() => run<Tensor[]>(EspalierCausalAttentionGrad, { dy, q, k, v, o, lse }, attrs));
  return { q: gradient(0), k: gradient(1), v: gradient(2) };
});
