import { each, honoured, ignored, refused, type TrlFields } from './field';

const template = 'the chat template is that of the model’s folder';
const padding = 'batches are not padded';
const init = 'a model is opened in one way';
/** Fields that the trainers' configurations declare one by one, though all have them. */
export const trainerFields: TrlFields = {
  model_init_kwargs: refused(init, 'leave it out; `dtype` and `attn_implementation` need no answer', {}),
  trust_remote_code: ignored('no code of a model is run', false, true),
  router_aux_loss_coef: ignored('there are no mixtures of experts', 0),
  pad_to_multiple_of: ignored(padding, 'auto'),
  activation_offloading: ignored('there is one memory', false),
  pad_token: ignored(padding),
  dataset_num_proc: ignored('rows are made ready as they are needed'),
};

/** TRL's `SFTConfig`, without what it inherits. */
export const sftFields: TrlFields = {
  neftune_noise_alpha: honoured(),
  chat_template_path: refused(template, 'copy the template to chat_template.jinja in the model’s folder'),
  ...each('dataset_text_field shuffle_dataset packing packing_strategy eval_packing completion_only_loss assistant_only_loss truncation_mode', honoured()),
  assistant_only_loss: honoured('works without generation markers in the template too'),
  max_length: honoured('null: no limit'),
  padding_free: honoured('changes nothing: batches are never padded'),
  loss_type: honoured('`nll`, `dft`; `chunked_nll`, a former name, is `nll`', { read: (value) => (value === 'chunked_nll' ? 'nll' : value) }),
  dataset_kwargs: refused('rows are made ready in one way', 'rows with `input_ids` are taken as they are', {}),
  eos_token: refused('the end-of-sequence token is the tokenizer’s', 'set `eos_token` in the model’s tokenizer_config.json'),
};

/** TRL's `DPOConfig`, without what it inherits. */
export const dpoFields: TrlFields = {
  disable_dropout: honoured('models here have no dropout: `false` is refused'),
  max_length: honoured('null: no limit'),
  ...each('truncation_mode precompute_ref_log_probs precompute_ref_batch_size loss_weights ld_alpha f_divergence_type f_alpha_divergence_coef label_smoothing beta use_weighting discopop_tau', honoured()),
  loss_type: honoured('one, or a list'),
  ...each('sync_ref_model ref_model_mixup_alpha ref_model_sync_steps', honoured()),
  padding_free: ignored(padding, false, true),
};

const vllm = 'completions come from the engine of this process, which holds the weights that are trained';
const sampling = honoured('only at its neutral value: the learner’s log-probs are those of the whole distribution');

/** TRL's `GRPOConfig`, without what it inherits. */
export const grpoFields: TrlFields = {
  disable_dropout: ignored('models here have no dropout', false, true),
  cast_lm_head_to_fp32: ignored('log-probs are summed in fp32', false, true),
  ...each('num_generations max_completion_length generation_batch_size steps_per_generation temperature shuffle_dataset', honoured()),
  num_generations_eval: honoured('left out: one greedy completion a held-out row', { as: 'evalSamples' }),
  ds3_gather_for_generation: ignored('one process trains, on one machine', true, false),
  ...each('top_p top_k min_p repetition_penalty', sampling),
  generation_kwargs: refused('generation takes the fields of this table', 'temperature, max_completion_length', {}),
  chat_template_kwargs: refused('prompts are rendered without variables', 'write what they would add into the prompts', {}),
  cache_implementation: ignored(vllm),
  ...each('use_vllm use_transformers_continuous_batching use_transformers_paged vllm_enable_sleep_mode', ignored(vllm, false)),
  vllm_mode: ignored(vllm, 'colocate', 'server'),
  vllm_model_impl: ignored(vllm, 'vllm', 'transformers'),
  vllm_server_host: ignored(vllm, '0.0.0.0'),
  vllm_server_port: ignored(vllm, 8000),
  vllm_server_timeout: ignored(vllm, 240),
  vllm_group_port: ignored(vllm, 51216),
  vllm_gpu_memory_utilization: ignored(vllm, 0.3),
  vllm_tensor_parallel_size: ignored(vllm, 1),
  ...each('vllm_server_base_url vllm_max_model_length transformers_continuous_batching_config', ignored(vllm)),
  vllm_structured_outputs_regex: refused('completions are sampled freely', 'a reward that asks for the form: `format`'),
  vllm_importance_sampling_correction: honoured('`true` corrects where sampler and learner have weights of their own, which the engine of this process has not', { as: 'importanceSamplingCorrection', read: (value) => (value === true ? 'auto' : value) }),
  vllm_importance_sampling_mode: honoured(undefined, { as: 'importanceSamplingMode' }),
  vllm_importance_sampling_clip_max: honoured('null: no bound', { as: 'importanceSamplingClipMax' }),
  vllm_importance_sampling_clip_min: honoured(undefined, { as: 'importanceSamplingClipMin' }),
  vllm_importance_sampling_cap: honoured('a former name of `vllm_importance_sampling_clip_max`', { as: 'importanceSamplingClipMax', read: (value) => value ?? undefined }),
  ...each('beta num_iterations epsilon delta epsilon_high sapo_temperature_neg sapo_temperature_pos vespo_k_pos vespo_lambda_pos vespo_k_neg vespo_lambda_neg', honoured()),
  ...each('importance_sampling_level reward_weights multi_objective_aggregation scale_rewards loss_type mask_truncated_completions top_entropy_quantile entropy_coef', honoured()),
  beta: honoured('0: no reference is kept'),
  ...each('use_adaptive_entropy entropy_coef_min entropy_coef_max entropy_coef_delta entropy_target off_policy_mask_threshold use_bias_correction_kl', honoured()),
  ...each('sync_ref_model ref_model_mixup_alpha ref_model_sync_steps', honoured()),
  max_tool_calling_iterations: refused('its tools are Python functions of a script', '`environment` with `max_turns`, one more'),
  log_completions: honoured('to samples.jsonl in the run’s folder'),
  log_multimodal: ignored('there are no images', true, false),
  num_completions_to_print: ignored('completions go to samples.jsonl, and to the report'),
  log_unique_prompts: ignored('samples.jsonl has every completion of a step', false, true),
  log_completions_hub_repo: ignored('completions stay in the run’s folder'),
};
