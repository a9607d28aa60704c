import { EspalierError, type Message } from '@espalier/spec';
import { Tokenizer as Backend } from '@huggingface/tokenizers';
import { join } from 'node:path';
import { ChatTemplate, type ChatTemplateOptions } from './chat-template';
import { isRecord, pathKind, readJsonObject, readText, writeFileAtomically } from './files';
import { checkTokenizerJson, type TokenizerJson } from './tokenizer-json';

const maxTokenizerBytes = 256 * 1024 * 1024;
const maxTemplateBytes = 1024 * 1024;
const specialNames = ['bos_token', 'eos_token', 'unk_token', 'pad_token', 'sep_token', 'cls_token', 'mask_token'] as const;

/** What a tokenizer is made of. */
export interface TokenizerParts {
  /** The content of `tokenizer.json`. */
  readonly json: Record<string, unknown>;
  /** The content of `tokenizer_config.json`. */
  readonly config?: Record<string, unknown>;
  readonly chatTemplate?: string;
  /** Where it came from, for messages. */
  readonly where?: string;
}

/**
 * Text to token ids and back, on `@huggingface/tokenizers`, with the chat template.
 *
 * @example
 * const tokenizer = Tokenizer.fromFolder('SmolLM2-135M-Instruct');
 * const ids = tokenizer.encode(tokenizer.applyChatTemplate([{ role: 'user', content: 'Hi' }], { addGenerationPrompt: true }), { addSpecialTokens: false });
 * tokenizer.decode(ids, { skipSpecialTokens: true });
 */
export class Tokenizer {
  /** One more than the largest id. */
  readonly vocabSize: number;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly unkTokenId: number | undefined;
  /** Ids that `skipSpecialTokens` leaves out. */
  readonly specialTokenIds: ReadonlySet<number>;
  readonly chatTemplate: ChatTemplate | undefined;
  private readonly backend: Backend;
  private readonly parts: { json: TokenizerJson; config: Record<string, unknown>; chatTemplate: string | undefined };
  private readonly known: ReadonlySet<number>;

  /** @throws EspalierError `bad_checkpoint` when a part is malformed; `unsupported` for a kind of tokenizer that is not known. */
  constructor(parts: TokenizerParts) {
    const where = parts.where ?? 'the tokenizer';
    const config = { ...parts.config };
    const json = checkTokenizerJson({ ...parts.json }, where);
    const special = specialTokens(config);
    addNamedSpecials(json, special);
    try {
      const cleansUp = json.model.type === 'WordPiece' && config.clean_up_tokenization_spaces === true; // for others `transformers` 5 ignores it: it eats spaces of the text
      this.backend = new Backend(json, { ...config, clean_up_tokenization_spaces: cleansUp });
    } catch (error) {
      throw new EspalierError('bad_checkpoint', `${where} cannot be used: ${(error as Error).message}`, { cause: error });
    }
    mendByteFallback(this.backend.decoder);
    const ids = vocabularyIds(json);
    this.known = ids;
    this.vocabSize = [...ids].reduce((most, id) => Math.max(most, id + 1), 0);
    this.specialTokenIds = new Set(json.added_tokens.filter((t) => t.special).map((t) => t.id));
    const idOf = (name: string): number | undefined => (special[name] === undefined ? undefined : this.backend.token_to_id(special[name]));
    this.bosTokenId = idOf('bos_token');
    this.eosTokenId = idOf('eos_token');
    this.padTokenId = idOf('pad_token');
    this.unkTokenId = idOf('unk_token');
    const template = parts.chatTemplate ?? templateOf(config.chat_template);
    this.chatTemplate = template === undefined ? undefined : new ChatTemplate(template, special, `the chat template of ${where}`);
    this.parts = { json, config, chatTemplate: template };
  }

  /**
   * Reads `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `chat_template.jinja` of a folder.
   * @throws EspalierError `not_found` when there is no `tokenizer.json`; `bad_checkpoint` when a file is malformed.
   */
  static fromFolder(folder: string): Tokenizer {
    const path = join(folder, 'tokenizer.json');
    if (pathKind(path) === 'absent') throw new EspalierError('not_found', `${folder} has no tokenizer.json`, { fix: 'a folder saved by transformers with a fast tokenizer has one' });
    const optional = (name: string): Record<string, unknown> => (pathKind(join(folder, name)) === 'file' ? readJsonObject(join(folder, name), maxTokenizerBytes) : {});
    const template = pathKind(join(folder, 'chat_template.jinja')) === 'file' ? readText(join(folder, 'chat_template.jinja'), maxTemplateBytes) : templateOf(optional('chat_template.json').chat_template);
    return new Tokenizer({ json: readJsonObject(path, maxTokenizerBytes), config: { ...optional('special_tokens_map.json'), ...optional('tokenizer_config.json') }, chatTemplate: template, where: path });
  }

