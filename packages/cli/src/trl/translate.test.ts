import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dpoConfig } from '@espalier/dpo';
import { sftConfig } from '@espalier/sft';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfigFile } from '../config-file';
import { fieldsOf } from '../fields';
import { translateTrl } from './translate';

const of = (command: string, given: Record<string, unknown>) => translateTrl(command, given, 'trl.yaml').values;
const notes = (command: string, given: Record<string, unknown>) => translateTrl(command, given, 'trl.yaml').notes;

describe('one by one', () => {
  it('keys of ours and camelCase stay as they are; commands that train nothing have no table', () => {
    const ours = { maxLength: 5, 'reward': ['numeric'], lora_rank: 4, torchDtype: 'x', deepspeedConfig: 1 };
    expect(translateTrl('sft', ours, 'a.yaml')).toEqual({ values: ours, notes: [] });
    expect(translateTrl('generate', { optim: 'sgd' }, 'a.yaml')).toEqual({ values: { optim: 'sgd' }, notes: [] });
    expect(notes('kto', { torch_dtype: 'bfloat16' })).toHaveLength(1);
  });

  it('the optimiser is AdamW by any name', () => {
    for (const optim of ['adamw_torch', 'adamw_torch_fused', 'paged_adamw_32bit']) expect(of('dpo', { optim })).toEqual({});
    expect(() => of('dpo', { optim: 'lion_32bit' })).toThrow('trl.yaml: `optim` is refused: the optimiser is AdamW in 32 bits (optim: adamw_torch)');
  });

  it('trackers that are not here are left out, unless a plugin may bring them', () => {
    expect(translateTrl('sft', { report_to: ['wandb', 'tensorboard'] }, 'a.yaml')).toEqual({ values: { report_to: ['tensorboard'] }, notes: [expect.stringContaining('wandb left out')] });
    expect(of('sft', { report_to: 'wandb' })).toEqual({});
    expect(of('sft', { report_to: 'wandb', plugin: ['espalier-plugin-wandb'] })).toMatchObject({ report_to: 'wandb' });
  });

  it('null is a value where a field has no limit with it', () => {
    const dir = mkdtempSync(join(tmpdir(), 'espalier-null-'));
    const path = join(dir, 'a.yaml');
    writeFileSync(path, 'max_length: null\nrun_name: null\n');
    for (const config of [sftConfig, dpoConfig]) expect(readConfigFile(path, fieldsOf(config.shape))).toEqual({ maxLength: null });
    rmSync(dir, { recursive: true });
  });

  it('a field under two names is refused', () => {
    expect(() => of('sft', { max_length: 1, max_seq_length: 2 })).toThrow('`max_seq_length` is given twice: as `max_length` too');
    expect(() => of('sft', { eval_strategy: 'no', evaluation_strategy: 'no' })).toThrow('given twice');
  });

  it('the environment is set', () => {
    delete process.env['ESPALIER_TRL_TEST'];
    expect(of('sft', { env: { ESPALIER_TRL_TEST: 1 } })).toEqual({});
    expect(process.env['ESPALIER_TRL_TEST']).toBe('1');
    delete process.env['ESPALIER_TRL_TEST'];
    expect(() => of('sft', { env: 'A=1' })).toThrow('`env` is refused');
  });
});

describe('adapters', () => {
  it('say nothing without use_peft, as in TRL', () => {
    expect(translateTrl('sft', { lora_r: 64, lora_alpha: 16 }, 'a.yaml')).toEqual({ values: {}, notes: ['a.yaml: `lora_r`: it and lora_alpha say nothing without `use_peft: true`, as in TRL: all weights are trained'] });
  });
  it('have the scale that TRL would give them', () => {
    expect(of('sft', { use_peft: true })).toEqual({ usePeft: true, loraRank: 16, loraAlpha: 32 });
    expect(of('sft', { use_peft: true, lora_r: 64, lora_alpha: 16, use_rslora: true })).toEqual({ usePeft: true, loraRank: 64, loraAlpha: 16 * 8 }); // alpha / √r = 2 = 128 / r
    expect(of('sft', { use_peft: true, lora_target_modules: ['all-linear'] })).not.toHaveProperty('loraTargetModules');
    expect(of('sft', { use_peft: true, lora_target_modules: ['q_proj', 'v_proj'] })).toMatchObject({ loraTargetModules: ['q_proj', 'v_proj'] });
    expect(() => of('sft', { use_peft: true, lora_target_modules: '.*proj' })).toThrow('no name of a layer');
    expect(() => of('sft', { use_peft: true, lora_r: 0 })).toThrow('`lora_r` is refused: it is 0');
  });
});

