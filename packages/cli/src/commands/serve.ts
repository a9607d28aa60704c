import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { buildCommand, defined } from '../command';
import { modelFields, samplingFields } from './model-fields';

const shape = {
  model: z.array(z.string().min(1)).min(1).describe('model to serve: a folder, a .gguf or .safetensors file, or a hub id, with NAME= before it under another name; may be given several times'),
  adapter: z.array(z.string().min(1)).optional().describe('LoRA adapter of the first model to serve beside it, as NAME=DIR; may be given several times'),
  backend: modelFields.backend,
  precision: modelFields.precision,
  samplerWeights: samplingFields.samplerWeights,
  host: z.string().min(1).default('127.0.0.1').describe('address to listen on; other than this machine needs ESPALIER_API_KEY'),
  port: z.int().min(0).max(65535).default(8000).describe('0: any that is free'),
  maxQueue: z.int().positive().default(1024).describe('samples that may run or wait; beyond, requests are answered with 429'),
  maxBatchSize: z.int().positive().default(64).describe('samples of one model decoded at once'),
  maxTokens: z.int().positive().optional().describe("new tokens that one sample may ask for; default: what the model's positions leave"),
  maxBodyBytes: z.int().positive().default(4 * 2 ** 20).describe('largest body of a request'),
  maxCacheBytes: z.int().positive().optional().describe('bound on the KV cache of one model (default 1 GiB)'),
  adapterDir: z.string().min(1).optional().describe('let clients load adapters (/v1/load_lora_adapter) from below this folder'),
};

/** `NAME=WHERE`, or what is there under its own name. */
export function namedModel(text: string): { id: string; root: string } {
  const [, name, path] = /^([\w.@+-]+)=(.+)$/s.exec(text) ?? [];
  if (name !== undefined && !existsSync(text)) return { id: name, root: path };
  const isPath = existsSync(text) || text.startsWith('.') || text.startsWith('/');
  const id = isPath ? basename(text.replace(/[/\\]+$/, '')).replace(/\.(gguf|safetensors)$/, '') : text;
  return { id: id.replace(/[^\w./@+-]+/g, '-').slice(0, 200) || 'model', root: text };
}

function namedAdapter(text: string): { id: string; folder: string } {
  const [, id, folder] = /^([\w.@+-]+)=(.+)$/s.exec(text) ?? [];
  if (id === undefined) throw new EspalierError('usage', `--adapter is ${JSON.stringify(text)}`, { fix: 'it takes NAME=DIR, such as tuned=runs/sft/checkpoints/latest' });
  return { id, folder };
}

export const serveCommand = () =>
  buildCommand({
    name: 'serve',
    summary: 'serve models over HTTP, as the OpenAI API has it',
    shape,
    whole: ['model', 'adapter'],
    interrupt: 'no new requests; what runs is finished',
    notes:
      'POST /v1/completions, /v1/chat/completions, /tokenize, /detokenize; GET /v1/models, /health, /metrics. The bearer token is read from the environment variable ESPALIER_API_KEY. SIGTERM or Ctrl-C drains: new requests get 503, what runs ends, then the exit status is 0. With --json one object is printed when it listens: {"url", "port", "models"}.',
    async run(values, { output, signal }) {
      const models = values.model.map(namedModel);
      const adapters = (values.adapter ?? []).map(namedAdapter);
      const ids = [...models, ...adapters].map(({ id }) => id);
      const twice = ids.find((id, i) => ids.indexOf(id) !== i);
      if (twice !== undefined) throw new EspalierError('usage', `two models would be called "${twice}"`, { fix: 'give one another name: --model NAME=PATH' });

      const { openModel, serve } = await import('@espalier/server'); // loaded when a model is: help and wrong usage need not wait
      const engineOptions = defined({ backend: values.backend, precision: values.precision, samplerWeights: values.samplerWeights, maxBatchSize: values.maxBatchSize, maxCacheBytes: values.maxCacheBytes, signal });
      const opened: Awaited<ReturnType<typeof openModel>>[] = [];
      const open = async (options: Parameters<typeof openModel>[0]) => {
        const engine = await openModel(options);
        opened.push(engine);
        return engine;
      };
      try {
        const served = [];
        for (const { id, root } of models) served.push({ id, root, engine: await open({ ...engineOptions, model: root }) });
        for (const { id, folder } of adapters) served.push({ id, root: folder, parent: models[0].id, engine: await open({ ...engineOptions, model: models[0].root, adapter: folder }) });
        const rootOf = new Map(models.map(({ id, root }) => [id, root]));
        const loading = { ...engineOptions, signal: undefined };
        const server = await serve({
          models: served,
          host: values.host,
          port: values.port,
          limits: { maxQueue: values.maxQueue, maxBodyBytes: values.maxBodyBytes, ...(values.maxTokens !== undefined && { maxTokens: values.maxTokens }) },
          ...(values.adapterDir !== undefined && { adapters: { root: values.adapterDir, open: (adapter: string, base: string) => openModel({ ...loading, model: rootOf.get(base)!, adapter }) } }),
          onError: (error) => output.note(`espalier serve: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`),
          signal,
        });
        await output.result({ url: server.url, port: server.port, models: ids });
        output.line(`${ids.join(', ')}: ${server.url}/v1`);
        // A listening server keeps the process alive, its engines do not.
        await server.closed;
      } finally {
        await Promise.all(opened.map((engine) => engine.close()));
      }
    },
  });
