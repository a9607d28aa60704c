import { describe, expect, it } from 'vitest';
import { ChatTemplate } from './chat-template';

const messages = [{ role: 'user', content: 'hi' }, { role: 'assistant', content: 'ho' }, { role: 'user', content: 'a' }, { role: 'assistant', content: 'b {{ c }}' }];
const marked = (source: string) => {
  const { text, spans } = new ChatTemplate(source, { eos_token: '</s>' }).renderMarked(messages);
  return { text, generated: spans.map(([start, end]) => text.slice(start, end)) };
};

describe('generation markers', () => {
  // Each as transformers renders it (return_assistant_tokens_mask): blocks are trimmed, and the markers with them.
  it.each([
    ["{% for m in messages %}{{ '<' + m.role + '>' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}", '<user>hi<assistant>ho</s><user>a<assistant>b {{ c }}</s>'],
    ["{%- for m in messages %}\n    {{- '<' + m.role + '>' }}\n    {%- if m.role == 'assistant' %}\n        {%- generation -%}\n        {{- m.content + eos_token -}}\n        {%- endgeneration -%}\n    {%- else %}\n        {{- m.content }}\n    {%- endif %}\n{%- endfor %}", '<user>hi<assistant>ho</s><user>a<assistant>b {{ c }}</s>'],
  ])('enclose what the assistant writes: %#', (source, text) => expect(marked(source)).toEqual({ text, generated: ['ho</s>', 'b {{ c }}</s>'] }));

  it('trim line breaks as other blocks do', () => {
    const source = "{% for m in messages %}\n{{ m.role }}:\n{% if m.role == 'assistant' %}\n  {% generation %}\n{{ m.content }}\n  {% endgeneration %}\n{% else %}\n{{ m.content }}\n{% endif %}\n{% endfor %}";
    const { text, generated } = marked(source);
    expect(text).toBe('user:\nhi\nassistant:\nho\nuser:\na\nassistant:\nb {{ c }}\n');
    expect(generated).toEqual(['ho\n', 'b {{ c }}\n']);
  });

  it('are not there in a template without them, and must come in pairs', () => {
    expect(new ChatTemplate('{{ messages[0].content }}', {}).hasGenerationMarkers).toBe(false);
    expect(marked('{{ messages[0].content }}')).toEqual({ text: 'hi', generated: [] });
    expect(() => marked('{% generation %}{{ messages[0].content }}')).toThrow('in pairs');
    expect(() => new ChatTemplate('{% generation %}{{ messages[0].content }}{% endgeneration %}', {}).renderMarked([{ role: 'user', content: 'a\uFDD0' }])).toThrow('noncharacter');
  });
});