  /** Token ids of a text. `addSpecialTokens` (default true) lets the tokenizer add its BOS or EOS, if it has such a habit. */
  encode(text: string, options: { addSpecialTokens?: boolean } = {}): Int32Array {
    const { ids } = this.backend.encode(text, { add_special_tokens: options.addSpecialTokens ?? true });
    if (ids.some((id) => id === undefined)) throw new EspalierError('bad_data', `the tokenizer has no token for a part of ${JSON.stringify(text.slice(0, 60))}`);
    return Int32Array.from(ids);
  }

  /** The text of token ids. Ids without a token (the padding of an embedding matrix) give nothing. */
  decode(ids: Iterable<number>, options: { skipSpecialTokens?: boolean } = {}): string {
    const known = [...ids].filter((id) => this.known.has(id) && !(options.skipSpecialTokens && this.specialTokenIds.has(id)));
    return known.length === 0 ? '' : this.backend.decode(known, { skip_special_tokens: options.skipSpecialTokens ?? false });
  }

  /** The id of one token, written as in the vocabulary. */
  tokenToId(token: string): number | undefined {
    return this.backend.token_to_id(token);
  }

  /** The token of an id, written as in the vocabulary (`Ġthe`). */
  idToToken(id: number): string | undefined {
    return this.known.has(id) ? this.backend.id_to_token(id) : undefined;
  }

  /**
   * The prompt text of a conversation. Encode it with `addSpecialTokens: false`: the template writes its own.
   * @throws EspalierError `unsupported` when the model has no chat template.
   */
  applyChatTemplate(messages: readonly Message[], options: ChatTemplateOptions = {}): string {
    if (!this.chatTemplate) throw new EspalierError('unsupported', 'the model has no chat template', { fix: 'give plain text, or put a chat_template.jinja beside its tokenizer.json' });
    return this.chatTemplate.render(messages, options);
  }

  /** The files that make this tokenizer again, here and in `transformers`: name → content. */
  files(): Map<string, string> {
    const { json, config, chatTemplate } = this.parts;
    const { chat_template: _template, ...rest } = config;
    const files = new Map([
      ['tokenizer.json', JSON.stringify(json, null, 2)],
      ['tokenizer_config.json', `${JSON.stringify({ tokenizer_class: 'PreTrainedTokenizerFast', ...rest }, null, 2)}\n`],
    ]);
    if (chatTemplate !== undefined) files.set('chat_template.jinja', chatTemplate);
    return files;
  }

  /** Writes {@link files} into a folder. */
  save(folder: string): void {
    for (const [name, content] of this.files()) writeFileAtomically(join(folder, name), content);
  }
}

/**
 * `@huggingface/tokenizers` 0.2 decodes runs of byte tokens (`<0xEF>`) with a plain `TextDecoder`, which swallows a byte order mark and writes fewer replacement characters than the
 * Rust crate: there, a run that is not UTF-8 gives one per byte.
 */
function mendByteFallback(decoder: unknown): void {
  const part = decoder as { decoders?: unknown[]; config?: { type?: string }; text_decoder?: unknown } | null; // a function with fields
  part?.decoders?.forEach(mendByteFallback);
  if (part?.config?.type !== 'ByteFallback') return;
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  part.text_decoder = {
    decode(bytes: Uint8Array): string {
      try {
        return strict.decode(bytes);
      } catch {
        return '\ufffd'.repeat(bytes.length);
      }
    },
  };
}

/** A config may give a special token as text or as an object with its text. */
function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of specialNames) {
    const value = config[name];
    const text = isRecord(value) ? value.content : value;
    if (typeof text === 'string') found[name] = text;
  }
  return found;
}

/** `transformers` makes the tokens that a config names special, though `tokenizer.json` may not say so. */
function addNamedSpecials(json: TokenizerJson, special: Record<string, string>): void {
  const model = json.model as { type: string; vocab: Record<string, number> | [string, number][] };
  const added = [...json.added_tokens];
  for (const content of Object.values(special)) {
    if (added.some((token) => token.content === content)) continue;
    const id = Array.isArray(model.vocab) ? model.vocab.findIndex(([piece]) => piece === content) : Object.hasOwn(model.vocab, content) ? model.vocab[content] : -1;
    if (id >= 0) added.push({ id, content, special: true, normalized: false, single_word: false, lstrip: false, rstrip: false } as (typeof added)[number]);
  }
  (json as { added_tokens: unknown }).added_tokens = added.sort((a, b) => a.id - b.id);
}

function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.filter((entry): entry is { name: unknown; template: string } => isRecord(entry) && typeof entry.template === 'string');
  return (named.find((entry) => entry.name === 'default') ?? named[0])?.template;
}

function vocabularyIds(json: TokenizerJson): Set<number> {
  const { vocab } = json.model as { vocab: Record<string, number> | unknown[] };
  const ids = new Set<number>(Array.isArray(vocab) ? vocab.keys() : Object.values(vocab));
  for (const token of json.added_tokens) ids.add(token.id);
  return ids;
}
