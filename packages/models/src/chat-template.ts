import { EspalierError, type Message } from '@espalier/spec';
import { Template } from '@huggingface/jinja';

/** Noncharacters that stand for the markers while a template is rendered: no text that is meant to be exchanged holds them. */
const opening = '\uFDD0';
const closing = '\uFDD1';

/** What a chat template is rendered with, beside the messages. */
export interface ChatTemplateOptions {
  /** Ends with the opening of an assistant's turn, so that the model answers. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Tool descriptions (JSON schemas) for templates that take them. */
  readonly tools?: readonly Record<string, unknown>[];
  /** Further variables of the template, such as `enable_thinking`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/**
 * A chat template: Jinja, as `transformers` renders it (blocks trimmed, special tokens as variables, `raise_exception`).
 *
 * @example
 * new ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {}).render([{ role: 'user', content: 'Hi' }]); // 'Hi'
 */
export class ChatTemplate {
  readonly source: string;
  /** Whether the template says what the assistant generates: `{% generation %}` … `{% endgeneration %}`. */
  readonly hasGenerationMarkers: boolean;
  private readonly template: Template;
  private readonly specialTokens: Readonly<Record<string, string>>;
  private marked: ChatTemplate | null = null;

  /** @throws EspalierError `bad_checkpoint` for a template that is not valid Jinja. */
  constructor(source: string, specialTokens: Readonly<Record<string, string>>, where = 'the chat template') {
    this.source = source;
    this.hasGenerationMarkers = /\{%-?\s*generation\s*-?%\}/.test(source);
    this.specialTokens = specialTokens;
    try {
      this.template = new Template(source);
    } catch (error) {
      throw new EspalierError('bad_checkpoint', `${where} is not valid Jinja: ${(error as Error).message}`, { cause: error });
    }
  }

  /**
   * The text, and the spans of it that the template's generation markers enclose (`transformers`: `return_assistant_tokens_mask`): `[start, end)` in
   * characters. None without markers.
   * @throws EspalierError as {@link render}; `bad_checkpoint` for markers that do not come in pairs
   */
  renderMarked(messages: readonly Message[], options: ChatTemplateOptions = {}): { text: string; spans: [start: number, end: number][] } {
    const text = this.render(messages, options);
    if (!this.hasGenerationMarkers) return { text, spans: [] };
    if (text.includes(opening) || text.includes(closing)) throw new EspalierError('bad_data', 'a message holds a Unicode noncharacter that marks generated text', { fix: 'leave U+FDD0 and U+FDD1 out' });
    this.marked ??= new ChatTemplate(this.source.replace(/\{%(-?)\s*(end)?generation\s*(-?)%\}/g, (_, before: string, end: string | undefined, after: string) => `{%${before} if true %}{{ '${end ? closing : opening}' }}{% endif ${after}%}`), this.specialTokens);
    const marked = this.marked.render(messages, options);
    const spans: [number, number][] = [];
    let plain = '';
    let start: number | null = null;
    for (const piece of marked.split(new RegExp(`([${opening}${closing}])`))) {
      if (piece === opening || piece === closing) {
        if ((piece === opening) !== (start === null)) throw new EspalierError('bad_checkpoint', 'the generation markers of the chat template do not come in pairs');
        if (start === null) start = plain.length;
        else {
          spans.push([start, plain.length]);
          start = null;
        }
      } else plain += piece;
    }
    if (start !== null) throw new EspalierError('bad_checkpoint', 'the generation markers of the chat template do not come in pairs');
    if (plain !== text) throw new EspalierError('bad_checkpoint', 'the generation markers of the chat template change what it writes', { fix: '`{% generation %}` … `{% endgeneration %}` around what the assistant writes' });
    return { text, spans };
  }

  /** @throws EspalierError `bad_data` when the template refuses the messages (an unknown role, two user turns in a row …). */
  render(messages: readonly Message[], options: ChatTemplateOptions = {}): string {
    try {
      return this.template.render({
        ...this.specialTokens,
        ...options.variables,
        messages,
        tools: options.tools ?? null,
        documents: null,
        add_generation_prompt: options.addGenerationPrompt ?? false,
      });
    } catch (error) {
      throw new EspalierError('bad_data', `the chat template refuses the messages: ${(error as Error).message}`, { cause: error });
    }
  }
}
