/**
 * The fused operations in float64, written straight from their formulas with loops: what kernels are checked against. Numbers lie row-major.
 */
type Numbers = Float64Array;

export const zeros64 = (n: number): Numbers => new Float64Array(n);

/** `x [T, K]`, `w [N, K]`, `bias? [N]` → `[T, N]` */
export function linearReference(x: Numbers, w: Numbers, bias: Numbers | null, t: number, n: number, k: number): Numbers {
  const y = zeros64(t * n);
  for (let i = 0; i < t; i++) {
    for (let j = 0; j < n; j++) {
      let sum = bias ? bias[j] : 0;
      for (let l = 0; l < k; l++) sum += x[i * k + l] * w[j * k + l];
      y[i * n + j] = sum;
    }
  }
  return y;
}

export function rmsNormReference(x: Numbers, weight: Numbers, eps: number): Numbers {
  return byRow(x, weight.length, (row) => {
    const r = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / row.length + eps);
    return row.map((v, i) => v * r * weight[i]);
  });
}

export function layerNormReference(x: Numbers, weight: Numbers, bias: Numbers, eps: number): Numbers {
  return byRow(x, weight.length, (row) => {
    const mean = row.reduce((sum, v) => sum + v, 0) / row.length;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / row.length;
    return row.map((v, i) => ((v - mean) / Math.sqrt(variance + eps)) * weight[i] + bias[i]);
  });
}

function byRow(x: Numbers, width: number, row: (values: Numbers) => Numbers): Numbers {
  const y = zeros64(x.length);
  for (let start = 0; start < x.length; start += width) y.set(row(x.subarray(start, start + width)), start);
  return y;
}

export const swigluReference = (gate: Numbers, up: Numbers): Numbers => gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]);

export const geluReference = (x: Numbers): Numbers => x.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));

/** `x [T, H, Dh]` */
export function rotaryReference(x: Numbers, [t, h, width]: readonly number[], positions: Int32Array, invFreq: Float32Array, scaling: number): Numbers {
  const y = Float64Array.from(x);
  const half = invFreq.length;
  for (let row = 0; row < t * h; row++) {
    const position = positions[Math.floor(row / h)];
    for (let i = 0; i < half; i++) {
      const angle = position * invFreq[i];
      const [c, s] = [Math.cos(angle) * scaling, Math.sin(angle) * scaling];
      const at = row * width + i;
      y[at] = x[at] * c - x[at + half] * s;
      y[at + half] = x[at + half] * c + x[at] * s;
    }
  }
  return y;
}

/** The rows that each row sees, in order: its prefix's, then its own sequence's up to itself, the last `window` of them. */
export function visibleRows(offsets: Int32Array, prefixOf: Int32Array, window: number): number[][] {
  const visible: number[][] = [];
  for (let s = 0; s < prefixOf.length; s++) {
    const prefix = prefixOf[s] < 0 ? [] : Array.from({ length: offsets[prefixOf[s] + 1] - offsets[prefixOf[s]] }, (_, i) => offsets[prefixOf[s]] + i);
    for (let row = offsets[s]; row < offsets[s + 1]; row++) {
      const all = [...prefix, ...Array.from({ length: row - offsets[s] + 1 }, (_, i) => offsets[s] + i)];
      visible.push(window > 0 ? all.slice(-window) : all);
    }
  }
  return visible;
}

/** `q [T, H, Dh]`, `k` and `v [*, Hkv, Dh]`; row `t` sees rows `visible[t]` of `k` and `v`. */
export function attentionReference(q: Numbers, k: Numbers, v: Numbers, heads: number, kvHeads: number, width: number, visible: readonly number[][], scale: number): Numbers {
  const out = zeros64(q.length);
  visible.forEach((rows, t) => {
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads));
      const scores = rows.map((row) => {
        let sum = 0;
        for (let i = 0; i < width; i++) sum += q[(t * heads + h) * width + i] * k[(row * kvHeads + kv) * width + i];
        return sum * scale;
      });
      const top = Math.max(...scores);
      const weights = scores.map((s) => Math.exp(s - top));
      const total = weights.reduce((a, b) => a + b, 0);
      rows.forEach((row, j) => {
        for (let i = 0; i < width; i++) out[(t * heads + h) * width + i] += (weights[j] / total) * v[(row * kvHeads + kv) * width + i];
      });
    }
  });
  return out;
}

/** → log-probs of the targets, entropies, sums of squared probabilities */
export function tokenOutputsReference(hidden: Numbers, weight: Numbers, targets: Int32Array, width: number, temperature: number): [Numbers, Numbers, Numbers] {
  const [a, vocabSize] = [targets.length, weight.length / width];
  const logits = linearReference(hidden, weight, null, a, vocabSize, width).map((z) => z / temperature);
  const result: [Numbers, Numbers, Numbers] = [zeros64(a), zeros64(a), zeros64(a)];
  for (let i = 0; i < a; i++) {
    const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
    const top = row.reduce((x, y) => Math.max(x, y), -Infinity);
    const lse = top + Math.log(row.reduce((sum, z) => sum + Math.exp(z - top), 0));
    result[0][i] = row[targets[i]] - lse;
    for (const z of row) {
      result[1][i] -= Math.exp(z - lse) * (z - lse);
      result[2][i] += Math.exp(2 * (z - lse));
    }
  }
  return result;
}

/** → the generalised Jensen-Shannon divergence between two heads over one vocabulary */
export function tokenDivergenceReference(hidden: Numbers, weight: Numbers, teacherHidden: Numbers, teacherWeight: Numbers, rows: number, beta: number, temperature: number): Numbers {
  const [d, e] = [hidden.length / rows, teacherHidden.length / rows];
  const vocabSize = weight.length / d;
  const logProbs = (h: Numbers, w: Numbers, width: number) => {
    const z = linearReference(h, w, null, rows, vocabSize, width).map((v) => v / temperature);
    return byRow(z, vocabSize, (row) => {
      const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
      const lse = top + Math.log(row.reduce((sum, v) => sum + Math.exp(v - top), 0));
      return row.map((v) => v - lse);
    });
  };
  const [p, q] = [logProbs(hidden, weight, d), logProbs(teacherHidden, teacherWeight, e)];
  const m = p.map((logP, i) => Math.log((1 - beta) * Math.exp(logP) + beta * Math.exp(q[i])));
  const result = zeros64(rows);
  for (let i = 0; i < p.length; i++) {
    const [ofTeacher, ofStudent] = [Math.exp(q[i]) * (q[i] - (beta === 0 ? p[i] : m[i])), Math.exp(p[i]) * (p[i] - (beta === 1 ? q[i] : m[i]))];
    result[Math.floor(i / vocabSize)] += beta === 0 ? ofTeacher : beta === 1 ? ofStudent : beta * ofTeacher + (1 - beta) * ofStudent;
  }
  return result;
}
