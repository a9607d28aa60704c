import { honoured, ignored, type TrlFields } from './field';

/** TRL's `ScriptArguments` and `DatasetMixtureConfig`: where the rows come from. */
export const scriptFields: TrlFields = {
  dataset_name: honoured('a file, a folder with a file for each split, a dataset of the hub, or a task', { part: 'rows' }),
  dataset_config: honoured('of a dataset on the hub', { part: 'rows' }),
  dataset_train_split: honoured('of a dataset on the hub, or of a folder', { part: 'rows' }),
  dataset_test_split: honoured('the held-out rows, where `eval_strategy` is not `no`', { part: 'rows' }),
  dataset_streaming: honoured('`sft`; other trainers refuse it', { part: 'rows' }),
  ignore_bias_buffers: ignored('it works around a fault of PyTorch’s DDP', false, true),
  datasets: honoured('one dataset: `path` or `id`, `name` or `config`, `data_files`, `split`. Several are refused: `concatenateDatasets` and `interleaveDatasets` of @espalier/data put rows together', { part: 'rows' }),
  streaming: honoured('as `dataset_streaming`', { part: 'rows' }),
  test_split_size: honoured('a share below 1', { part: 'rows' }),
  env: honoured('environment variables, set before anything is opened', {
    read(value, { refuse }) {
      if (value === null) return undefined;
      if (typeof value !== 'object' || Array.isArray(value)) return refuse(`it is ${JSON.stringify(value)}`, 'a mapping, such as env: { HF_HUB_OFFLINE: 1 }');
      for (const [name, text] of Object.entries(value as object)) process.env[name] = String(text);
      return undefined;
    },
  }),
};

/** What `trl grpo` takes besides. */
export const rewardScriptFields: TrlFields = {
  reward_funcs: honoured(
    '`accuracy_reward` and `reasoning_accuracy_reward` are `math` and `reasoning_accuracy` on the column `solution` (units count; no matrices), `think_format_reward` is `format`, `get_soft_overlong_punishment` is `length` with TRL’s lengths; also every name that `--reward` takes. Import paths of Python functions are refused',
    { part: 'rewards' },
  ),
  reward_model_name_or_path: honoured('as the first reward, `reward_model:path=…`', { part: 'rewards' }),
};
