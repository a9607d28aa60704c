"""PyTorch and transformers at their best, without a trainer: torch_peer.py '{"model": FOLDER, "work": "train" | "generate", "how": …}'.

train, 8 × 128 tokens, fused AdamW: `autocast` (fp32 weights, bf16 autocast), `bfloat16` (bf16 weights), `medium` (fp32, set_float32_matmul_precision), `float32`.
generate, 64 + 64 tokens: `float32` or `bfloat16`; turns: {"batch": N}."""
import time

import serve
import torch
from transformers import AutoModelForCausalLM

options = serve.OPTIONS
how = options["how"]
torch.manual_seed(0)
if how == "medium":
    torch.set_float32_matmul_precision("medium")
model = AutoModelForCausalLM.from_pretrained(options["model"], dtype=torch.bfloat16 if how == "bfloat16" else torch.float32)
threads = torch.get_num_threads()

if options["work"] == "train":
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    ids = torch.randint(1000, 40000, (options.get("rows", 8), options.get("length", 128)))

    def step():
        start = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return time.perf_counter() - start

    first = step()
    for _ in range(options.get("warm", 3) - 1):
        step()
    serve.say(ready=True, first=first, threads=threads, versions=serve.versions())
    while True:
        serve.turn()
        serve.say(seconds=step())
else:
    model.eval()

    def generate(batch, new):
        ids = torch.randint(1000, 40000, (batch, 64))
        start = time.perf_counter()
        with torch.no_grad():
            model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, max_new_tokens=new, min_new_tokens=new)
        seconds = time.perf_counter() - start
        return dict(seconds=seconds, tokens=batch * new, perSecond=batch * new / seconds)

    generate(8, 4)
    serve.say(ready=True, threads=threads, versions=serve.versions())
    while True:
        serve.say(**generate(serve.turn()["batch"], 64))
