import { EspalierError, type Message } from '@espalier/spec';
import { Template } from '@huggingface/jinja';

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
  private readonly template: Template;
  private readonly specialTokens: Readonly<Record<string, string>>;

  /** @throws EspalierError `bad_checkpoint` for a template that is not valid Jinja. */
  constructor(source: string, specialTokens: Readonly<Record<string, string>>, where = 'the chat template') {
    this.source = source;
    this.specialTokens = specialTokens;
    try {
      this.template = new Template(source);
    } catch (error) {
      throw new EspalierError('bad_checkpoint', `${where} is not valid Jinja: ${(error as Error).message}`, { cause: error });
    }
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
