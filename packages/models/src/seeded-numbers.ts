/** A stream of random numbers that is a function of a seed and a name. */
export interface SeededNumbers {
  /** In [0, 1), 32 bits. */
  uniform(): number;
  /** Mean 0, variance 1. */
  normal(): number;
}

/** sfc32 (Doty-Humphrey, PractRand), started from the seed and an FNV-1a hash of the name; normals by Box and Muller. */
export function seededNumbers(seed: number, name: string): SeededNumbers {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  let [a, b, c, counter] = [seed | 0, Math.floor(seed / 2 ** 32) | 0, hash, 1];
  const next = (): number => {
    const t = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return t >>> 0;
  };
  for (let i = 0; i < 16; i++) next();
  const uniform = () => next() / 2 ** 32;
  let spare: number | undefined;
  const normal = () => {
    if (spare !== undefined) {
      const value = spare;
      spare = undefined;
      return value;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  return { uniform, normal };
}
