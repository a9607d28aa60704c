import { EspalierError, type RewardFunction } from '@espalier/spec';
import { compilesReward, type CompilesOptions } from './compiles-reward';
import { testsReward, type TestsOptions } from './tests-reward';

type Options = Readonly<Record<string, unknown>>;
type Kind = 'text' | 'number' | 'boolean';

const factories: Record<string, { options: Record<string, Kind>; make: (options: Options) => RewardFunction }> = {
  compiles: { options: { strict: 'boolean', timeLimit: 'number', declarationsColumn: 'text', name: 'text' }, make: (options) => compilesReward(options as CompilesOptions) },
  tests: {
    options: { column: 'text', partial: 'boolean', language: 'text', timeLimit: 'number', memoryLimit: 'number', outputLimit: 'number', name: 'text' },
    make: (options) => testsReward(options as TestsOptions),
  },
};

export const codeRewardNames: readonly string[] = Object.keys(factories);

/**
 * A reward function of this package by its name, with its options, in camelCase or snake_case. Options that come as text (from a command line) are read as what they should be.
 * Nothing is started before something is scored.
 * @throws EspalierError `not_found` for an unknown name, `bad_config` for an unknown or wrong option
 *
 * @example
 * codeRewardByName('tests', { time_limit: '1000', partial: 'true' });
 */
export function codeRewardByName(name: string, options: Options = {}): RewardFunction {
  const factory = Object.hasOwn(factories, name) ? factories[name] : undefined;
  if (!factory) throw new EspalierError('not_found', `there is no reward function "${name}" on programs`, { fix: `one of ${codeRewardNames.join(', ')}` });
  const known = Object.keys(factory.options);
  return factory.make(
    Object.fromEntries(
      Object.entries(options).map(([key, value]) => {
        const camel = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
        if (!known.includes(camel)) throw new EspalierError('bad_config', `reward function "${name}" has no option \`${key}\``, { fix: `one of ${known.join(', ')}` });
        return [camel, readOption(name, key, value, factory.options[camel])];
      }),
    ),
  );
}

function readOption(name: string, key: string, value: unknown, kind: Kind): unknown {
  const read = typeof value !== 'string' || kind === 'text' ? value : kind === 'boolean' ? { true: true, false: false }[value] : value.trim() === '' ? undefined : Number(value);
  const wanted = kind === 'text' ? 'string' : kind;
  if (typeof read !== wanted) throw new EspalierError('bad_config', `reward function "${name}": \`${key}\` is ${JSON.stringify(value)}`, { fix: { text: 'text', number: 'a number', boolean: 'true or false' }[kind] });
  return read;
}
