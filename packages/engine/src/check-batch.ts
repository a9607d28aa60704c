import { EspalierError, type TokenBatch } from '@espalier/spec';

const bad = (message: string, fix?: string) => new EspalierError('bad_data', `token batch: ${message}`, { fix });

/**
 * Refuses a batch that contradicts itself or the model, before anything is computed.
 * @param limits.firstTokens - whether the first token of a sequence may be asked for: it has a score, but no log-prob. Default false
 * @throws EspalierError `bad_data`
 */
export function checkBatch(batch: TokenBatch, limits: { vocabSize: number; maxPositions: number; firstTokens?: boolean }): void {
  const { tokens, offsets, prefixOf, actionIndex, columns, pairs } = batch;
  const sequences = offsets.length - 1;
  if (sequences < 1) throw bad('it has no sequences');
  if (offsets[0] !== 0 || offsets[sequences] !== tokens.length) throw bad(`offsets run from ${offsets[0]} to ${offsets[sequences]}, tokens from 0 to ${tokens.length}`);
  for (let s = 0; s < sequences; s++) if (offsets[s + 1] < offsets[s]) throw bad(`offsets fall from ${offsets[s]} to ${offsets[s + 1]} at sequence ${s}`);
  if (prefixOf && prefixOf.length !== sequences) throw bad(`prefixOf has ${prefixOf.length} entries for ${sequences} sequences`);
  for (let s = 0; s < sequences; s++) {
    const prefix = prefixOf ? prefixOf[s] : -1;
    if (prefix < -1 || prefix >= sequences || prefix === s) throw bad(`sequence ${s} names ${prefix} as its prefix`);
    if (prefix >= 0 && prefixOf![prefix] >= 0) throw bad(`sequence ${s} has sequence ${prefix} as its prefix, which has a prefix of its own`);
    if (prefix >= 0 && offsets[prefix + 1] === offsets[prefix]) throw bad(`the prefix of sequence ${s}, sequence ${prefix}, is empty`);
    const length = offsets[s + 1] - offsets[s] + (prefix >= 0 ? offsets[prefix + 1] - offsets[prefix] : 0);
    if (length > limits.maxPositions) throw bad(`sequence ${s} is ${length} tokens long with its prefix, the model has ${limits.maxPositions} positions`, 'shorten or truncate it');
  }
  for (let t = 0; t < tokens.length; t++) if (tokens[t] < 0 || tokens[t] >= limits.vocabSize) throw bad(`token ${tokens[t]} at index ${t} is outside the vocabulary of ${limits.vocabSize}`, 'use the tokenizer of this model');
  for (let a = 0, s = 0; a < actionIndex.length; a++) {
    const t = actionIndex[a];
    if (t < 0 || t >= tokens.length) throw bad(`action ${a} points at token ${t} of ${tokens.length}`);
    if (a > 0 && t <= actionIndex[a - 1]) throw bad(`actionIndex does not ascend: ${actionIndex[a - 1]} is followed by ${t}`);
    while (offsets[s + 1] <= t) s++;
    if (!limits.firstTokens && t === offsets[s] && (prefixOf ? prefixOf[s] : -1) < 0) throw bad(`action ${a} is the first token of sequence ${s}, which nothing precedes`);
  }
  for (const [name, column] of Object.entries(columns)) if (column.length !== actionIndex.length) throw bad(`column "${name}" has ${column.length} entries for ${actionIndex.length} actions`);
  if (!pairs) return;
  if (pairs.length % 2 !== 0) throw bad(`pairs has ${pairs.length} entries, an odd number`);
  for (const sequence of pairs) if (sequence < 0 || sequence >= sequences) throw bad(`pairs names sequence ${sequence} of ${sequences}`);
}
