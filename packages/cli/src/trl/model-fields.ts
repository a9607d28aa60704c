import { each, honoured, ignored, refused, type TrlFields } from './field';

const quantised = 'nothing trains in 4 or 8 bits: weights that are stored so are made fp32 when they are read';

/** TRL's `ModelConfig`. */
export const modelFields: TrlFields = {
  model_name_or_path: honoured('a folder, a `.gguf` or `.safetensors` file, or a hub id', { part: 'model' }),
  model_revision: honoured('of a model on the hub', { part: 'model' }),
  dtype: ignored('weights are trained in fp32, whatever they are stored in; see `bf16`', 'float32', 'auto'),
  attn_implementation: ignored('attention has one implementation, a fused one', 'eager', 'sdpa'),
  use_peft: honoured('LoRA', { part: 'adapters' }),
  lora_r: honoured('with `use_peft: true`', { part: 'adapters' }),
  lora_alpha: honoured('with `use_peft: true`', { part: 'adapters' }),
  lora_target_modules: honoured('names of linear layers, or `all-linear`. Left out, all linear layers of the blocks get adapters; PEFT’s own default is `q_proj` and `v_proj` for most models', { part: 'adapters' }),
  use_rslora: honoured('the scale is alpha / √r: `lora_alpha` is written so that it comes out', { part: 'adapters' }),
  lora_dropout: ignored('adapters have no dropout', 0.05, 0),
  lora_target_parameters: refused('adapters are for linear layers', '`lora_target_modules`'),
  lora_modules_to_save: refused('besides the adapters nothing is trained', 'leave it out, or train all weights without `use_peft`', []),
  lora_task_type: ignored('the command says what is trained', 'CAUSAL_LM', 'SEQ_CLS'),
  use_dora: refused('DoRA is not built', 'LoRA: leave it out', false),
  ...each('load_in_8bit load_in_4bit', refused(quantised, 'leave it out', false)),
  bnb_4bit_quant_type: ignored('there is no quantised training', 'nf4', 'fp4'),
  use_bnb_nested_quant: ignored('there is no quantised training', false, true),
  bnb_4bit_quant_storage: ignored('there is no quantised training'),
};
