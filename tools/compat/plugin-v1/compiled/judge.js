import { defineJudge, throwIfAborted } from '@espalier/spec';
function preference({ prompt, first, second, question, seed }) {
    if (first === '' || second === '')
        return null;
    return { probability: 1 / (1 + Math.exp((first.length - second.length) / 50)), details: { asked: question ?? null, seed: seed ?? null, turns: typeof prompt === 'string' ? 1 : prompt.length } };
}
/** Prefers the shorter answer, one by one and many at once. */
export function brevityJudge(_options) {
    return defineJudge({
        name: 'brevity',
        async compare(comparison, options = {}) {
            throwIfAborted(options.signal);
            return preference(comparison);
        },
        async compareAll(comparisons, options = {}) {
            throwIfAborted(options.signal);
            return comparisons.map(preference);
        },
    });
}
