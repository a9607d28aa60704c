import { EspalierError } from '@espalier/spec';
import { z } from 'zod';
import { alarmRules } from './alarm-rules';
import { monitorRules } from './monitor-rules';

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
  /** Single alarms and warnings, by name: `{ gold_fell: { threshold: 0.1, action: 'rollback' }, kl_budget: { off: true }, completions_clipped: { action: 'stop' } }`. */
  monitors: z.record(z.string(), ruleOptions).nullish().transform((value) => value ?? undefined),
  /** Steps between the checkpoints that `rollback` may go back to; two of them are kept. */
  guardSteps: z.int().positive().default(10),
} as const;

export interface MonitorOptions {
  onAlarm: AlarmAction;
  monitors?: Readonly<Record<string, z.output<typeof ruleOptions>>> | undefined;
  guardSteps: number;
}

/** A rule with what was chosen for it. */
export interface ChosenRule {
  /** NaN: it has none. */
  threshold: number;
  /** Undefined: a warning or a note, which is told and no more. */
  action: AlarmAction | undefined;
}

/**
 * Threshold and action of every alarm and warning that is on. `onAlarm` is for alarms; a warning becomes one where it is given an action of its own.
 * @throws EspalierError `bad_config` for the name of none
 */
export function chooseAlarms(options: Partial<MonitorOptions> = {}): Map<string, ChosenRule> {
  const { onAlarm = 'warn', monitors = {} } = options;
  const rules = [...alarmRules.map(({ name, threshold }) => ({ name, threshold, action: onAlarm as AlarmAction | undefined })), ...monitorRules.map(({ name, threshold = NaN }) => ({ name, threshold, action: undefined }))];
  for (const [name, { threshold }] of Object.entries(monitors)) {
    const rule = rules.find((one) => one.name === name);
    if (!rule) throw new EspalierError('bad_config', `\`monitors\`: there is no alarm "${name}"`, { fix: `one of ${rules.map((one) => one.name).join(', ')}` });
    if (threshold !== undefined && Number.isNaN(rule.threshold)) throw new EspalierError('bad_config', `\`monitors\`: "${name}" has no threshold`, { fix: '`action` or `off`' });
  }
  return new Map(rules.filter(({ name }) => !monitors[name]?.off).map(({ name, threshold, action }) => [name, { threshold: monitors[name]?.threshold ?? threshold, action: monitors[name]?.action ?? action }]));
}
