import { EspalierError } from '@espalier/spec';

/**
 * The chance that `k` of `total`, drawn without putting back, hold none of `marked`: C(total − marked, k) / C(total, k), as a product that neither overflows nor cancels.
 */
function noneOf(total: number, marked: number, k: number): number {
  if (total - marked < k) return 0;
  let chance = 1;
  for (let i = total - marked + 1; i <= total; i++) chance *= 1 - k / i;
  return chance;
}

function demandCounts(counts: Readonly<Record<string, number>>, holds: boolean, fix: string): void {
  if (holds && Object.values(counts).every((count) => Number.isInteger(count) && count >= 0)) return;
  throw new EspalierError('bad_config', Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(', '), { fix });
}

/**
 * pass@k: the chance that at least one of `k` samples is right, estimated without bias from `samples` of which `correct` are right (Chen et al. 2107.03374, eq. 1):
 * 1 − C(samples − correct, k) / C(samples, k).
 *
 * @throws EspalierError `bad_config` unless 0 ≤ correct ≤ samples and 1 ≤ k ≤ samples, all whole
 * @example
 * passAtK({ samples: 10, correct: 3 }, 1); // 0.3
 */
export function passAtK({ samples, correct }: { samples: number; correct: number }, k: number): number {
  demandCounts({ samples, correct, k }, correct <= samples && k >= 1 && k <= samples, 'whole numbers with correct ≤ samples and 1 ≤ k ≤ samples');
  return 1 - noneOf(samples, correct, k);
}

/**
 * n@k: the chance to solve a problem with at most `n` submissions out of `k` samples, where what fails the example tests is not submitted and the submissions are drawn at random from
 * the rest. Estimated without bias from `samples`, of which `passing` pass the example tests and `correct` (some of those) are right (AlphaCode, 2203.07814, appendix A.3):
 * the number that pass among k is hypergeometric, and so is what is right among those submitted. With n = k, and all samples passing, it is pass@k.
 *
 * @throws EspalierError `bad_config` unless 0 ≤ correct ≤ passing ≤ samples and 1 ≤ n ≤ k ≤ samples, all whole
 * @example
 * nAtK({ samples: 1000, passing: 40, correct: 10 }, 10, 100); // 10@100
 */
export function nAtK({ samples, passing, correct }: { samples: number; passing: number; correct: number }, n: number, k: number): number {
  demandCounts({ samples, passing, correct, n, k }, correct <= passing && passing <= samples && n >= 1 && n <= k && k <= samples, 'whole numbers with correct ≤ passing ≤ samples and 1 ≤ n ≤ k ≤ samples');
  let solved = 0;
  const most = Math.min(k, passing);
  for (let drawn = Math.max(1, k - (samples - passing)); drawn <= most; drawn++) solved += hypergeometric(samples, passing, k, drawn) * (1 - noneOf(passing, correct, Math.min(n, drawn)));
  return solved;
}

/** The chance that `k` of `total`, drawn without putting back, hold exactly `hits` of `marked`. */
function hypergeometric(total: number, marked: number, k: number, hits: number): number {
  return Math.exp(logChoose(marked, hits) + logChoose(total - marked, k - hits) - logChoose(total, k));
}

const logFactorials = [0, 0];
function logFactorial(n: number): number {
  for (let i = logFactorials.length; i <= n; i++) logFactorials[i] = logFactorials[i - 1] + Math.log(i);
  return logFactorials[n];
}

const logChoose = (n: number, k: number) => logFactorial(n) - logFactorial(k) - logFactorial(n - k);
