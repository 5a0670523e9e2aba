#!/usr/bin/env bash
# torchmetrics 1.9.0: the macro average of MulticlassAUROC takes 0 for a class without a sample in the target, though its
# curve isn't defined. A classifier that ranks every sample perfectly gets 0.667 of 1 if one of three classes is absent, as
# rare classes are in a small validation set.
# Seen: 1.9.0 macro 0.667, by class [1.0, 1.0, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torchmetrics==1.9.0" "torch==2.14.1" "numpy<3"
"$folder/venv/bin/python" - <<'PYTHON'
import warnings

import torch
import torchmetrics
from torchmetrics.classification import MulticlassAUROC

warnings.simplefilter("ignore")
probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1]])
target = torch.tensor([0, 1, 0, 1])
macro = float(MulticlassAUROC(num_classes=3, average="macro")(probabilities, target))
by_class = MulticlassAUROC(num_classes=3, average=None)(probabilities, target).tolist()
print(f"{torchmetrics.__version__} macro {macro:.3f}, by class {by_class}")
assert (round(macro, 3), by_class) == (0.667, [1.0, 1.0, 0.0]), "the behaviour has changed"
PYTHON
