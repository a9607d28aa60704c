import { demand, show } from './contract-violation';

/** What every part of the contracts has: a version, a name, and its methods. */
export function demandIdentity(part: unknown, kind: string, methods: readonly string[]): void {
  demand(typeof part === 'object' && part !== null, `${kind} to be an object`, show(part), 'Parts are plain objects, which factories make.');
  const { specVersion, name } = part as { specVersion?: unknown; name?: unknown };
  demand(specVersion === 'v1', `specVersion "v1" of ${kind}`, show(specVersion ?? null), 'A host refuses a part that does not say which contracts it speaks.');
  demand(typeof name === 'string' && name.trim() !== '', `${kind} to have a name`, show(name), 'Parts are chosen and reported by name.');
  for (const method of methods) {
    const found = (part as Record<string, unknown>)[method];
    demand(typeof found === 'function', `${kind} "${name}" to have the method \`${method}\``, show(found), 'A host calls it.');
  }
}

/** Throws unless each of these methods is absent, or a function. */
export function demandOptionalMethods(part: object, kind: string, methods: readonly string[]): void {
  for (const method of methods) {
    const found = (part as Record<string, unknown>)[method];
    demand(found === undefined || typeof found === 'function', `\`${method}\` of ${kind} to be a function, or absent`, show(found), 'A host calls it where it is there.');
  }
}
