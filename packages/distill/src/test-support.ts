import { openEngine, type Engine } from '@espalier/engine';
import { characterTokenizer, createModel } from '@espalier/models';
import { defineObjective, type GenerateRequest } from '@espalier/spec';
import { packSequences } from './rows';

export const letters = 'abcdefgh';

/** Two random models of one vocabulary. */
export async function makeModels(student: string, teacher: string): Promise<void> {
  const tokenizer = characterTokenizer(letters);
  await createModel(student, { config: { hiddenSize: 16, numLayers: 1, numHeads: 2, maxPositions: 64 }, tokenizer, seed: 1 });
  await createModel(teacher, { config: { hiddenSize: 24, numLayers: 2, numHeads: 2, maxPositions: 64 }, tokenizer, seed: 2 });
}

const nll = defineObjective({
  name: 'nll',
  needs: ['logps'],
  coupling: 'token',
  evaluate: ({ logps }, { normalizer }) => ({ loss: -logps!.reduce((a, b) => a + b, 0) / normalizer.tokens, grads: { logps: new Float32Array(logps!.length).fill(-1 / normalizer.tokens) }, metrics: {} }),
});

/** A language for the teacher: each letter is three places on from the last, but for one in eight, which is any. */
export function sentence(seed: number, length: number): string {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const draw = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const places = [draw(8)];
  while (places.length < length) places.push(draw(8) === 0 ? draw(8) : (places.at(-1)! + 3) % 8);
  return places.map((place) => letters[place]).join('');
}

/** Trains a model on the language and writes it back where it was. */
export async function teach(path: string, steps: number): Promise<void> {
  const engine = await openEngine({ model: path, inline: true });
  for (let step = 0; step < steps; step++) {
    const batch = packSequences(Array.from({ length: 8 }, (_, i) => ({ tokens: engine.tokenizer.encode(sentence(1 + step * 8 + i, 12)), start: 1 })));
    await engine.learner.forwardBackward(batch, nll);
    await engine.learner.optimStep({ learningRate: 1e-2, maxGradNorm: 1 });
  }
  await engine.save(path);
  await engine.close();
}

/** Mean KLs of the student and its teacher on completions of prompts by one of them: teacher ‖ student, student ‖ teacher. Nats a token. */
export async function klOn(engine: Engine, prompts: readonly string[], by: 'student' | 'teacher'): Promise<{ forward: number; reverse: number }> {
  const tokens = prompts.map((prompt) => engine.tokenizer.encode(prompt));
  const requests = tokens.map((prompt, i): GenerateRequest => ({ id: String(i), prompt, seed: i, sampling: { maxNewTokens: 12 } }));
  const sequences = tokens.map((prompt) => ({ tokens: prompt, start: prompt.length }));
  for await (const { requestId, tokens: completion } of engine.generate(requests, { teacher: by === 'teacher' })) sequences[Number(requestId)].tokens = Int32Array.from([...tokens[Number(requestId)], ...completion]);
  const batch = packSequences(sequences);
  const mean = async (beta: number) => (await engine.learner.forward(batch, ['teacherDivergence'], { outputOptions: { teacherDivergence: { beta } } })).teacherDivergence!.reduce((a, b) => a + b, 0) / batch.actionIndex.length;
  return { forward: await mean(0), reverse: await mean(1) };
}
