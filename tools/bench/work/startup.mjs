// From the start of the process to the first token, with the GGUF: { model }. The tokenizer is timed by itself, before the engine is opened, and not counted twice.
import { say, turn, options } from '../lib/serve.mjs';

const { model } = options;
const { openEngine } = await import('@espalier/engine');
const engine = await openEngine({ model });
const prompt = engine.tokenizer.encode(engine.tokenizer.applyChatTemplate([{ role: 'user', content: 'What is 2 + 3?' }], { addGenerationPrompt: true }));
for await (const _ of engine.generate([{ id: 'a', prompt, seed: 1, sampling: { maxNewTokens: 1 } }]));
const firstToken = performance.now() / 1000; // from the start of the process
say({ ready: true, firstToken });
await turn();
// The same once more by itself: another checkpoint object, so nothing of it is there already; the file is in the page cache either way.
const { openCheckpoint } = await import('@espalier/models');
const start = performance.now();
const checkpoint = await openCheckpoint(model);
checkpoint.tokenizer.encode('The tokenizer is here.');
say({ seconds: firstToken, tokenizer: (performance.now() - start) / 1000 });
checkpoint.close();
await turn(() => engine.close());
