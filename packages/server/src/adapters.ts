import { realpathSync } from 'node:fs';
import { sep } from 'node:path';
import type { Engine } from '@espalier/engine';
import type { RequestContext, ServerState } from './context';
import { HttpError } from './http-error';
import { readBody } from './read-body';
import { loadAdapterFields, unloadAdapterFields } from './request-fields';

/** Adapters that clients may load while the server runs. */
export interface AdapterLoading {
  /** Only folders below this one can be loaded. */
  root: string;
  /** Adapters at once. Default 4. */
  most?: number;
  /** Opens the base model `base` under the adapter in a folder. */
  open(folder: string, base: string): Promise<Engine>;
}

/** The real folder of a path, which must lie below the root whatever links say. */
export function folderBelow(root: string, path: string): string {
  const refuse = () => new HttpError(404, 'there is no such adapter below the folder that this server loads from', { param: 'lora_path' });
  let [real, base] = ['', ''];
  try {
    base = realpathSync(root);
    real = realpathSync(path);
  } catch {
    throw refuse();
  }
  if (real !== base && !real.startsWith(base.endsWith(sep) ? base : base + sep)) throw refuse();
  return real;
}

/** `POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter`, as vLLM has them. */
export function adapterRoutes(state: ServerState, loading: AdapterLoading) {
  const loaded = new Set<string>();
  const most = loading.most ?? 4;
  return {
    async load(c: RequestContext): Promise<Response> {
      const body = await readBody(c, loadAdapterFields);
      const name = body.lora_name;
      if (loaded.has(name) || state.models.list().some(({ id }) => id === name)) throw new HttpError(400, `"${name}" is loaded already; a new version needs a new name`, { param: 'lora_name' });
      if (loaded.size >= most) throw new HttpError(400, `${loaded.size} adapters are loaded, at most ${most} may be: unload one`, { param: 'lora_name' });
      const base = body.base_model_name === undefined ? state.models.list().find(({ parent }) => parent === undefined)! : state.models.get(body.base_model_name);
      const folder = folderBelow(loading.root, body.lora_path);
      loaded.add(name);
      try {
        const engine = await loading.open(folder, base.id);
        try {
          state.models.add({ id: name, engine, parent: base.id, root: folder });
        } catch (error) {
          await engine.close();
          throw error;
        }
      } catch (error) {
        loaded.delete(name);
        throw error;
      }
      return c.text(`Success: LoRA adapter '${name}' added successfully.`);
    },
    async unload(c: RequestContext): Promise<Response> {
      const { lora_name: name } = await readBody(c, unloadAdapterFields);
      if (!loaded.has(name)) throw new HttpError(404, `no adapter ${JSON.stringify(name.slice(0, 60))} was loaded`, { param: 'lora_name' });
      const { engine } = await state.models.remove(name);
      loaded.delete(name);
      await engine.close();
      return c.text(`Success: LoRA adapter '${name}' removed successfully.`);
    },
  };
}
