"""What TRL's GRPOTrainer and RLOOTrainer do on a tiny model: python3 tools/parity/policy.py (trl==1.16.0, torch, transformers).

Trains packages/models/fixtures/smollm2 for 20 optimiser steps in fp32 with the trainers themselves, except that completions (and, where the mismatch with a
sampler is corrected, its log-probs) are given: `_generate_single_turn` is overridden. Rewards are a function of the completion's ids. Writes into
packages/grpo/fixtures/parity: <case>.json (options by TRL's names, loss and metrics of every step), data.json (prompts and completions) and
<case>.safetensors (the gradient of every parameter at the first step). Gradients are not clipped. packages/grpo/src/trainer-parity.test.ts runs the same.
"""
import json
import os
import random
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

torch.set_num_threads(1)
assert trl.__version__ == "1.16.0", trl.__version__
root = Path(__file__).resolve().parents[2] / "packages"
out = root / "grpo" / "fixtures" / "parity"
out.mkdir(parents=True, exist_ok=True)
checkpoint = str(root / "models" / "fixtures" / "smollm2")
tokenizer = AutoTokenizer.from_pretrained(checkpoint)

GENERATIONS = 4
EOS = tokenizer.eos_token_id
rng = random.Random(5)
prompts = ["two plus two is", "the sky is", "a dog is an", "say hello"]


def load():
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    # This checkpoint pads with its end-of-turn token, and torch's padding_idx would leave that token's embedding without the gradient of the turns that it ends.
    model.get_input_embeddings().padding_idx = None
    return model


def completion(truncated):
    ids = [rng.randint(20, 260) for _ in range(rng.randint(2, 6))]
    return ids if truncated else ids + [EOS]


completions = [[completion(truncated=k == 3 and i % 2 == 0) for k in range(GENERATIONS)] for i in range(len(prompts))]


def sampler_logps():
    """The first weights' log-probs, as a sampler would report them that computes coarsely."""
    model = load()
    found = []
    for prompt, group in zip(prompts, completions):
        ids = tokenizer(prompt)["input_ids"]
        rows = []
        for sampled in group:
            with torch.no_grad():
                logits = model(torch.tensor([ids + sampled])).logits[0].log_softmax(-1)
            rows.append([round(logits[len(ids) + t - 1, token].item() + rng.gauss(0, 0.3), 4) for t, token in enumerate(sampled)])
        found.append(rows)
    return found


logps = sampler_logps()
reward_of = lambda ids: (sum(ids) % 11) / 10
by_prompt = {tuple(tokenizer(prompt)["input_ids"]): i for i, prompt in enumerate(prompts)}


def reward(completion_ids, **kwargs):
    return [reward_of(ids) for ids in completion_ids]


def take(prompt_ids):
    """The completions of the prompts, each prompt standing there once for each of them."""
    seen = {}
    found = []
    for ids in prompt_ids:
        i = by_prompt[tuple(ids)]
        k = seen.get(i, 0)
        seen[i] = (k + 1) % GENERATIONS
        found.append((completions[i][k], logps[i][k]))
    return found


class FixedGRPO(GRPOTrainer):
    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        found = take(prompt_ids)
        return [ids for ids, _ in found], [list(values) for _, values in found] if self.use_vllm else None


class FixedRLOO(RLOOTrainer):
    def _generate_single_turn(self, prompt_ids, *args, **kwargs):
        return [ids for ids, _ in take(prompt_ids)]


cases = {
    "grpo": (FixedGRPO, GRPOConfig, dict()),
    "grpo-kl": (FixedGRPO, GRPOConfig, dict(beta=0.1, num_iterations=2, epsilon_high=0.28, scale_rewards="batch", temperature=0.7)),
    "grpo-masked": (FixedGRPO, GRPOConfig, dict(loss_type="dr_grpo", mask_truncated_completions=True, scale_rewards="none", num_iterations=2, delta=1.5)),
    "grpo-sequence": (FixedGRPO, GRPOConfig, dict(loss_type="grpo", importance_sampling_level="sequence", num_iterations=2, beta=0.02, entropy_coef=0.01)),
    "grpo-token-truncate": (FixedGRPO, GRPOConfig, dict(vllm_importance_sampling_mode="token_truncate", vllm_importance_sampling_clip_max=1.2, num_iterations=2)),
    "grpo-sequence-mask": (FixedGRPO, GRPOConfig, dict(vllm_importance_sampling_mode="sequence_mask", vllm_importance_sampling_clip_max=2.0, off_policy_mask_threshold=0.1)),
    "grpo-adaptive": (FixedGRPO, GRPOConfig, dict(use_adaptive_entropy=True, entropy_target=5.1, entropy_coef=0.05, entropy_coef_delta=0.01, num_iterations=2, top_entropy_quantile=0.6)),
    "rloo": (FixedRLOO, RLOOConfig, dict(beta=0.05)),
    "rloo-normalized": (FixedRLOO, RLOOConfig, dict(beta=0.1, num_iterations=2, normalize_advantages=True, reward_clip_range=[0.2, 0.7], epsilon=0.1, temperature=1.3)),
    "rloo-synced": (FixedRLOO, RLOOConfig, dict(beta=0.2, sync_ref_model=True, ref_model_mixup_alpha=0.6, ref_model_sync_steps=3)),
}


class Gradients(TrainerCallback):
    found = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.found is None:
            self.found = {name: p.grad.detach().clone().contiguous() for name, p in model.named_parameters()}


(out / "data.json").write_text(json.dumps(dict(prompts=prompts, prompt_ids=[tokenizer(p)["input_ids"] for p in prompts], completions=completions, sampler_logps=logps, eos=EOS)) + "\n")
for name, (trainer_class, config_class, options) in cases.items():
    gradients = Gradients()
    with tempfile.TemporaryDirectory() as folder:
        args = config_class(
            output_dir=folder, per_device_train_batch_size=2 * GENERATIONS, num_generations=GENERATIONS, max_completion_length=8, max_steps=20, learning_rate=1e-3, max_grad_norm=0.0,
            shuffle_dataset=False, logging_steps=1, save_strategy="no", report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False, seed=1, disable_tqdm=True,
            optim="adamw_torch", dataloader_pin_memory=False, **options,
        )
        trainer = trainer_class(model=load(), reward_funcs=reward, args=args, train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]), processing_class=tokenizer, callbacks=[gradients])
        if any(option.startswith("vllm_") for option in options):
            trainer.use_vllm = True  # for what follows generation alone
        trainer.train()
    keep = ("loss", "grad_norm", "reward", "frac_reward_zero_std", "completions/", "clip_ratio/", "kl", "entropy", "policy_loss", "sampling/")
    steps = [{k: v for k, v in record.items() if k.startswith(keep)} for record in trainer.state.log_history if "loss" in record]
    assert len(steps) == 20, len(steps)
    record = dict(versions=dict(trl=trl.__version__, torch=torch.__version__, transformers=transformers.__version__), options=options, steps=[steps[0]] + [{k: s[k] for k in ("loss", "grad_norm", "kl", "entropy_coef") if k in s} for s in steps[1:]])
    (out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    save_file(gradients.found, out / f"{name}.safetensors")
    print(name, [s["loss"] for s in steps[:3]], steps[-1]["loss"])
