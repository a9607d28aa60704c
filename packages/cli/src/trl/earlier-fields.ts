import { each, honoured, ignored, refused, type TrlFields } from './field';

const prompts = 'prompts are not cut on their own: `max_length`, or `max_completion_length`, is the limit. TRL 1.x has no such field';

/** Names that TRL 1.16 has no more, or that recipes around it use (alignment-handbook, open-r1): configurations in the wild are full of them. */
export const earlierFields: TrlFields = {
  torch_dtype: ignored('weights are trained in fp32; now `dtype`', 'auto', 'float32'),
  use_flash_attention_2: ignored('attention has one implementation; now `attn_implementation`', false, true),
  max_prompt_length: ignored(prompts),
  evaluation_strategy: honoured('now `eval_strategy`', { as: 'evalStrategy' }),
  warmup_ratio: honoured('a share of all steps; now `warmup_steps` below 1'),
  overwrite_output_dir: honoured('starts over in a folder that holds a run'),
  logging_dir: honoured('of TensorBoard’s event files'),
  group_by_length: ignored('batches are never padded: nothing is gained by it', false),
  preprocessing_num_workers: ignored('rows are made ready as they are needed'),
  save_safetensors: ignored('weights are always safetensors', true),
  no_cuda: ignored('now `use_cpu`', false, true),
  num_processes: ignored('one process trains, on one machine'),
  ...each('vllm_device vllm_dtype', ignored('completions come from the engine of this process')),
  hub_model_revision: ignored('training uploads nothing'),
  chat_template: refused('the chat template is that of the model’s folder', 'write it to chat_template.jinja there'),
  dataset_mixture: honoured('of the alignment-handbook: as `datasets` and `test_split_size`', { part: 'rows' }),
  dataset_mixer: honoured('of the alignment-handbook: one dataset with its share, which is 1', { part: 'rows' }),
  dataset_splits: honoured('of the alignment-handbook: the training split, and the one for evaluation', { part: 'rows' }),
  dataset_configs: honoured('one configuration of a dataset on the hub', { part: 'rows' }),
};

/** The same of `sft` alone. */
export const earlierSftFields: TrlFields = { max_seq_length: honoured('now `max_length`', { as: 'maxLength' }) };
