import type { Completion, GenerateRequest, RolloutEngine } from '@espalier/spec';
import { byteTokenizer, type Tokenizer } from '@espalier/models';

/** Templates of well-known families, whose special tokens are tokens of the tokenizers below. */
export const templates = {
  chatml: "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  // SmolLM2-Instruct: with a system message of its own
  smollm2:
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  // Qwen 2.5 and 3 in short: tools told, results of tools as a user's, thoughts of earlier replies left out
  qwen:
    "{% if tools %}{{ '<|im_start|>system\\n# Tools\\n<tools>' }}{% for tool in tools %}{{ '\\n' + (tool | tojson) }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}{% endif %}{% for message in messages %}{% if message.role == 'tool' %}{% if loop.index0 == 0 or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}{{ '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}{% elif message.role == 'assistant' %}{{ '<|im_start|>assistant\\n' + message.content.split('</think>')[-1].lstrip('\\n') + '<|im_end|>\\n' }}{% else %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  llama3:
    "{{ '<|begin|>' }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
  // Llama 2, Mistral: turns alternate, or the template refuses
  instruct:
    "{{ '<s>' }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + ' </s>' }}{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}",
  gemma:
    "{{ '<bos>' }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate') }}{% endif %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
} as const;

/** The token that ends a reply. */
export const ends: Readonly<Record<keyof typeof templates, string>> = { chatml: '<|im_end|>', smollm2: '<|im_end|>', qwen: '<|im_end|>', llama3: '<|eot_id|>', instruct: '</s>', gemma: '<end_of_turn>' };

/** One token a byte, and the special tokens of a template. */
export function tokenizerOf(name: keyof typeof templates): Tokenizer {
  const source: string = templates[name];
  const special = [...new Set(['<|pad|>', ends[name], ...(source.match(/<\|?[a-z_]+\|?>|<\/s>|<s>/g) ?? []).filter((token) => !/think|tool/.test(token))])];
  return byteTokenizer({ specialTokens: special, eosToken: ends[name], chatTemplate: source });
}

/** What a policy of the tests says: by request, index and the number of its turn. */
export type Script = (request: GenerateRequest, index: number) => Partial<Completion> & { tokens: Int32Array };

/** A rollout engine that follows a script, last sample first; it keeps what it was asked. */
export function scripted(script: Script, options: { logps?: boolean; wait?: (signal?: AbortSignal) => Promise<void> } = {}): RolloutEngine & { calls: GenerateRequest[][] } {
  const calls: GenerateRequest[][] = [];
  return {
    calls,
    specVersion: 'v1',
    name: 'scripted',
    capabilities: { tokenIds: true, logps: options.logps ?? true, sync: 'none' },
    async *generate(requests, { signal } = {}) {
      calls.push([...requests]);
      await options.wait?.(signal);
      for (const request of [...requests].reverse())
        for (let index = (request.n ?? 1) - 1; index >= 0; index--) {
          if (signal?.aborted) return;
          const said = script(request, index);
          yield { requestId: request.id, index, logps: options.logps === false ? null : Float32Array.from(said.tokens, (_, t) => -(calls.length + t / 8)), text: '', finishReason: 'stop', version: calls.length, ...said };
        }
    },
    close: async () => {},
  };
}
