import { assertSpecVersion, EspalierError, type Plugin } from '@espalier/spec';
import { nearest } from './nearest';

/** What a plugin can add. */
export const partKinds = ['rewards', 'objectives', 'algorithms', 'rolloutEngines', 'environments', 'judges', 'textModels', 'stages', 'trackers', 'datasets'] as const;
export type PartKind = (typeof partKinds)[number];
/** What a plugin calls a part of a kind, for messages. */
const singular: Readonly<Record<PartKind, string>> = {
  rewards: 'reward function', objectives: 'objective', algorithms: 'algorithm', rolloutEngines: 'rollout engine', judges: 'judge', textModels: 'text model', environments: 'environment', stages: 'stage', trackers: 'tracker', datasets: 'dataset',
};
/** Kinds whose parts say themselves which contracts they were made for. */
const versioned: ReadonlySet<PartKind> = new Set<PartKind>(['rewards', 'objectives', 'algorithms', 'rolloutEngines', 'environments', 'stages', 'judges', 'trackers']);

type MadeBy<F> = F extends (...parameters: never[]) => infer Made ? Awaited<Made> : never;
/** A factory as a registry hands it out: whose options are known only when it runs. */
export type PartFactory<Kind extends PartKind> = (options?: Readonly<Record<string, unknown>>) => Promise<MadeBy<NonNullable<Plugin[Kind]>[string]>>;

/** Which plugin a part came from. */
export interface RegisteredPart<Kind extends PartKind = PartKind> {
  kind: Kind;
  name: string;
  plugin: string;
  create: PartFactory<Kind>;
}

/** Parts by kind and name. A registry is a value: there is no global one. One that was made of plugins knows their names and options when it is compiled. */
export interface Registry<Plugins extends readonly Plugin[] = readonly Plugin[]> {
  /** What it holds, in the order of registration. */
  readonly plugins: Plugins;
  /**
   * Adds every part of a plugin, or none of them.
   * @throws EspalierError `incompatible_plugin` for another specVersion, `bad_config` when a name is taken or a part is not a function
   */
  register(plugin: Plugin): void;
  /**
   * The factory of a part. `name` is the part's own, or `plugin/part`. What it makes is refused (`incompatible_plugin`) when it was made for other contracts.
   * @throws EspalierError `not_found`, naming the nearest one
   */
  lookup<Kind extends PartKind>(kind: Kind, name: string): PartFactory<Kind>;
  has(kind: PartKind, name: string): boolean;
  list(): readonly RegisteredPart[];
}

/**
 * @example
 * const registry = createRegistry();
 * registry.register(definePlugin({ name: 'my-rewards', rewards: { short: () => shortReward } }));
 * const reward = await registry.lookup('rewards', 'short')();
 */
export function createRegistry<const Plugins extends readonly Plugin[] = readonly Plugin[]>(plugins?: Plugins): Registry<Plugins> {
  const parts = new Map<string, RegisteredPart>();
  const names = new Set<string>();
  const key = (kind: PartKind, name: string) => `${kind}:${name}`;
  const find = (kind: PartKind, name: string): RegisteredPart | undefined =>
    parts.get(key(kind, name)) ?? [...parts.values()].find((part) => part.kind === kind && `${part.plugin}/${part.name}` === name);

  const registered: Plugin[] = [];
  const registry: Registry<Plugins> = {
    plugins: registered as readonly Plugin[] as Plugins,
    register(plugin) {
      if (typeof plugin !== 'object' || plugin === null) throw new EspalierError('bad_config', `a plugin is an object, ${plugin === null ? 'null' : typeof plugin} was found`, { fix: 'export what definePlugin({ … }) returns' });
      assertSpecVersion(plugin, 'plugin');
      if (typeof plugin.name !== 'string' || plugin.name === '') throw new EspalierError('bad_config', 'a plugin has no name', { fix: "definePlugin({ name: 'my-plugin', … })" });
      if (names.has(plugin.name)) throw new EspalierError('bad_config', `plugin "${plugin.name}" is registered already`, { fix: 'register it once' });
      const added: RegisteredPart[] = [];
      for (const kind of partKinds) {
        for (const [name, create] of Object.entries(plugin[kind] ?? {})) {
          if (typeof create !== 'function') throw new EspalierError('bad_config', `plugin "${plugin.name}": ${kind}.${name} is not a function`, { fix: `${name}: (options) => …` });
          const taken = parts.get(key(kind, name));
          if (taken) throw new EspalierError('bad_config', `plugin "${plugin.name}": ${kind} "${name}" is taken by plugin "${taken.plugin}"`, { fix: 'rename one of the two' });
          added.push({ kind, name, plugin: plugin.name, create: checkedFactory(kind, name, plugin.name, create as PartFactory<PartKind>) });
        }
      }
      names.add(plugin.name);
      registered.push(plugin);
      for (const part of added) parts.set(key(part.kind, part.name), part);
    },
    lookup<Kind extends PartKind>(kind: Kind, name: string): PartFactory<Kind> {
      const part = find(kind, name);
      if (part) return part.create as PartFactory<Kind>;
      const known = [...parts.values()].filter((other) => other.kind === kind).map((other) => other.name);
      const close = nearest(name, known);
      throw new EspalierError('not_found', `no plugin gives ${kind} "${name}"`, { fix: close ? `did you mean "${close}"?` : known.length > 0 ? `there are: ${known.join(', ')}` : 'register a plugin that does' });
    },
    has: (kind, name) => find(kind, name) !== undefined,
    list: () => [...parts.values()],
  };
  for (const plugin of plugins ?? []) registry.register(plugin);
  return registry;
}

/** A factory whose part is looked at before it is used. */
function checkedFactory(kind: PartKind, name: string, plugin: string, create: PartFactory<PartKind>): PartFactory<PartKind> {
  return async (options) => {
    const part: unknown = await create(options);
    if (typeof part !== 'object' || part === null) throw new EspalierError('bad_config', `plugin "${plugin}": ${singular[kind]} "${name}" came out as ${part === null ? 'null' : typeof part}`, { fix: 'its factory returns the part' });
    if (versioned.has(kind)) assertSpecVersion({ name: `${plugin}/${name}`, specVersion: (part as { specVersion?: unknown }).specVersion }, singular[kind]);
    return part as never;
  };
}
