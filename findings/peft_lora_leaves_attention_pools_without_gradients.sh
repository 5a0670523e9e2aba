#!/usr/bin/env bash
# peft 0.21.2 on a ResNet of open_clip 3.3.0: LoRA on the four projections of its attention pool trains nothing. The pool reads
# their weights and never calls the layers, so an update that is added to a layer's output is never computed and gets no
# gradient. peft wraps all four without a word, counts their numbers as trainable, and only the convolution named beside learns.
# Seen: 0.21.2 with a gradient: conv1 True, q_proj False, k_proj False, v_proj False, c_proj False; warnings: 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "peft==0.21.2" "open_clip_torch==3.3.0" "torch==2.14.1" "torchvision==0.29.1" "transformers==5.24.0"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import open_clip
import peft
import torch

torch.manual_seed(0)
names = ("conv1", "q_proj", "k_proj", "v_proj", "c_proj")
targets = ["conv1", *(f"attnpool.{name}" for name in names[1:])]
tower = open_clip.create_model("RN50").visual
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    model = peft.get_peft_model(tower, peft.LoraConfig(r=2, target_modules=targets))
model(torch.randn(1, 3, 224, 224)).sum().backward()
updates = {name: [weight for key, weight in model.named_parameters() if f".{name}.lora_" in key] for name in names}
assert all(len(own) >= 2 and all(weight.requires_grad for weight in own) for own in updates.values())
learns = {name: any(weight.grad is not None for weight in own) for name, own in updates.items()}
print(peft.__version__, "with a gradient:", ", ".join(f"{name} {does}" for name, does in learns.items()) + "; warnings:", len(said))
assert learns == dict(zip(names, (True, False, False, False, False))) and not said, "the behaviour has changed"
PYTHON
