"""What TRL's GKDTrainer does on tiny models: python3 tools/parity/distill.py (trl==1.16.0, torch, transformers).

Distils packages/models/fixtures/llama from qwen3 for 20 optimiser steps in fp32 with the trainer itself, on the rows' own completions (`lmbda` 0). Writes into
packages/distill/fixtures/parity: <case>.json (options by TRL's names, losses) and <case>.safetensors (the gradient of every parameter at the first step), and
rows.jsonl. packages/distill/src/trainer-parity.test.ts runs the same.
"""
import json
import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl.experimental.gkd import GKDConfig, GKDTrainer

torch.set_num_threads(1)
assert trl.__version__ == "1.16.0", trl.__version__
root = Path(__file__).resolve().parents[2] / "packages"
models = root / "models" / "fixtures"
out = root / "distill" / "fixtures" / "parity"
out.mkdir(parents=True, exist_ok=True)

WORDS = "red green blue one two three sun moon tree river stone bread salt sky".split()
words = lambda seed, count: " ".join(WORDS[(seed * 7 + i * i * 3 + i) % len(WORDS)] for i in range(count))
rows = [{"messages": [{"role": "user", "content": words(i, 1 + i % 3)}, {"role": "assistant", "content": words(i + 4, 1 + i % 4)}]} for i in range(16)]
load = lambda name: AutoModelForCausalLM.from_pretrained(models / name, dtype=torch.float32, attn_implementation="eager")


class Gradients(TrainerCallback):
    found = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.found is None:
            self.found = {name: p.grad.detach().clone().contiguous() for name, p in model.named_parameters() if p.grad is not None}


(out / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
cases = {
    "gkd": dict(),
    "forward-kl": dict(beta=0.0, gradient_accumulation_steps=2, per_device_train_batch_size=2),
    "reverse-kl": dict(beta=1.0, temperature=0.7, max_length=30),
}
for name, options in cases.items():
    gradients = Gradients()
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(
            output_dir=folder, per_device_train_batch_size=4, max_steps=20, learning_rate=1e-3, max_grad_norm=0.0, lmbda=0.0, max_length=64, logging_steps=1, save_strategy="no",
            report_to="none", bf16=False, use_cpu=True, gradient_checkpointing=False, train_sampling_strategy="sequential", seed=1, disable_tqdm=True, optim="adamw_torch",
            dataloader_pin_memory=False,
        )
        trainer = GKDTrainer(
            model=load("llama"), teacher_model=load("qwen3"), args=GKDConfig(**{**settings, **options}), train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(models / "llama"), callbacks=[gradients],
        )
        trainer.train()
    steps = [dict(loss=r["loss"], grad_norm=r["grad_norm"]) for r in trainer.state.log_history if "loss" in r]
    assert len(steps) == 20, len(steps)
    versions = dict(trl=trl.__version__, torch=torch.__version__, transformers=transformers.__version__)
    (out / f"{name}.json").write_text(json.dumps(dict(versions=versions, options=options, steps=steps), indent=1) + "\n")
    save_file(gradients.found, out / f"{name}.safetensors")
    print(name, [s["loss"] for s in steps[:3]], steps[-1])
