import { earlierFields, earlierSftFields } from './earlier-fields';
import type { TrlField, TrlFields } from './field';
import { modelFields } from './model-fields';
import { rewardScriptFields, scriptFields } from './script-fields';
import { dpoFields, grpoFields, sftFields, trainerFields } from './trainer-fields';
import { trainingFields } from './training-fields';

/** What every training command takes from TRL's YAML. */
const shared: TrlFields = { ...earlierFields, ...scriptFields, ...modelFields, ...trainingFields, ...trainerFields };

/** By command. `sft`, `dpo` and `grpo` know every field of TRL 1.16; the others what all trainers share, and their own fields by their schemas. */
const byCommand: Readonly<Record<string, TrlFields>> = {
  sft: { ...shared, ...earlierSftFields, ...sftFields },
  dpo: { ...shared, ...dpoFields },
  grpo: { ...shared, ...rewardScriptFields, ...grpoFields },
  ...Object.fromEntries(['kto', 'cpo', 'orpo', 'reward', 'prm', 'distill'].map((name) => [name, shared])),
  ...Object.fromEntries(['rloo', 'reinforce', 'ppo', 'rpt', 'online-dpo'].map((name) => [name, { ...shared, ...rewardScriptFields }])),
};

/** What becomes of TRL's fields under a command; undefined for commands that train nothing. */
export function trlFieldsOf(command: string): ReadonlyMap<string, TrlField> | undefined {
  return Object.hasOwn(byCommand, command) ? new Map(Object.entries(byCommand[command])) : undefined;
}
