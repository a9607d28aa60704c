import { EspalierError } from '@espalier/spec';
import type { GgufHeader, GgufValue } from './gguf/header';
import { preTokenizerSplits } from './gguf/pre-tokenizers';
import { quote } from './safetensors';
import { Tokenizer } from './tokenizer';

/** llama.cpp's token types that matter here (`llama_token_type`). */
const control = 3;
const userDefined = 4;

/**
 * The tokenizer that a GGUF file's metadata describes, rebuilt as the `tokenizer.json` that `transformers` would make of it (its `gguf_tokenizer_mapping`).
 * Returns null for a file without one.
 *
 * @throws EspalierError `bad_checkpoint` when lists do not fit together or an id is out of range; `unsupported` for a kind other than `gpt2` (byte-level BPE) and `llama` (sentencepiece BPE).
 */
export function ggufTokenizer(path: string, header: GgufHeader): Tokenizer | null {
  const get = (key: string): GgufValue | undefined => header.metadata.get(`tokenizer.${key}`);
  const bad = (what: string): EspalierError => new EspalierError('bad_checkpoint', `the tokenizer in ${path} is not sound: ${what}`);
  const kind = get('ggml.model');
  if (kind === undefined || kind === 'none' || kind === 'no_vocab') return null;
  if (kind !== 'gpt2' && kind !== 'llama') throw new EspalierError('unsupported', `${path} has a tokenizer of the kind ${quote(String(kind))}`, { fix: 'gpt2 (byte-level BPE) and llama (sentencepiece) can be rebuilt' });

  const tokens = strings(get('ggml.tokens'), 'tokens', bad);
  const types = numbers(get('ggml.token_type'), 'token_type', bad);
  const scores = numbers(get('ggml.scores'), 'scores', bad);
  if (types && types.length !== tokens.length) throw bad(`it has ${tokens.length} tokens and ${types.length} token types`);
  if (scores && scores.length !== tokens.length) throw bad(`it has ${tokens.length} tokens and ${scores.length} scores`);
  const vocab = new Map<string, number>();
  const spelled = kind === 'gpt2' ? tokens.map(byteLevelSpelling) : tokens;
  spelled.forEach((token, id) => {
    if (vocab.has(token)) throw bad(`the token ${quote(token)} appears twice (${vocab.get(token)} and ${id})`);
    vocab.set(token, id);
  });
  const merges = get('ggml.merges') === undefined ? mergesFromVocabulary(tokens, vocab, scores, bad) : mergePairs(strings(get('ggml.merges'), 'merges', bad), bad);

  const special: Record<string, string> = {};
  for (const [name, key] of [['bos_token', 'bos'], ['eos_token', 'eos'], ['unk_token', 'unknown'], ['pad_token', 'padding']] as const) {
    const id = get(`ggml.${key}_token_id`);
    if (id === undefined) continue;
    if (typeof id !== 'number' || !(id in tokens)) throw bad(`${key}_token_id is ${String(id)}, but there are ${tokens.length} tokens`);
    special[name] = spelled[id];
  } // prettier-ignore
  const alphabet = kind === 'gpt2' ? new Set(byteAlphabet()) : null;
  const added = spelled
    .map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: types?.[id] === control }))
    .filter(({ id, content }) => types?.[id] === userDefined || (types?.[id] === control && (!alphabet || [...tokens[id]].every((c) => alphabet.has(c)))) || Object.values(special).includes(content))
    .map((token) => (Object.values(special).includes(token.content) ? { ...token, special: true } : token));

  const flag = (key: string): boolean | undefined => (typeof get(key) === 'boolean' ? (get(key) as boolean) : undefined);
  const addBos = flag('ggml.add_bos_token') ?? kind === 'llama'; // llama.cpp adds BOS to a sentencepiece vocabulary that does not say otherwise
  const shape = kind === 'gpt2' ? byteLevel(get('ggml.pre')) : sentencepiece(flag('ggml.add_space_prefix') ?? true);
  const template = get('chat_template');
  return new Tokenizer({
    where: `the tokenizer in ${path}`,
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      ...shape,
      post_processor: ends(addBos ? special.bos_token : undefined, flag('ggml.add_eos_token') ? special.eos_token : undefined, vocab),
      model: { type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: kind === 'gpt2' ? '' : null, end_of_word_suffix: kind === 'gpt2' ? '' : null, ...shape.model, vocab: Object.fromEntries(vocab), merges },
    },
    config: { ...special, clean_up_tokenization_spaces: false, tokenizer_class: 'PreTrainedTokenizerFast' },
    chatTemplate: typeof template === 'string' ? template : undefined,
  });
}

