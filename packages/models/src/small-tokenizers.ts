import { EspalierError } from '@espalier/spec';
import { byteAlphabet } from './gguf-tokenizer';
import { Tokenizer } from './tokenizer';

// Named as the unknown token, but in no vocabulary: tokenizers then refuse a character that they do not know, where without a name they would drop it.
const outside = '<|outside the alphabet|>';

/** Special tokens and template of a tokenizer made here. */
export interface SmallTokenizerOptions {
  /** First ids of the vocabulary, in this order. Default `<|pad|>`, `<|begin|>`, `<|end|>`. */
  readonly specialTokens?: readonly string[];
  /** Which of them end a text, pad it and begin it. Default `<|end|>`, `<|pad|>`, none. */
  readonly eosToken?: string;
  readonly padToken?: string;
  readonly bosToken?: string;
  /** Jinja source. */
  readonly chatTemplate?: string;
}

/**
 * A tokenizer with one token per byte of UTF-8 and no merges: any text, 256 tokens and the special ones. For models that are trained from nothing.
 *
 * @example
 * byteTokenizer().encode('Hi'); // two ids
 */
export function byteTokenizer(options: SmallTokenizerOptions = {}): Tokenizer {
  return small(byteAlphabet(), true, options);
}

/**
 * A tokenizer with one token for each given character. Text with others is refused (`bad_data`), not garbled.
 *
 * @example
 * const tokenizer = characterTokenizer('0123456789+= ');
 */
export function characterTokenizer(characters: Iterable<string>, options: SmallTokenizerOptions = {}): Tokenizer {
  const alphabet = [...new Set(characters)];
  if (alphabet.length === 0 || alphabet.some((c) => [...c].length !== 1)) throw new EspalierError('bad_config', 'a character tokenizer needs single characters, at least one');
  return small(alphabet, false, options);
}

function small(alphabet: readonly string[], bytes: boolean, options: SmallTokenizerOptions): Tokenizer {
  const special = options.specialTokens ?? ['<|pad|>', '<|begin|>', '<|end|>'];
  const vocab = Object.fromEntries([...special, ...alphabet].map((token, id) => [token, id]));
  if (Object.keys(vocab).length !== special.length + alphabet.length) throw new EspalierError('bad_config', 'a special token of the tokenizer is listed twice or is one of its characters');
  const named = { eos_token: options.eosToken ?? '<|end|>', pad_token: options.padToken ?? '<|pad|>', bos_token: options.bosToken };
  const config: Record<string, unknown> = { clean_up_tokenization_spaces: false, tokenizer_class: 'PreTrainedTokenizerFast' };
  for (const [name, token] of Object.entries(named)) {
    if (token === undefined) continue;
    if (!special.includes(token)) throw new EspalierError('bad_config', `${name} ${JSON.stringify(token)} is not among the special tokens ${special.join(' ')}`);
    config[name] = token;
  }
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return new Tokenizer({
    json: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: special.map((content, id) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true })),
      normalizer: null,
      pre_tokenizer: bytes ? byteLevel : null,
      post_processor: null,
      decoder: bytes ? byteLevel : { type: 'Fuse' },
      model: { type: 'BPE', dropout: null, unk_token: bytes ? null : outside, continuing_subword_prefix: null, end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab, merges: [] },
    },
    config,
    chatTemplate: options.chatTemplate,
  });
}
