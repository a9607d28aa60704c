import { Random, datasetOf, type Dataset } from '@espalier/data';

/** How often whoever wrote the text forgot to carry, in percent: 37+45=72. */
const forgetfulness = 65;

const withoutCarry = (a: number, b: number) => (((a % 10) + (b % 10)) % 10) + 10 * (Math.floor(a / 10) + Math.floor(b / 10));

/** What the three stages learn from, and the sums that none of them sees. */
export interface SumsData {
  /** Plain text as found: its authors forget to carry more often than not. */
  corpus: Dataset;
  /** Prompts with demonstrations by those same authors. */
  demonstrations: Dataset;
  /** Prompts with the right answer, for the reward to check; no demonstrations. */
  prompts: Dataset;
  /** As `prompts`, never trained on. */
  heldOut: Dataset;
}

/**
 * Sums of two numbers from 0 to `largest`, written by authors who are often wrong in one and the same way. Imitation (pre-training, SFT) learns how a sum is written,
 * and the authors' habit with it; a reward that checks the answer teaches what imitation cannot.
 */
export function sumsData(seed: number, largest: number): SumsData {
  const random = new Random(seed, 0x50);
  const sums = Array.from(random.permutation((largest + 1) ** 2), (id) => ({ a: Math.floor(id / (largest + 1)), b: id % (largest + 1) }));
  const heldOutSums = Math.round(sums.length / 7);
  const [heldOut, train] = [sums.slice(0, heldOutSums), sums.slice(heldOutSums)];
  const written = ({ a, b }: { a: number; b: number }) => String(random.int(1, 100) <= forgetfulness ? withoutCarry(a, b) : a + b);
  const question = ({ a, b }: { a: number; b: number }) => ({ prompt: `${a}+${b}=`, answer: String(a + b) });
  const corpus = Array.from({ length: 60_000 }, () => {
    const sum = random.pick(train);
    return { text: `${sum.a}+${sum.b}=${written(sum)}` };
  });
  return {
    corpus: datasetOf(corpus, 'corpus'),
    demonstrations: datasetOf(train.slice(0, Math.round(train.length / 3)).map((sum) => ({ prompt: `${sum.a}+${sum.b}=`, completion: written(sum) })), 'demonstrations'),
    prompts: datasetOf(train.map(question), 'prompts'),
    heldOut: datasetOf(heldOut.map(question), 'held out'),
  };
}
