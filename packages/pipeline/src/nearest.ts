/** Edits (insert, delete, replace, swap of neighbours) that turn one word into another. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, replace);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    before = row;
    row = next;
  }
  return row[b.length];
}

/** The known name that was probably meant; null when none is near. Case, `-` and `_` don't count. */
export function nearest(name: string, known: Iterable<string>): string | null {
  const plain = (text: string) => text.toLowerCase().replace(/[-_]/g, '');
  let best: string | null = null;
  let least = Infinity;
  for (const candidate of known) {
    const a = plain(name);
    const b = plain(candidate);
    const distance = editDistance(a, b);
    const near = distance <= Math.max(1, Math.floor(Math.max(a.length, b.length) / 3)) || (a.length >= 4 && (b.startsWith(a) || a.startsWith(b)));
    if (near && distance < least) [best, least] = [candidate, distance];
  }
  return best;
}
