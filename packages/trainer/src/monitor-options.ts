import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { alarmRules } from './alarm-rules';

/**
 * What an alarm does. `warn`: it is told. `stop`: the run ends, with a checkpoint. `rollback`: the run ends with the weights of its best checkpoint (by the gold
 * reward, or the last one before anything was suspect). `raise_beta`: the weight of the KL term is doubled, where the algorithm has one.
 */
export const alarmActions = ['warn', 'stop', 'rollback', 'raise_beta'] as const;
export type AlarmAction = (typeof alarmActions)[number];

const ruleOptions = z.strictObject({ threshold: z.number().optional(), action: z.enum(alarmActions).optional(), off: z.boolean().optional() });

/** Fields of on-policy training that say what the monitors do. */
export const monitorFields = {
  /** What an alarm does: `warn`, `stop`, `rollback`, `raise_beta`. */
  onAlarm: z.enum(alarmActions).default('warn'),
  /** Single alarms, by name: `{ gold_fell: { threshold: 0.1, action: 'rollback' }, kl_budget: { off: true } }`. */
  monitors: z.record(z.string(), ruleOptions).nullish().transform((value) => value ?? undefined),
  /** Steps between the checkpoints that `rollback` may go back to; two of them are kept. */
  guardSteps: z.int().positive().default(10),
} as const;

export interface MonitorOptions {
  onAlarm: AlarmAction;
  monitors?: Readonly<Record<string, z.output<typeof ruleOptions>>> | undefined;
  guardSteps: number;
}

/** An alarm's rule with what was chosen for it. */
export interface ChosenRule {
  threshold: number;
  action: AlarmAction;
}

/**
 * Threshold and action of every alarm that is on.
 * @throws EspalierError `bad_config` for the name of no alarm
 */
export function chooseAlarms(options: Partial<MonitorOptions> = {}): Map<string, ChosenRule> {
  const { onAlarm = 'warn', monitors = {} } = options;
  const unknown = Object.keys(monitors).find((name) => !alarmRules.some((rule) => rule.name === name));
  if (unknown !== undefined) throw new EspalierError('bad_config', `\`monitors\`: there is no alarm "${unknown}"`, { fix: `one of ${alarmRules.map(({ name }) => name).join(', ')}` });
  return new Map(alarmRules.filter(({ name }) => !monitors[name]?.off).map(({ name, threshold }) => [name, { threshold: monitors[name]?.threshold ?? threshold, action: monitors[name]?.action ?? onAlarm }]));
}
