import { EspalierError } from '@espalier/spec';
import { isRecord } from './files';
import { quote } from './safetensors';

/** More ids than any vocabulary has: a larger one would only make a giant table. */
const maxTokenId = 8_000_000;

/** A `tokenizer.json` that has been checked. */
export interface TokenizerJson {
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special?: boolean }[];
  readonly model: Record<string, unknown>;
  readonly pre_tokenizer: unknown;
  post_processor: unknown;
  readonly [other: string]: unknown;
}

/**
 * Checks a `tokenizer.json`: shapes and types, ids that clash, merges whose parts or product are not in the vocabulary, and tokens that only a missing merge can explain.
 * Tokenising on with such a file would give wrong ids without a word.
 *
 * @throws EspalierError `bad_checkpoint`, `unsupported` for another kind of model than BPE, Unigram or WordPiece.
 */
export function checkTokenizerJson(json: Record<string, unknown>, where: string): TokenizerJson {
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `${where} is not a sound tokenizer: ${what}`);
  for (const part of ['model', 'normalizer', 'pre_tokenizer', 'post_processor', 'decoder']) {
    if (json[part] === undefined) json[part] = null;
    if (json[part] !== null && !isRecord(json[part])) throw bad(`\`${part}\` is not an object`);
  }
  json.added_tokens ??= [];
  const { model, added_tokens: added } = json;
  if (!isRecord(model)) throw bad('it has no `model`');
  if (!Array.isArray(added) || !added.every((t) => isRecord(t) && typeof t.content === 'string' && t.content !== '' && isId(t.id))) throw bad('`added_tokens` is not a list of tokens with ids');

  const kind = model.type ?? (Array.isArray(model.vocab) ? 'Unigram' : Array.isArray(model.merges) ? 'BPE' : 'WordPiece');
  model.type = kind;
  if (kind === 'Unigram') checkUnigram(model, bad);
  else if (kind === 'BPE' || kind === 'WordPiece') {
    const vocab = checkVocab(model.vocab, bad);
    for (const token of added as { id: number; content: string }[]) {
      if (vocab.has(token.content) && vocab.get(token.content) !== token.id) throw bad(`added token ${quote(token.content)} has the id ${token.id}, in the vocabulary ${vocab.get(token.content)}`);
    }
    if (kind === 'BPE') checkMerges(model, vocab, new Set((added as { content: string }[]).map((t) => t.content)), bad);
  } else throw new EspalierError('unsupported', `${where} holds a tokenizer of the kind ${JSON.stringify(kind)?.slice(0, 60)}`, { fix: 'BPE, Unigram and WordPiece can be used' });
  return json as unknown as TokenizerJson;
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < maxTokenId;
}

function checkVocab(value: unknown, bad: (what: string) => EspalierError): Map<string, number> {
  if (!isRecord(value)) throw bad('`model.vocab` does not map tokens to ids');
  const vocab = new Map<string, number>();
  const owners = new Map<number, string>();
  for (const [token, id] of Object.entries(value)) {
    if (!isId(id)) throw bad(`token ${quote(token)} has the id ${JSON.stringify(id)?.slice(0, 40)}`);
    if (owners.has(id)) throw bad(`tokens ${quote(owners.get(id)!)} and ${quote(token)} share the id ${id}`);
    owners.set(id, token);
    vocab.set(token, id);
  }
  return vocab;
}

function checkUnigram(model: Record<string, unknown>, bad: (what: string) => EspalierError): void {
  const { vocab, unk_id: unknown } = model;
  const sound = (entry: unknown): boolean => Array.isArray(entry) && entry.length === 2 && typeof entry[0] === 'string' && typeof entry[1] === 'number' && Number.isFinite(entry[1]);
  if (!Array.isArray(vocab) || vocab.length === 0 || !vocab.every(sound)) throw bad('`model.vocab` is not a list of pieces with scores');
  if (unknown !== null && unknown !== undefined && !(isId(unknown) && unknown < vocab.length)) throw bad(`\`model.unk_id\` is ${JSON.stringify(unknown)?.slice(0, 40)}`);
}

function checkMerges(model: Record<string, unknown>, vocab: Map<string, number>, added: Set<string>, bad: (what: string) => EspalierError): void {
  const { merges } = model;
  if (!Array.isArray(merges)) throw bad('`model.merges` is missing');
  const suffix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix : '';
  const ranks = new Map<number, number>(); // product → first merge that makes it
  const pairs: [string, string][] = [];
  merges.forEach((merge: unknown, i) => {
    const parts = typeof merge === 'string' ? merge.split(' ') : merge;
    if (!Array.isArray(parts) || parts.length !== 2 || !parts.every((p) => typeof p === 'string' && p !== '')) throw bad(`merge ${i} is not a pair of tokens`);
    const [left, right] = parts as [string, string];
    const product = left + (suffix && right.startsWith(suffix) ? right.slice(suffix.length) : right);
    const id = vocab.get(product);
    if (id === undefined || !vocab.has(left) || !vocab.has(right)) {
      const absent = !vocab.has(left) ? left : !vocab.has(right) ? right : product;
      throw bad(`merge ${i} (${quote(left)} + ${quote(right)}) needs the token ${quote(absent)}, which is not in the vocabulary`);
    }
    if (!ranks.has(id)) ranks.set(id, i);
    pairs.push([left, right]);
  });
  model.merges = pairs;
  if (model.ignore_merges !== true && suffix === '' && !model.end_of_word_suffix) checkReachable(vocab, ranks, added, bad);
}

/**
 * A trained vocabulary numbers its tokens in the order of their merges. Where that holds, a token between merged ones that no merge makes tells of a merge that was lost:
 * its text would be cut into other tokens than the model learnt.
 */
function checkReachable(vocab: Map<string, number>, ranks: Map<number, number>, added: Set<string>, bad: (what: string) => EspalierError): void {
  const several = (token: string): boolean => token.length > 2 || [...token].length > 1;
  const pieces = [...vocab].filter(([token]) => several(token) && !added.has(token) && !/^<0x[0-9A-F]{2}>$/.test(token)).sort((a, b) => a[1] - b[1]);
  const merged = pieces.filter(([, id]) => ranks.has(id)).map(([, id]) => id);
  if (merged.length === 0) {
    if (pieces.length > 0) throw bad(`its vocabulary has ${pieces.length} tokens of several characters, but no merge makes any`);
    return;
  }
  for (let i = 1; i < merged.length; i++) if (ranks.get(merged[i])! < ranks.get(merged[i - 1])!) return; // numbered in another order: nothing can be told
  const last = merged[merged.length - 1];
  const lost = pieces.find(([token, id]) => !ranks.has(id) && id < last && !/^[<[].*[>\]]$/.test(token) && (id > merged[0] || startsPieces(vocab, id, merged[0])));
  if (lost) throw bad(`no merge makes the token ${quote(lost[0])} (id ${lost[1]}); a merge is missing`);
}

/** Whether nothing but pieces lies between an id and the first merged one. */
function startsPieces(vocab: Map<string, number>, id: number, first: number): boolean {
  for (const [token, other] of vocab) if (other > id && other < first && [...token].length === 1) return false;
  return true;
}
