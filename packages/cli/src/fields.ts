import type { z } from 'zod';

/** What a field of a schema accepts, as far as a command line can tell. */
export type ValueKind = 'boolean' | 'number' | 'string' | 'array' | 'object';

/** One field of a configuration as a flag and as a key of a YAML file. */
export interface Field {
  /** camelCase, as in the schema. */
  name: string;
  /** `--learning-rate`. */
  flag: string;
  kinds: readonly ValueKind[];
  /** Kinds of an array's items. */
  items: readonly ValueKind[];
  choices: readonly string[] | null;
  /** Undefined: none. */
  default: unknown;
  description: string;
  required: boolean;
  /** Whether `null` is a value: no limit, no bound. */
  nullable: boolean;
}

/** `perDeviceTrainBatchSize` or `per_device_train_batch_size` → `per-device-train-batch-size`. */
export function kebabCase(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`).replaceAll('_', '-').replace(/^-/, '');
}

/** `per-device-train-batch-size` or `per_device_train_batch_size` → `perDeviceTrainBatchSize`. */
export function camelCase(name: string): string {
  return name.replace(/[-_]+([A-Za-z0-9])/g, (_, c: string) => c.toUpperCase());
}

interface Definition {
  type: string;
  innerType?: z.ZodType;
  in?: z.ZodType;
  options?: z.ZodType[];
  element?: z.ZodType;
  entries?: Record<string, string>;
  values?: unknown[];
  defaultValue?: unknown;
}

interface Described {
  kinds: Set<ValueKind>;
  items: Set<ValueKind>;
  choices: string[] | null;
  default: unknown;
  required: boolean;
  description: string;
}

function describe(schema: z.ZodType): Described {
  const definition = schema.def as unknown as Definition;
  const found: Described = { kinds: new Set(), items: new Set(), choices: null, default: undefined, required: true, description: schema.description ?? '' };
  const wrap = (inner: z.ZodType): Described => {
    const below = describe(inner);
    return { ...below, description: found.description || below.description };
  };
  switch (definition.type) {
    case 'optional':
    case 'nullable':
    case 'nonoptional':
    case 'readonly':
    case 'catch':
      return { ...wrap(definition.innerType!), required: definition.type === 'nonoptional' };
    case 'default':
    case 'prefault':
      return { ...wrap(definition.innerType!), default: definition.defaultValue, required: false };
    case 'pipe':
      return wrap(definition.in!);
    case 'number':
    case 'int':
      found.kinds.add('number');
      return found;
    case 'boolean':
      found.kinds.add('boolean');
      return found;
    case 'enum':
      found.kinds.add('string');
      found.choices = Object.values(definition.entries ?? {}).map(String);
      return found;
    case 'literal':
      for (const value of definition.values ?? []) {
        if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string') found.kinds.add(typeof value as ValueKind);
      }
      if ([...found.kinds].every((kind) => kind === 'string')) found.choices = (definition.values ?? []).map(String);
      return found;
    case 'array': {
      const item = describe(definition.element!);
      found.kinds.add('array');
      found.items = item.kinds;
      found.choices = item.choices;
      return found;
    }
    case 'tuple':
      found.kinds.add('array');
      found.items.add('string').add('number');
      return found;
    case 'union':
      for (const option of definition.options ?? []) {
        const part = describe(option);
        for (const kind of part.kinds) found.kinds.add(kind);
        for (const kind of part.items) found.items.add(kind);
        if (part.choices) found.choices = [...(found.choices ?? []), ...part.choices];
        else if (part.kinds.has('string')) found.choices = null;
      }
      return found;
    case 'object':
    case 'record':
      found.kinds.add('object');
      return found;
    case 'undefined':
    case 'null':
      return { ...found, required: false };
    default:
      found.kinds.add('string');
      return found;
  }
}

/** The fields of an object schema, in its order; those in `leaveOut` are left out. */
export function fieldsOf(shape: Readonly<Record<string, unknown>>, help: Readonly<Record<string, string>> = {}, leaveOut: readonly string[] = []): Field[] {
  return Object.entries(shape)
    .filter(([name]) => !leaveOut.includes(name))
    .map(([name, schema]) => {
      const found = describe(schema as z.ZodType);
      return { name, flag: `--${kebabCase(name)}`, kinds: [...found.kinds], items: [...found.items], choices: found.choices, default: found.default, description: help[name] ?? found.description, required: found.required, nullable: (schema as z.ZodType).safeParse(null).success };
    });
}
