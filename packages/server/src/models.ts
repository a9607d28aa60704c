import type { Engine } from '@espalier/engine';
import { EspalierError } from '@espalier/spec';
import { HttpError } from './http-error';

/** A model under the name that requests give. */
export interface ServedModel {
  id: string;
  engine: Engine;
  /** What it was loaded from; told by `/v1/models`. Default: the id. */
  root?: string;
  /** For an adapter, the id of the model that it adapts: `parent:id` names it too. */
  parent?: string;
}

/** The models of a server by name. */
export class Models {
  private readonly byId = new Map<string, ServedModel & { users: number; created: number; retired?: () => void }>();

  /** @throws EspalierError `bad_config` for no model, two of one name, or an adapter without its base */
  constructor(models: readonly ServedModel[]) {
    if (models.length === 0) throw new EspalierError('bad_config', 'the server has no model', { fix: 'give at least one' });
    for (const model of models) this.add(model);
    for (const { id, parent } of models) if (parent !== undefined && !this.byId.has(parent)) throw new EspalierError('bad_config', `adapter "${id}" is for model "${parent}", which is not served`);
  }

  /** @throws EspalierError `bad_config` when the name is taken or unfit */
  add(model: ServedModel): void {
    if (!/^[\w./@+-]{1,200}$/.test(model.id)) throw new EspalierError('bad_config', `a model cannot be called ${JSON.stringify(model.id.slice(0, 60))}`, { fix: 'letters, digits and . / @ + - _ would do' });
    if (this.byId.has(model.id)) throw new EspalierError('bad_config', `two models are called "${model.id}"`, { fix: 'give one of them another name' });
    this.byId.set(model.id, { ...model, users: 0, created: Math.floor(Date.now() / 1000) });
  }

  list(): readonly (ServedModel & { created: number })[] {
    return [...this.byId.values()];
  }

  /** The model of a request (`id`, or `base:adapter`; none named: the first), kept from being unloaded until `release`. */
  take(name: string | undefined): { model: ServedModel; release(): void } {
    const entry = this.find(name);
    entry.users++;
    let released = false;
    return {
      model: entry,
      release: () => {
        if (released) return;
        released = true;
        if (--entry.users === 0) entry.retired?.();
      },
    };
  }

  /** Takes a model out: no new request finds it. Resolves when the last one that uses it has ended. */
  async remove(id: string): Promise<ServedModel> {
    const entry = this.find(id);
    this.byId.delete(entry.id);
    if (entry.users > 0) await new Promise<void>((resolve) => (entry.retired = resolve));
    return entry;
  }

  /** @throws HttpError 404 */
  get(name: string): ServedModel & { created: number } {
    return this.find(name);
  }

  private find(name: string | undefined) {
    if (name === undefined) return this.byId.values().next().value!;
    const exact = this.byId.get(name);
    if (exact) return exact;
    const at = name.lastIndexOf(':');
    const adapter = at > 0 ? this.byId.get(name.slice(at + 1)) : undefined;
    if (adapter && adapter.parent === name.slice(0, at)) return adapter;
    throw new HttpError(404, `there is no model ${JSON.stringify(name.slice(0, 200))}; this server has ${[...this.byId.keys()].join(', ')}`, { param: 'model', code: 'model_not_found' });
  }
}
