import { existsSync } from 'node:fs';
import type { PartContext } from './part';

type Given = Readonly<Record<string, unknown>>;

/** `model_name_or_path` with `model_revision`, as `--model`. */
export function readModel(fields: Given, context: PartContext): void {
  const { model_name_or_path: model, model_revision: revision } = fields;
  if (model === undefined || model === null) return;
  if (typeof model !== 'string') return context.refuse('model_name_or_path', `it is ${JSON.stringify(model)}`, 'a folder, a file or a hub id');
  const plain = revision === undefined || revision === null || revision === 'main';
  if (!plain && (existsSync(model) || model.includes('@'))) context.note('model_revision', `${model} is not asked for by revision`);
  context.set('model', plain || existsSync(model) || model.includes('@') ? model : `${model}@${String(revision)}`);
}

const loraDefaults: Given = { lora_r: 16, lora_alpha: 32, use_rslora: false };

/** `use_peft` and the `lora_*` that go with it. Without `use_peft` they say nothing, as in TRL. */
export function readAdapters(fields: Given, context: PartContext): void {
  const { use_peft: use, lora_target_modules: targets, ...rest } = fields;
  if (use !== true && use !== 'true') {
    const idle = Object.keys(fields).filter((name) => name !== 'use_peft' && fields[name] !== null && fields[name] !== loraDefaults[name]);
    if (idle.length > 0) context.note(idle[0], `${idle.length > 1 ? `it and ${idle.slice(1).join(', ')} say` : 'it says'} nothing without \`use_peft: true\`, as in TRL: all weights are trained`);
    return;
  }
  const number = (name: string): number => {
    const value = rest[name] ?? loraDefaults[name];
    return typeof value === 'number' && value > 0 ? value : context.refuse(name, `it is ${JSON.stringify(value)}`, 'a number above 0');
  };
  const rank = number('lora_r');
  context.set('usePeft', true);
  context.set('loraRank', rank);
  context.set('loraAlpha', rest['use_rslora'] === true ? number('lora_alpha') * Math.sqrt(rank) : number('lora_alpha'));
  const names = [targets ?? []].flat().map(String);
  if (names.length === 0) context.note('use_peft', 'all linear layers of the blocks get adapters; PEFT’s own default is fewer, for most models lora_target_modules: [q_proj, v_proj]');
  else if (!(names.length === 1 && names[0] === 'all-linear')) {
    const pattern = names.find((name) => !/^\w+$/.test(name));
    if (pattern !== undefined) context.refuse('lora_target_modules', `${pattern} is no name of a layer`, 'names, such as [q_proj, v_proj], or all-linear');
    context.set('loraTargetModules', names);
  }
}

/** TRL's reward functions under the names here, with TRL's lengths. */
const rewardNames: Readonly<Record<string, string>> = {
  accuracy_reward: 'math:column=solution,latex_only=true,name=accuracy_reward',
  reasoning_accuracy_reward: 'reasoning_accuracy:column=solution,name=reasoning_accuracy_reward',
  think_format_reward: 'format:name=think_format_reward',
  get_soft_overlong_punishment: 'length:max_length=1280,cache=256,name=soft_overlong_punishment',
};

/** `reward_model_name_or_path` and `reward_funcs`, as `--reward`. */
export function readRewards(fields: Given, context: PartContext): void {
  const { reward_model_name_or_path: model, reward_funcs: functions } = fields;
  const rewards = model === undefined || model === null ? [] : [`reward_model:path=${String(model)}`];
  for (const name of [functions ?? []].flat()) {
    if (typeof name !== 'string') return context.refuse('reward_funcs', `${JSON.stringify(name)} is no name`, 'names of reward functions');
    if (/^[\w]+(\.\w+)+$/.test(name) && !name.includes('=')) context.refuse('reward_funcs', `${name} is a function in Python`, 'a reward of a plugin, by its name: see docs/plugin-guide.md');
    if (name === 'accuracy_reward' || name === 'reasoning_accuracy_reward') context.note('reward_funcs', `${name} reads LaTeX as TRL’s does, but no matrices or integrals; units count: rows whose \`solution\` it cannot read are left out of it`);
    rewards.push(rewardNames[name] ?? name);
  }
  if (rewards.length > 0) context.set('reward', rewards);
}
