/** One position's divergence between student and teacher, with its derivatives by the logits of both. */
export interface RowDivergence {
  /** Each token's share; they sum to the divergence. [V] */
  elements: Float64Array;
  /** d divergence / d student logit, d teacher logit. [V] each */
  student: Float64Array;
  teacher: Float64Array;
}

/** log softmax(z / temperature). [V] */
function logSoftmax(logits: ArrayLike<number>, temperature: number): Float64Array {
  const z = Float64Array.from(logits, (v) => v / temperature);
  const top = z.reduce((a, b) => Math.max(a, b), -Infinity);
  const lse = top + Math.log(z.reduce((total, v) => total + Math.exp(v - top), 0));
  return z.map((v) => v - lse);
}

const logAddExp = (a: number, b: number) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/** KL(a ‖ b) from log-probs, token by token; what has no mass has no share. */
const klElements = (a: Float64Array, b: Float64Array) => a.map((logA, i) => (Math.exp(logA) === 0 ? 0 : Math.exp(logA) * (logA - b[i])));

const sumOf = (values: Float64Array) => values.reduce((a, b) => a + b, 0);

/**
 * The generalised Jensen-Shannon divergence of one position (2306.13649, eq. 1, weights as TRL has them). With p the student's and q the teacher's
 * distribution and m = (1 − β) p + β q:
 *
 * - β = 0: KL(q ‖ p), the forward KL;  ∂/∂z = p − q by the student's logits
 * - β = 1: KL(p ‖ q), the reverse KL;  ∂/∂z = p (log p/q − KL)
 * - between: β KL(q ‖ m) + (1 − β) KL(p ‖ m);  ∂/∂z = (1 − β) p (log p/m − KL(p ‖ m))
 *
 * and alike for the teacher with the roles exchanged; all divided by the temperature.
 */
export function rowDivergence(studentLogits: ArrayLike<number>, teacherLogits: ArrayLike<number>, beta: number, temperature: number): RowDivergence {
  const p = logSoftmax(studentLogits, temperature);
  const q = logSoftmax(teacherLogits, temperature);
  const exp = Math.exp;
  if (beta === 0 || beta === 1) {
    const [target, other] = beta === 0 ? [q, p] : [p, q];
    const elements = klElements(target, other);
    const kl = sumOf(elements);
    const ofTarget = target.map((t, i) => (exp(t) === 0 ? 0 : (exp(t) * (t - other[i] - kl)) / temperature));
    const ofOther = other.map((o, i) => (exp(o) - exp(target[i])) / temperature);
    return beta === 0 ? { elements, student: ofOther, teacher: ofTarget } : { elements, student: ofTarget, teacher: ofOther };
  }
  const m = p.map((logP, i) => logAddExp(logP + Math.log1p(-beta), q[i] + Math.log(beta)));
  const [ofTeacher, ofStudent] = [klElements(q, m), klElements(p, m)];
  const [klTeacher, klStudent] = [sumOf(ofTeacher), sumOf(ofStudent)];
  return {
    elements: ofTeacher.map((kl, i) => beta * kl + (1 - beta) * ofStudent[i]),
    student: ofStudent.map((kl, i) => ((1 - beta) * (kl - exp(p[i]) * klStudent)) / temperature),
    teacher: ofTeacher.map((kl, i) => (beta * (kl - exp(q[i]) * klTeacher)) / temperature),
  };
}
