#!/usr/bin/env bash
# Lightning 2.6.6: a training that max_steps ends inside an epoch, saved and continued, never trains the rest of that epoch.
# Two epochs of 7 batches are planned. The first run ends after 4 steps; its checkpoint says that epoch 0 is done, so the
# second run begins with epoch 1: 11 of 14 steps, and no word about the other 3.
# Seen: 2.6.6 first [(0, 0), (0, 1), (0, 2), (0, 3)] second starts at (1, 0), 11 of 14 steps
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "lightning==2.6.6" "torch==2.14.1" "numpy<3"
cat > "$folder/finding.py" <<'PYTHON'
import logging
import sys
import warnings

import lightning as L
import torch
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.trained = []

    def training_step(self, batch, index):
        self.trained.append((self.current_epoch, index))
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(**limits):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return L.Trainer(default_root_dir=sys.argv[1], accelerator="cpu", **quiet, **limits)


batches, checkpoint = DataLoader(torch.ones(7, 1)), f"{sys.argv[1]}/stopped.ckpt"
first, second = Model(), Model()
stopped = trainer(max_steps=4, max_epochs=2)
stopped.fit(first, batches)
stopped.save_checkpoint(checkpoint)
trainer(max_epochs=2).fit(second, batches, ckpt_path=checkpoint)
steps = len(first.trained) + len(second.trained)
print(L.__version__, "first", first.trained, "second starts at", f"{second.trained[0]},", steps, "of 14 steps")
assert (second.trained[0], steps) == ((1, 0), 11), "the behaviour has changed"
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
