import { createInterface } from 'node:readline';
import { EspalierError, type Message } from '@espalier/spec';
import type { Engine } from '@espalier/engine';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { modelFields, samplingFields } from './model-fields';
import { namedModel } from './serve';

const shape = {
  model: z.array(z.string().min(1)).min(1).max(4).describe('model to talk to, as in espalier serve; given twice, both answer'),
  backend: modelFields.backend,
  precision: modelFields.precision,
  system: z.string().optional().describe('system message at the beginning'),
  maxNewTokens: z.int().positive().default(512).describe('longest answer, in tokens'),
  temperature: z.number().min(0).default(0.7).describe('0: always the likeliest token'),
  ...samplingFields,
  seed: z.int().min(0).max(0xffffffff).default(42).describe('the same seed gives the same answers'),
};

interface Speaker {
  id: string;
  engine: Engine;
  messages: Message[];
}

interface Turn {
  speaker: Speaker;
  seed: number;
  values: z.output<z.ZodObject<typeof shape>>;
  signal: AbortSignal;
  write(text: string): void;
}

/** One answer, written as it comes; it joins the conversation. */
async function answer({ speaker, seed, values, signal, write }: Turn): Promise<void> {
  const { IncrementalText, findStop } = await import('@espalier/engine/local');
  const { engine, messages } = speaker;
  const { tokenizer, info } = engine;
  const prompt = tokenizer.encode(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }), { addSpecialTokens: false });
  const left = info.maxPositions - prompt.length;
  if (left < 1) throw new EspalierError('bad_data', `the conversation has ${prompt.length} tokens, the model has ${info.maxPositions} positions`, { fix: '/reset begins anew' });
  const stop = values.stop ?? [];
  const longest = Math.max(0, ...stop.map(({ length }) => length - 1)); // what may be the beginning of a stop string is held back
  const tokens: number[] = [];
  const text = new IncrementalText((ids) => tokenizer.decode(ids, { skipSpecialTokens: true }), tokens);
  let told = 0;
  const tell = (whole: string, end: number) => {
    if (end <= told) return;
    write(whole.slice(told, end));
    told = end;
  };
  const sampling = { maxNewTokens: Math.min(values.maxNewTokens, left), temperature: values.temperature, topK: values.topK, topP: values.topP, minP: values.minP, repetitionPenalty: values.repetitionPenalty, stop };
  const onTokens = (events: readonly { token: number }[]) => {
    for (const { token } of events) tokens.push(token);
    const now = text.update();
    if (findStop(now, stop) < 0) tell(now, now.length - longest);
  };
  for await (const completion of engine.generate([{ id: 'chat', prompt, seed, sampling }], { signal, onTokens })) {
    tell(completion.text, completion.text.length);
    messages.push({ role: 'assistant', content: completion.text });
  }
}

export const chatCommand = () =>
  buildCommand({
    name: 'chat',
    summary: 'talk to a model, or to several side by side',
    shape,
    whole: ['model', 'stop', 'system'],
    interrupt: 'ending the conversation',
    notes: 'A line is a message; /reset forgets the conversation, /quit ends. Ctrl-C ends an answer. Where standard input is no terminal, its lines are the messages and only answers are printed. With --json: {"conversations": [{"model", "messages"}]}.',
    async run(values, { output, signal }) {
      const { openModel } = await import('@espalier/server');
      const speakers: Speaker[] = [];
      const beginning = (): Message[] => (values.system === undefined ? [] : [{ role: 'system', content: values.system }]);
      try {
        for (const text of values.model) {
          const { id, root } = namedModel(text);
          const engine = await openModel({ ...defined({ backend: values.backend, precision: values.precision, samplerWeights: values.samplerWeights }), model: root, signal });
          speakers.push({ id: speakers.some((other) => other.id === id) ? `${id} ${speakers.length + 1}` : id, engine, messages: beginning() });
        }
        if (!speakers.every(({ engine }) => engine.tokenizer.chatTemplate)) {
          const bare = speakers.find(({ engine }) => !engine.tokenizer.chatTemplate)!;
          throw new EspalierError('unsupported', `${bare.id} has no chat template: it was not made to talk`, { fix: 'espalier generate continues plain text' });
        }
        const interactive = process.stdin.isTTY === true && !output.json;
        const write = (text: string) => void (output.json || process.stdout.write(interactive ? printable(text) : text));
        let answering: AbortController | null = null;
        const readline = createInterface({ input: process.stdin, output: interactive ? process.stdout : undefined, terminal: interactive, prompt: '> ' });
        const onAbort = () => {
          answering?.abort();
          readline.close();
        };
        signal.addEventListener('abort', onAbort, { once: true });
        readline.on('SIGINT', () => (answering ? answering.abort() : readline.close()));
        if (interactive) output.note('/reset forgets the conversation, /quit ends');
        let turn = 0;
        if (interactive) readline.prompt();
        try {
          for await (const line of readline) {
            if (signal.aborted) break;
            const said = line.trim();
            if (said === '/quit') break;
            if (said === '/reset') {
              for (const speaker of speakers) speaker.messages = beginning();
              turn = 0;
            } else if (/^\/\w+$/.test(said)) output.note(`there is no ${said}; there are /reset and /quit`);
            else if (said !== '') {
              answering = new AbortController();
              const seed = (values.seed + turn++) >>> 0;
              try {
                await Promise.all(replies(speakers, said, { seed, values, signal: answering.signal }, write));
              } catch (error) {
                if (!interactive) throw error;
                output.note(error instanceof Error ? error.message : String(error));
              } finally {
                answering = null;
              }
            }
            if (interactive && !signal.aborted) readline.prompt();
          }
        } finally {
          signal.removeEventListener('abort', onAbort);
          readline.close();
        }
        await output.result({ conversations: speakers.map(({ id, messages }) => ({ model: id, messages })) });
      } finally {
        await Promise.all(speakers.map(({ engine }) => engine.close()));
      }
    },
  });

/** Without control characters: what a model says must not steer the terminal. */
const printable = (text: string) => text.replace(/[^\P{Cc}\n\t]/gu, '\ufffd');

/** All models answer at once; what is printed comes model by model, the first one as it speaks. */
function replies(speakers: readonly Speaker[], said: string, turn: Omit<Turn, 'speaker' | 'write'>, write: (text: string) => void): Promise<void>[] {
  let before: Promise<unknown> = Promise.resolve();
  return speakers.map((speaker, i) => {
    speaker.messages.push({ role: 'user', content: said });
    let held = speakers.length > 1 ? `── ${speaker.id}\n` : '';
    let mine = i === 0;
    const flush = () => {
      mine = true;
      write(held);
      held = '';
    };
    if (i === 0) flush();
    else void before.then(flush, flush);
    const after = before;
    const done = answer({ ...turn, speaker, write: (text) => (mine ? write(text) : void (held += text)) }).then(
      async () => {
        await after.catch(() => undefined);
        if (!mine) flush();
        write('\n');
      },
      (error: unknown) => {
        speaker.messages.pop();
        throw error;
      },
    );
    before = done;
    return done;
  });
}
