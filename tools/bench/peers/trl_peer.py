"""TRL's own trainers: trl_peer.py '{"model": FOLDER, "algorithm": "sft" | "dpo" | "grpo", "how": "float32" | "bfloat16" | "autocast"}'.

`bfloat16`: the weights; `autocast`: fp32 weights with bf16 autocast. The same rows and settings as work/trainer.mjs."""
import tempfile
import time

import serve
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

options = serve.OPTIONS
path, algorithm, how, warm = options["model"], options["algorithm"], options["how"], options.get("warm", 3)
tokenizer = AutoTokenizer.from_pretrained(path)
model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16 if how == "bfloat16" else torch.float32)
text = "The quick brown fox jumps over the lazy dog. " * 20
common = dict(output_dir=tempfile.mkdtemp(), max_steps=1000, report_to=[], logging_steps=1, save_strategy="no", use_cpu=True,
              bf16=how == "autocast", fp16=False, gradient_checkpointing=False, learning_rate=1e-6, disable_tqdm=True)


class Turns(TrainerCallback):
    """Warm-up steps, then one each time that it is told to."""

    count = 0
    first = None

    def on_step_begin(self, *a, **k):
        if self.count >= warm:
            if self.count == warm:
                serve.say(ready=True, first=self.first, threads=torch.get_num_threads(), versions=serve.versions())
            serve.turn()
        self.start = time.perf_counter()

    def on_step_end(self, *a, **k):
        seconds = time.perf_counter() - self.start
        self.first = self.first or seconds
        if self.count >= warm:
            serve.say(seconds=seconds)
        self.count += 1


if algorithm == "sft":
    rows = Dataset.from_dict({"text": [text * 3] * 64})
    trainer = SFTTrainer(model=model, args=SFTConfig(per_device_train_batch_size=8, max_length=128, **common), train_dataset=rows,
                         processing_class=tokenizer, callbacks=[Turns()])
elif algorithm == "dpo":
    rows = Dataset.from_dict({"prompt": [text[: 100 + i] for i in range(32)], "chosen": [text[100:350]] * 32, "rejected": [text[50:300][::-1]] * 32})
    trainer = DPOTrainer(model=model, args=DPOConfig(per_device_train_batch_size=4, max_length=128, **common), train_dataset=rows,
                         processing_class=tokenizer, callbacks=[Turns()])
else:
    rows = Dataset.from_dict({"prompt": [[{"role": "user", "content": f"What is {i}+{i + 3}? Answer with a number and explain each step."}] for i in range(64)]})
    trainer = GRPOTrainer(model=model, train_dataset=rows, processing_class=tokenizer, callbacks=[Turns()],
                          reward_funcs=lambda completions, **k: [len(set(c[0]["content"].split())) / 50 for c in completions],
                          args=GRPOConfig(per_device_train_batch_size=8, num_generations=8, max_completion_length=64, beta=0.04, **common))
trainer.train()
