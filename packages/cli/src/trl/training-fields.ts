import { each, honoured, ignored, refused, type TrlFields } from './field';

/** Names of AdamW whose arithmetic is the one here. */
const adamw = ['adamw_torch', 'adamw_torch_fused', 'adamw_torch_xla', 'adamw_torch_npu_fused', 'adamw_hf', 'paged_adamw_32bit', 'adamw_apex_fused'];
/** Trackers of `transformers` that a plugin would have to bring. */
const services = ['azure_ml', 'clearml', 'codecarbon', 'comet_ml', 'dagshub', 'dvclive', 'flyte', 'mlflow', 'neptune', 'swanlab', 'trackio', 'wandb'];

const processes = 'one process trains, on one machine';
const pytorch = 'it says how PyTorch computes; the kernels here are others, with the same results';
const loader = 'it says how PyTorch loads batches; rows are read by the training process itself';
const upload = 'training uploads nothing: `uploadFolder` of @espalier/data/hub sends a finished model to the hub';
const log = 'what is said while a run goes is not set by fields';
const evaluation = 'evaluation computes the loss and the trainer’s metrics, on the rows alone';

/** `transformers.TrainingArguments`, with TRL's overrides: what every trainer inherits. */
export const trainingFields: TrlFields = {
  ...each('output_dir per_device_train_batch_size num_train_epochs max_steps learning_rate gradient_accumulation_steps', honoured()),
  per_device_train_batch_size: honoured('rows of a micro-batch; `grpo`: completions, as in TRL'),
  output_dir: honoured('left out: a new folder under `runs/`'),
  lr_scheduler_type: honoured('`linear`, `cosine`, `cosine_with_restarts`, `cosine_with_min_lr`, `polynomial`, `constant`, `constant_with_warmup`, `inverse_sqrt`, `warmup_stable_decay`'),
  lr_scheduler_kwargs: honoured(),
  warmup_steps: honoured('below 1: a share of all steps'),
  optim: honoured(`AdamW under any of its names (${adamw.map((name) => `\`${name}\``).join(', ')}); another optimiser is refused`, {
    read: (value, { refuse }) => (adamw.includes(String(value)) ? undefined : refuse('the optimiser is AdamW in 32 bits', `optim: ${adamw[0]}`)),
  }),
  optim_args: refused('the optimiser is AdamW, without further arguments', 'adam_beta1, adam_beta2, adam_epsilon and weight_decay'),
  optim_target_modules: refused('GaLore and APOLLO are not here', 'leave it out'),
  ...each('weight_decay adam_beta1 adam_beta2 adam_epsilon', honoured()),
  max_grad_norm: honoured('0: gradients are not clipped'),
  average_tokens_across_devices: ignored(processes, true, false),
  label_smoothing_factor: refused('the trainers’ losses smooth no labels', 'leave it out; `label_smoothing` of DPO is another field, and honoured', 0),

  bf16: honoured('matrix products in bf16 with fp32 sums; weights stay in fp32. Left out: bf16 where the processor has instructions for it'),
  fp16: ignored('there is no fp16: matrix products are in bf16 or fp32, see `bf16`', false),
  ...each('bf16_full_eval fp16_full_eval', ignored('evaluation computes as training does', false)),
  tf32: ignored(pytorch, true, false),
  gradient_checkpointing: honoured('TRL’s default is true, here it is false: the same numbers, with less memory or less time'),
  activation_checkpointing: honoured('another name of `gradient_checkpointing`', { as: 'gradientCheckpointing', read: (value) => value ?? undefined }),
  ...each('gradient_checkpointing_kwargs activation_checkpointing_kwargs', ignored('a block is computed again, in one way', {}, { use_reentrant: true }, { use_reentrant: false })),
  ...each('torch_compile use_liger_kernel use_cache', ignored(pytorch, false)),
  ...each('torch_compile_backend torch_compile_mode liger_kernel_config torch_empty_cache_steps', ignored(pytorch)),
  neftune_noise_alpha: refused('noise on embeddings is built for `sft`', 'leave it out'),
  auto_find_batch_size: ignored('micro-batches are cut by their tokens already, so that memory holds them', false),

  ...each('logging_strategy logging_first_step', honoured()),
  logging_steps: honoured('a whole number'),
  ...each('log_on_each_node', ignored(processes, true, false)),
  logging_nan_inf_filter: ignored('a loss that is no number ends the run', true, false),
  include_num_input_tokens_seen: ignored('`num_tokens` is always logged', 'no', 'all', 'non_padding', true, false),
  log_level: ignored(log, 'passive', 'info', 'warning'),
  log_level_replica: ignored(log, 'warning', 'passive', 'info'),
  disable_tqdm: ignored(log, true, false),
  report_to: honoured('`none`, `all`, `tensorboard`, or a tracker of a plugin; `metrics.jsonl` is always written. Other services are left out with a notice', {
    read(value, { given, note }) {
      const names = [value ?? []].flat().map(String);
      const absent = 'plugin' in given ? [] : names.filter((name) => services.includes(name));
      if (absent.length > 0) note(`${absent.join(', ')} left out: metrics go to metrics.jsonl, and to TensorBoard with \`tensorboard\`; others need a plugin`);
      const kept = names.filter((name) => !absent.includes(name));
      return absent.length === 0 ? value : kept.length === 0 ? undefined : kept;
    },
  }),
  run_name: honoured(),
  project: ignored('a project of Trackio’s', 'huggingface'),
  ...each('trackio_space_id trackio_bucket_id trackio_static_space_id', ignored('Trackio is not here', false)),

  eval_strategy: honoured('other than `no` it takes the rows of `dataset_test_split`, or of `eval_dataset`, a field of ours'),
  eval_steps: honoured('a whole number'),
  per_device_eval_batch_size: honoured(),
  eval_on_start: honoured(),
  eval_delay: ignored('evaluation begins with the first that is due', 0),
  ...each('prediction_loss_only batch_eval_metrics eval_use_gather_object', ignored(evaluation, false)),
  eval_do_concat_batches: ignored(evaluation, true, false),
  eval_accumulation_steps: ignored(evaluation),
  include_for_metrics: ignored(evaluation, []),

  save_strategy: honoured(),
  save_steps: honoured('a whole number'),
  save_total_limit: honoured(),
  save_only_model: ignored('a checkpoint always holds the optimiser: without it no run resumes', false),
  save_on_each_node: ignored(processes, false, true),
  enable_jit_checkpoint: ignored('SIGTERM and Ctrl-C always save', false, true),
  ...each('load_best_model_at_end metric_for_best_model greater_is_better', honoured()),
  resume_from_checkpoint: honoured('`true`, or a checkpoint’s folder; on the command line: `--resume`', { as: 'resume' }),
  ignore_data_skip: refused('a run resumes with the rows that would have come', 'leave it out', false),
  restore_callback_states_from_checkpoint: ignored('all that a run keeps is restored', false, true),

  push_to_hub: ignored(upload, false),
  ...each('hub_token hub_model_id hub_revision hub_private_repo', ignored(upload)),
  hub_strategy: ignored(upload, 'every_save', 'end', 'checkpoint', 'all_checkpoints'),
  hub_always_push: ignored(upload, false, true),

  ...each('seed data_seed', honoured()),
  full_determinism: ignored('runs are reproducible without it', false, true),
  use_cpu: ignored('the processor is what computes by default; `backend` says otherwise', false, true),
  accelerator_config: ignored(processes),
  parallelism_config: refused('training is not distributed', 'leave it out'),
  dataloader_drop_last: honoured(),
  dataloader_num_workers: ignored(loader, 0),
  ...each('dataloader_pin_memory dataloader_in_order', ignored(loader, true, false)),
  dataloader_persistent_workers: ignored(loader, false, true),
  ...each('dataloader_prefetch_factor dataloader_multiprocessing_context', ignored(loader)),
  remove_unused_columns: ignored('columns that a trainer does not know are kept: reward functions see them', true, false),
  label_names: ignored('trainers know their columns'),
  train_sampling_strategy: honoured('`random`, `sequential`; batches are never padded, so that there is nothing to gain by sorting rows by length'),
  length_column_name: ignored('rows are not sorted by length', 'length'),
  ...each('ddp_find_unused_parameters ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph ddp_backend', ignored(processes)),
  ddp_timeout: ignored(processes, 1800),
  ...each('fsdp fsdp_config deepspeed', ignored(`${processes}; a model must fit its memory`, {}, [])),
  local_rank: ignored(processes, -1),
  debug: ignored(pytorch, '', []),
  skip_memory_metrics: ignored(log, true, false),
  ...each('do_train do_eval do_predict', ignored('as in TRL: the command says what is done, and `eval_strategy` when there is an evaluation', true, false)),
};
