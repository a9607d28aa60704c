import { EspalierError } from '@espalier/spec';
import { hash32 } from './random';
import { hashText } from './row-text';

/** How signatures are divided: `bands` of `rows` numbers; texts that agree in a whole band are compared. */
export interface Bands {
  bands: number;
  rows: number;
}

/** Two texts of similarity s agree in some band with probability 1 − (1 − s^rows)^bands: the most rows a band that miss at most one pair in a thousand at the threshold. */
export function bandsFor(threshold: number, permutations: number): Bands {
  let best: Bands = { bands: permutations, rows: 1 };
  for (let rows = 1; rows <= permutations; rows++) {
    const bands = Math.floor(permutations / rows);
    if ((1 - threshold ** rows) ** bands > 1e-3) break;
    best = { bands, rows };
  }
  return best;
}

/** MinHash signatures (Broder 1997): position k holds the least of the k-th hashes of a set, which two sets share with a probability of their Jaccard similarity. */
export class MinHash {
  private readonly keys: Uint32Array;

  constructor(
    readonly permutations: number,
    seed: number,
  ) {
    if (!(Number.isInteger(permutations) && permutations >= 16 && permutations <= 4096)) throw new EspalierError('bad_config', `\`permutations\` is ${permutations}`, { fix: 'from 16 to 4096' });
    this.keys = Uint32Array.from({ length: permutations }, (_, k) => hash32(seed, 0x3a5, k));
  }

  signature(set: Iterable<string>): Uint32Array {
    const least = new Uint32Array(this.permutations).fill(0xffffffff);
    for (const item of set) {
      const base = hashText(item);
      for (let k = 0; k < this.permutations; k++) {
        // the finaliser of MurmurHash3: a permutation of the 32-bit numbers for each key
        let h = base ^ this.keys[k];
        h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
        h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
        h = (h ^ (h >>> 16)) >>> 0;
        if (h < least[k]) least[k] = h;
      }
    }
    return least;
  }
}

/** |a ∩ b| / |a ∪ b| */
export function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  let both = 0;
  const [small, large] = a.size < b.size ? [a, b] : [b, a];
  for (const item of small) if (large.has(item)) both++;
  const either = a.size + b.size - both;
  return either === 0 ? 1 : both / either;
}
