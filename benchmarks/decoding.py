"""What fast decoding changes: a trained model's answers on the embedded world saved as JPEGs, read both ways.

Run it: ``python -m benchmarks.decoding --checkpoint runs/mini/ce/checkpoints/last.ckpt``. One JSON line for each size
of the files: accuracies in percent, and how far pixels differ in levels of 0..255, at the size that the model takes.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from starft import Classifier, load
from starft.clip import build_clip
from starft.data.fast_decoding import FastTransform, prepared_fast
from starft.data.images import prepared
from starft.data.transforms import eval_transform, normalized
from starft.mini.splits import NAMES, Labelled, anywhere_pictures, home_pictures
from starft.mini.world import draw

SIDES = (96, 320, 640, 1280)
"""Of the files; the model takes 64 pixels, so the last three are scaled by 2, 4 and 8 while they are decoded."""


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Compare fast and exact decoding on a trained model.")
    parser.add_argument("--checkpoint", type=Path, help="of a run on the twelve species; none takes the shipped CLIP")
    parser.add_argument("--images", type=int, default=1200, help="of each of the sets id, ood and style")
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, help="of the files, in pixels")
    given = parser.parse_args()
    if given.checkpoint is not None:
        model = load(given.checkpoint, "cpu")
    else:
        model = Classifier(build_clip("starft-mini", "mini"), NAMES, ("a photo of a {}.",))
    rows = [
        *home_pictures("test-id", given.images, 0),
        *anywhere_pictures("test-ood", given.images, 0),
        *anywhere_pictures("test-style", given.images, 0, "sketch"),
    ]
    with tempfile.TemporaryDirectory() as made:
        for side in given.sides:
            print(json.dumps(compared(model, Path(made), rows, side)), flush=True)


@torch.no_grad()
def compared(model: Classifier, folder: Path, rows: list[Labelled], side: int) -> dict[str, object]:
    """Read pictures of one size both ways and let the model name them."""
    fast, exact = FastTransform(model.preprocessing), eval_transform(model.preprocessing)
    levels = 255 * torch.tensor(model.preprocessing.std).view(3, 1, 1)
    right, total, largest, others = {"exact": 0, "fast": 0}, 0.0, 0.0, 0
    for start in range(0, len(rows), 240):
        images: dict[str, list[Tensor]] = {"exact": [], "fast": []}
        for row in rows[start : start + 240]:
            path = str(folder / "a.jpg")
            picture = Image.fromarray(draw(row.picture)).resize((side, side), Image.Resampling.BICUBIC)
            picture.save(path, quality=90)
            images["exact"].append(prepared(path, exact))
            images["fast"].append(normalized(prepared_fast(path, fast), model.preprocessing))
        batches = {how: torch.stack(some) for how, some in images.items()}
        off = ((batches["fast"] - batches["exact"]) * levels).abs()
        total, largest = total + off.mean(dim=(1, 2, 3)).sum().item(), max(largest, off.max().item())
        named = {how: model.logits(batch).argmax(dim=-1) for how, batch in batches.items()}
        truth = torch.tensor([row.label for row in rows[start : start + 240]])
        right = {how: count + int((named[how] == truth).sum()) for how, count in right.items()}
        others += int((named["fast"] != named["exact"]).sum())
    accuracy = {how: round(100 * count / len(rows), 2) for how, count in right.items()}
    return {
        "row": "fast against exact",
        "side": side,
        "images": len(rows),
        "accuracy": accuracy,
        "points": round(accuracy["fast"] - accuracy["exact"], 2),
        "other_answers": others,
        "mean_difference": round(total / len(rows), 3),
        "max_difference": round(largest, 1),
    }


if __name__ == "__main__":
    main()