describe('models and rewards', () => {
  it('a revision belongs to a hub id', () => {
    expect(of('sft', { model_name_or_path: 'a/b', model_revision: 'main' })).toEqual({ model: 'a/b' });
    expect(of('sft', { model_name_or_path: 'a/b', model_revision: 'v2' })).toEqual({ model: 'a/b@v2' });
    expect(translateTrl('sft', { model_name_or_path: '.', model_revision: 'v2' }, 'a.yaml')).toMatchObject({ values: { model: '.' }, notes: [expect.stringContaining('not asked for by revision')] });
  });
  it('rewards of TRL have names here; functions of Python do not', () => {
    expect(of('grpo', { reward_funcs: ['get_soft_overlong_punishment', 'numeric=0.5', 'repetition'], reward_model_name_or_path: 'rm' })).toEqual({ reward: ['reward_model:path=rm', 'length:max_length=1280,cache=256,name=soft_overlong_punishment', 'numeric=0.5', 'repetition'] });
    expect(() => of('grpo', { reward_funcs: ['my_lib.rewards.good'] })).toThrow('a function in Python');
    expect(of('grpo', { reward_funcs: ['accuracy_reward', 'reasoning_accuracy_reward'] })).toEqual({ reward: ['math:column=solution,latex_only=true,name=accuracy_reward', 'reasoning_accuracy:column=solution,name=reasoning_accuracy_reward'] });
  });
});

describe('rows', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'espalier-trl-rows-'));
    mkdirSync(join(dir, 'folder'));
    for (const name of ['folder/train.jsonl', 'folder/test.jsonl', 'folder/train_sft.jsonl', 'rows.jsonl']) writeFileSync(join(dir, name), '{"text":"a"}\n');
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it('of the hub, with configuration and split', () => {
    expect(of('sft', { dataset_name: 'a/b' })).toEqual({ dataset: 'a/b' });
    expect(of('sft', { dataset_name: 'a/b', dataset_config: 'main', dataset_train_split: 'train_sft', dataset_streaming: true })).toEqual({ dataset: 'hf://datasets/a/b/main/train_sft', datasetStreaming: true });
    expect(of('dpo', { dataset_name: 'a/b', eval_strategy: 'steps' })).toMatchObject({ dataset: 'a/b', evalDataset: 'hf://datasets/a/b/test' });
    expect(of('dpo', { dataset_name: 'a/b', eval_strategy: 'no' })).not.toHaveProperty('evalDataset');
    expect(of('dpo', { dataset_name: 'a/b', eval_strategy: 'steps', eval_dataset: 'held.jsonl' })).toMatchObject({ eval_dataset: 'held.jsonl' });
    expect(of('dpo', { dataset_mixer: { 'a/b': 1 }, dataset_splits: ['train_prefs', 'test_prefs'], evaluation_strategy: 'epoch' })).toMatchObject({ dataset: 'hf://datasets/a/b/train_prefs', evalDataset: 'hf://datasets/a/b/test_prefs' });
    expect(of('grpo', { dataset_name: 'a/b', dataset_configs: ['all'] })).toEqual({ dataset: 'hf://datasets/a/b/all/train' });
  });

  it('of files and folders', () => {
    const [file, folder] = [join(dir, 'rows.jsonl'), join(dir, 'folder')];
    expect(of('sft', { dataset_name: folder, dataset_train_split: 'train_sft', eval_strategy: 'epoch' })).toMatchObject({ dataset: join(folder, 'train_sft.jsonl'), evalDataset: join(folder, 'test.jsonl') });
    expect(() => of('sft', { dataset_name: folder, dataset_train_split: 'train' })).toThrow('has 2 files of the split train');
    expect(() => of('sft', { dataset_name: file, dataset_train_split: 'train_sft' })).toThrow('has no split train_sft');
    expect(notes('sft', { dataset_name: file, eval_strategy: 'epoch' })).toEqual([expect.stringContaining('held-out rows are `eval_dataset: held-out.jsonl`')]);
    expect(of('sft', { datasets: [{ path: 'json', data_files: file, columns: ['text'] }], test_split_size: 0.25, eval_strategy: 'epoch' })).toMatchObject({ dataset: `${file}#split=train:0.75,test:0.25;take=train`, evalDataset: `${file}#split=train:0.75,test:0.25;take=test` });
    expect(of('sft', { dataset_mixture: { datasets: [{ id: 'a/b', config: 'default', split: 'train_sft', weight: 1 }], seed: 0 } })).toEqual({ dataset: 'hf://datasets/a/b/default/train_sft' });
  });

  it('are refused with a reason where there is no way', () => {
    expect(() => of('sft', { datasets: [{ path: 'a/b' }, { path: 'c/d' }] })).toThrow('2 datasets (one: put their rows');
    expect(() => of('sft', { datasets: [{ path: 'a/b', fraction: 0.5 }] })).toThrow('a share of a dataset');
    expect(() => of('sft', { datasets: [{ path: 'a/b', data_dir: 'x' }] })).toThrow('`data_dir` is not read');
    expect(() => of('sft', { datasets: [{ path: 'a/b', revision: 'x' }] })).toThrow('an entry has `revision`');
    expect(() => of('sft', { dataset_name: 'a/b', test_split_size: 2000 })).toThrow('a share of the rows below 1');
    expect(() => of('sft', { dataset_mixer: { 'a/b': 0.5 } })).toThrow('`dataset_mixer` is refused');
    expect(() => of('dpo', { dataset_name: 'a/b', dataset_streaming: true })).toThrow('takes rows that fit memory');
  });
});
