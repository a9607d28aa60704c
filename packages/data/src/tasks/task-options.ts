import { EspalierError } from '@espalier/spec';
import { z } from 'zod';

/** `difficulty=3,operations=+|-,template=…`: numbers and booleans by their looks, lists with `|` where the option takes one. */
export function parseTaskOptions(written: string, ref: string, schema: z.ZodObject): Record<string, unknown> {
  if (written === '') return {};
  return Object.fromEntries(
    written.split(',').map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new EspalierError('bad_config', `"${pair}" in "${ref}" is no option`, { fix: 'name=value, separated by commas' });
      const name = pair.slice(0, at).trim().replace(/_([a-z])/g, (_, c: string) => c.toUpperCase());
      const value = pair.slice(at + 1).trim();
      if (!Object.hasOwn(schema.shape, name)) throw new EspalierError('bad_config', `"${ref}": the task has no option \`${name}\``, { fix: `one of ${Object.keys(schema.shape).join(', ')}` });
      if (takesList(schema.shape[name] as z.ZodType)) return [name, value.split('|').map(readOption)];
      return [name, readOption(value)];
    }),
  );
}

const readOption = (value: string): unknown => (value === 'true' ? true : value === 'false' ? false : /^-?\d+(\.\d+)?$/.test(value) ? Number(value) : value);

/** Whether an option is, or may be, a list. */
function takesList(schema: z.ZodType): boolean {
  if (schema instanceof z.ZodDefault || schema instanceof z.ZodOptional) return takesList(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodUnion) return schema.options.some((option) => takesList(option as z.ZodType));
  return schema instanceof z.ZodArray;
}
