import { EspalierError } from '@espalier/spec';
import type { Embed } from './text-units';

/**
 * Vectors of texts, each different text asked for once.
 * @throws EspalierError `bad_data` when the function gives another number of vectors, vectors of unequal length, or numbers that are not finite
 */
export async function embedAll(embed: Embed, texts: readonly string[], signal: AbortSignal | undefined): Promise<Map<string, ArrayLike<number>>> {
  const different = [...new Set(texts)];
  if (different.length === 0) return new Map();
  const vectors = await embed(different, signal ? { signal } : {});
  if (vectors.length !== different.length) throw new EspalierError('bad_data', `\`embed\` gave ${vectors.length} vectors for ${different.length} texts`, { fix: 'one a text' });
  vectors.forEach((vector, i) => {
    if (vector.length !== vectors[0].length || vector.length === 0) throw new EspalierError('bad_data', `\`embed\` gave a vector of ${vector.length} numbers beside one of ${vectors[0].length}`, { fix: 'vectors of one length' });
    if (!Array.from(vector).every(Number.isFinite)) throw new EspalierError('bad_data', `\`embed\` gave a number that is not finite for ${JSON.stringify(different[i].slice(0, 60))}`);
  });
  return new Map(different.map((text, i) => [text, vectors[i]]));
}