/** GPT-2's shape, with the split that the file names; names that `transformers` does not list keep GPT-2's. */
function byteLevel(pre: GgufValue | undefined): { normalizer: null; pre_tokenizer: unknown; decoder: unknown; model: Record<string, unknown> } {
  const split = typeof pre === 'string' ? preTokenizerSplits.get(pre) : undefined;
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  return {
    normalizer: null,
    pre_tokenizer:
      split === undefined
        ? { ...bytes, use_regex: true }
        : { type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: split }, behavior: 'Isolated', invert: false }, { ...bytes, use_regex: false }] },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { fuse_unk: false, byte_fallback: false, ignore_merges: false },
  };
}

/** Llama's shape: spaces as ▁, unknown characters as bytes. */
function sentencepiece(prefixSpace: boolean): { normalizer: null; pre_tokenizer: unknown; decoder: unknown; model: Record<string, unknown> } {
  const strip = prefixSpace ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  return {
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: prefixSpace ? 'first' : 'never', split: false },
    decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, ...strip] },
    model: { fuse_unk: true, byte_fallback: true, ignore_merges: false },
  };
}

/** The post-processor that puts BOS before a text and EOS after it, where there are any to put. */
function ends(bos: string | undefined, eos: string | undefined, vocab: ReadonlyMap<string, number>): unknown {
  const token = (content: string | undefined, type: number): unknown[] => (content === undefined ? [] : [{ SpecialToken: { id: content, type_id: type } }]);
  const wrap = (sequence: 'A' | 'B', type: number): unknown[] => [...token(bos, type), { Sequence: { id: sequence, type_id: type } }, ...token(eos, type)];
  const used = [bos, eos].filter((content) => content !== undefined);
  const table = Object.fromEntries(used.map((content) => [content, { id: content, ids: [vocab.get(content)], tokens: [content] }]));
  return { type: 'TemplateProcessing', single: wrap('A', 0), pair: [...wrap('A', 0), ...wrap('B', 1)], special_tokens: table };
}

/** GPT-2's spelling of each byte as a printable character (`bytes_to_unicode`). */
export function byteAlphabet(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(printable ? byte : next++);
  });
}

/** A token that uses characters outside the byte alphabet is spelled out in it. */
function byteLevelSpelling(token: string): string {
  alphabetOnce ??= byteAlphabet();
  alphabetSet ??= new Set(alphabetOnce);
  for (const character of token) if (!alphabetSet.has(character)) return Array.from(new TextEncoder().encode(token), (byte) => alphabetOnce![byte]).join('');
  return token;
}
let alphabetOnce: string[] | undefined;
let alphabetSet: Set<string> | undefined;

function mergePairs(merges: readonly string[], bad: (what: string) => EspalierError): [string, string][] {
  return merges.map((merge, i) => {
    const parts = merge.split(' ');
    if (parts.length !== 2) throw bad(`merge ${i} (${quote(merge)}) is not a pair of tokens`);
    return parts as [string, string];
  });
}

/** The merges that a sentencepiece vocabulary implies: every cut of a piece into two pieces, best scores first (`generate_merges`). */
function mergesFromVocabulary(tokens: readonly string[], vocab: ReadonlyMap<string, number>, scores: readonly number[] | undefined, bad: (what: string) => EspalierError): [string, string][] {
  if (!scores) throw bad('it has neither merges nor scores');
  const merges: { left: string; right: string; score: number }[] = [];
  tokens.forEach((token, id) => {
    const cuts: typeof merges = [];
    const characters = [...token];
    if (characters.length > 512) return;
    for (let i = 1; i < characters.length; i++) {
      const left = characters.slice(0, i).join('');
      const right = characters.slice(i).join('');
      if (vocab.has(left) && vocab.has(right)) cuts.push({ left, right, score: scores[id] });
    }
    merges.push(...cuts.sort((a, b) => vocab.get(a.left)! - vocab.get(b.left)! || vocab.get(a.right)! - vocab.get(b.right)!));
  });
  const length = (text: string): number => [...text].length;
  return merges.sort((a, b) => b.score - a.score || length(b.left) - length(a.left) || length(b.right) - length(a.right)).map(({ left, right }) => [left, right]);
}

function strings(value: GgufValue | undefined, what: string, bad: (what: string) => EspalierError): readonly string[] {
  if (!Array.isArray(value) || !value.every((v) => typeof v === 'string')) throw bad(`${what} is not a list of strings`);
  return value as readonly string[];
}

function numbers(value: GgufValue | undefined, what: string, bad: (what: string) => EspalierError): readonly number[] | undefined {
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((v) => typeof v === 'number')) throw bad(`${what} is not a list of numbers`);
  return value as readonly number[];
}
