import { openEngine } from '@espalier/engine';
import { fetchFromHub } from '@espalier/models';

// npx tsx examples/hub/download.ts HuggingFaceTB/SmolLM2-135M-Instruct
const name = process.argv[2] ?? 'HuggingFaceTB/SmolLM2-135M-Instruct';
const folder = await fetchFromHub(name, { onProgress: ({ file, received, total }) => received === total && console.log(`${file}: ${total} bytes`) });
console.log(`${name} lies in the cache that huggingface_hub uses`);

const engine = await openEngine({ model: folder }); // openEngine({ model: name }) does both
for await (const { tokens } of engine.generate([{ id: 'a', prompt: engine.tokenizer.encode('2+3='), seed: 1, sampling: { temperature: 0, maxNewTokens: 4 } }])) console.log(`it says ${tokens.length} tokens more`);
await engine.close();
