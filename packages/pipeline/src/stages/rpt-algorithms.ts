import { onlineDpo, onlineDpoConfig, type OnlineDPOConfigInput } from '@espalier/dpo';
import { grpo, grpoConfig, reinforcePlusPlus, reinforcePlusPlusConfig, rloo, rlooConfig, type GRPOConfigInput, type ReinforcePlusPlusConfigInput, type RLOOConfigInput } from '@espalier/grpo';
import { ppo, ppoConfig, type PPOConfigInput } from '@espalier/ppo';
import { rankedPairs, rptConfig, type RPTConfigInput } from '@espalier/rpt';
import { EspalierError, type Algorithm } from '@espalier/spec';
import { snakeCase, type StatefulAlgorithm } from '@espalier/trainer';
import { z } from 'zod';

type Fields = Readonly<Record<string, unknown>>;

interface BuiltInAlgorithm {
  shape: z.ZodRawShape;
  /** Its fields that have no use here: another name of one of RPT's, or the work of its own trainer. */
  without: readonly string[];
  /** Its own fields, those that it shares with RPT, and the weight of RPT's KL term. */
  make(fields: Record<string, unknown>, shared: Fields, klCoef: unknown): Algorithm | StatefulAlgorithm;
}

const moves = ['syncRefModel', 'refModelMixupAlpha', 'refModelSyncSteps'];
/** Where the KL term of RPT counts, that of the algorithm does not. */
const withoutBeta = (fields: Record<string, unknown>, klCoef: unknown) => (typeof klCoef === 'number' && klCoef > 0 ? { beta: 0, ...fields } : fields);

const algorithms: Readonly<Record<string, BuiltInAlgorithm>> = {
  grpo: { shape: grpoConfig.shape, without: moves, make: (fields, shared) => grpo({ ...shared, ...fields } as GRPOConfigInput) },
  rloo: { shape: rlooConfig.shape, without: moves, make: (fields, shared, klCoef) => rloo({ ...shared, ...withoutBeta(fields, klCoef) } as RLOOConfigInput) },
  reinforce: { shape: reinforcePlusPlusConfig.shape, without: moves, make: (fields, shared, klCoef) => reinforcePlusPlus({ ...shared, ...withoutBeta(fields, klCoef) } as ReinforcePlusPlusConfigInput) },
  ppo: { shape: ppoConfig.shape, without: ['responseLength', 'totalEpisodes', 'ptxCoef', 'ptxBatchSize', 'ptxMaxLength'], make: (fields, shared) => ppo({ ...shared, ...fields, klCoef: 0, klTarget: undefined, klEstimator: undefined } as PPOConfigInput) },
  'online-dpo': {
    shape: onlineDpoConfig.shape,
    without: [...moves, 'maxNewTokens', 'disableDropout'],
    make(fields, { maxCompletionLength = 512 }) {
      const length = maxCompletionLength as number;
      return rankedPairs(onlineDpo({ maxLength: Math.max(512, length + 1024), ...fields, maxCompletionLength: length, numGenerations: 2 } as OnlineDPOConfigInput));
    },
  },
};
const aliases: Readonly<Record<string, string>> = { dpo: 'online-dpo', online_dpo: 'online-dpo', 'reinforce++': 'reinforce' };

/** The algorithms that RPT knows by name, besides those of plugins. */
export const rptAlgorithmNames = Object.keys(algorithms);

/** A field that its algorithm has a default for is left to it. */
function withoutDefault(schema: z.ZodType): z.ZodType {
  const { type, innerType } = schema.def as unknown as { type: string; innerType?: z.ZodType };
  return type === 'default' ? innerType!.optional() : schema.optional();
}

const ownNames = ({ shape, without }: BuiltInAlgorithm) => Object.keys(shape).filter((name) => !(name in rptConfig.shape) && !without.includes(name));

/** The fields of all algorithms that RPT has not itself; one that several have takes what any of them does. */
function algorithmFields(): Record<string, z.ZodType> {
  const schemas = new Map<string, z.ZodType[]>();
  for (const algorithm of Object.values(algorithms)) for (const name of ownNames(algorithm)) schemas.set(name, [...(schemas.get(name) ?? []), withoutDefault(algorithm.shape[name] as z.ZodType)]);
  return Object.fromEntries([...schemas].map(([name, list]) => [name, list.length === 1 ? list[0] : z.union(list as [z.ZodType, z.ZodType])]));
}

/** All fields of an RPT run: its own, and those of any algorithm that may be named. */
export const rptFlatConfig = rptConfig.extend(algorithmFields());

type Own<Input> = Omit<Input, keyof RPTConfigInput | 'syncRefModel' | 'refModelMixupAlpha' | 'refModelSyncSteps'>;
type AlgorithmInput = Own<GRPOConfigInput> | Own<RLOOConfigInput> | Own<ReinforcePlusPlusConfigInput> | Own<PPOConfigInput> | Own<OnlineDPOConfigInput>;
/** Of a union, each member on its own. */
type NamesOf<Input> = Input extends unknown ? keyof Input : never;
type ValuesOf<Input, Name> = Input extends unknown ? (Name extends keyof Input ? Input[Name] : never) : never;
export type RptFlatConfigInput = RPTConfigInput & { [Name in NamesOf<AlgorithmInput>]?: ValuesOf<AlgorithmInput, Name> };

/**
 * A built-in algorithm from flat fields; null for a name that is none.
 * @throws EspalierError `bad_config` for a field that another algorithm has, or a wrong one
 */
export function namedAlgorithm(name: string, fields: Fields): { algorithm: Algorithm | StatefulAlgorithm; config: Record<string, unknown> } | null {
  const key = aliases[name] ?? name;
  const found = Object.hasOwn(algorithms, key) ? algorithms[key] : undefined;
  if (!found) return null;
  const names = ownNames(found);
  const stray = Object.keys(fields).find((field) => fields[field] !== undefined && !(field in rptConfig.shape) && !names.includes(field) && Object.values(algorithms).some((algorithm) => ownNames(algorithm).includes(field)));
  if (stray !== undefined) throw new EspalierError('bad_config', `\`${snakeCase(stray)}\` is no field of algorithm ${key}`, { fix: 'leave it out, or choose the algorithm that has it' });
  const given = (list: readonly string[]) => Object.fromEntries(list.flatMap((field) => (fields[field] === undefined ? [] : [[field, fields[field]] as const])));
  const config = given(names);
  const shared = given(Object.keys(found.shape).filter((field) => field in rptConfig.shape));
  return { algorithm: found.make(config, shared, fields['klCoef']), config };
}
