import type { ToolDescription } from '@espalier/spec';

/** What a system message says of tools where the chat template does not: the form that Hermes and Qwen models know. */
export function describeTools(tools: readonly ToolDescription[]): string {
  return [
    'You may call one or more functions to assist with the user query.',
    'The functions, within <tools></tools>:',
    '<tools>',
    ...tools.map(({ name, description, parameters }) => JSON.stringify({ type: 'function', function: { name, description, parameters } })),
    '</tools>',
    'For each call, write a JSON object with name and arguments within <tool_call></tool_call>:',
    '<tool_call>',
    '{"name": <function-name>, "arguments": <args-json-object>}',
    '</tool_call>',
  ].join('\n');
}
