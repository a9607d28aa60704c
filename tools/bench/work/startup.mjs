// From the start of a process to the first token, with the GGUF: { model }; with { tokenizer: true }, the tokenizer by itself, in a process of its own that has nothing of it yet.
import { say, turn, options } from '../lib/serve.mjs';

const { model, tokenizer = false } = options;
if (tokenizer) {
  const { openCheckpoint } = await import('@espalier/models');
  const start = performance.now();
  const checkpoint = await openCheckpoint(model);
  checkpoint.tokenizer.encode('The tokenizer is here.');
  const seconds = (performance.now() - start) / 1000;
  say({ ready: true });
  await turn();
  say({ seconds });
  await turn();
}
const { openEngine } = await import('@espalier/engine');
const engine = await openEngine({ model });
const prompt = engine.tokenizer.encode(engine.tokenizer.applyChatTemplate([{ role: 'user', content: 'What is 2 + 3?' }], { addGenerationPrompt: true }));
for await (const _ of engine.generate([{ id: 'a', prompt, seed: 1, sampling: { maxNewTokens: 1 } }]));
const seconds = performance.now() / 1000; // from the start of the process
say({ ready: true });
await turn();
say({ seconds });
await turn();
