"""README.md of an export: what the model is, how it is used, what its run found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starft.classifier import Classifier

RESULTS = "results.json"
METRICS = ("acc", "worst_group_acc", "group_mean_acc", "macro_f1", "text_head_acc")
"""What the table shows, where there is any of it."""

USE = {
    "open_clip": """import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{folder}")
tokenizer = open_clip.get_tokenizer("local-dir:{folder}")
```

or with its classes, by `pip install starft`:

```python
from starft import load

load("{folder}").predict(["photo.jpg"])""",
    "hf": """from transformers import CLIPModel, CLIPProcessor

model, processor = CLIPModel.from_pretrained("{folder}"), CLIPProcessor.from_pretrained("{folder}")""",
    "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{folder}/model.onnx")
features, logits = session.run(None, {{"image": pixels}})  # float32 (N, 3, {height}, {width}), see starft.json""",
    "head": """from safetensors.torch import load_file

head = load_file("{folder}/head.safetensors")["head"]  # (classes, features), scaled: logits = features @ head.T""",
}
FRONT = "---\nlibrary_name: {library}\npipeline_tag: zero-shot-image-classification\ntags:\n- clip\n- starft\n---"
LIBRARY = {"open_clip": "open_clip", "hf": "transformers", "onnx": "onnx", "head": "starft"}


def card(model: Classifier, form: str, folder: str, results: Mapping[str, Any] | None) -> str:
    """Return the text of a model card.

    Args:
        model: What is exported.
        form: Which format.
        folder: How the folder is called in the example.
        results: What results.json of the run holds; null where it wasn't tested.
    """
    height, width = model.preprocessing.size
    names = [_plain(name) for name in model.class_names[:100]]
    more = f", and {len(model.class_names) - 100} more" if len(model.class_names) > 100 else ""
    head = "a trained linear head" if model.linear_head is not None else "the zero-shot head of the tuned text tower"
    parts = [
        FRONT.format(library=LIBRARY[form]),
        f"# {_plain(folder)}",
        f"A CLIP model fine-tuned with [starft](https://arxiv.org/abs/2505.13232), for images of {height} x {width}, "
        f"scored by {head}.",
        f"## Use\n\n```python\n{USE[form].format(folder=folder, height=height, width=width)}\n```",
        f"## Classes\n\n{', '.join(names)}{more}\n\nCaptions: " + ", ".join(f"`{one}`" for one in model.templates),
    ]
    parts.append(_results(results) if results is not None else "## Results\n\nThe run wasn't tested (`starft test`).")
    return "\n\n".join(parts) + "\n"


def results_of(checkpoint: Path) -> dict[str, Any] | None:
    """Return the results of the run that a checkpoint belongs to; null if there are none that can be read.

    Args:
        checkpoint: In ``checkpoints/`` of its run folder.
    """
    for folder in (checkpoint.parent.parent, checkpoint.parent):
        path = folder / RESULTS
        if path.is_file():
            try:
                held = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                return None
            return held if isinstance(held, dict) and isinstance(held.get("eval_sets"), dict) else None
    return None


def _results(results: Mapping[str, Any]) -> str:
    sets = {name: one.get("metrics", {}) for name, one in results["eval_sets"].items() if isinstance(one, dict)}
    shown = [metric for metric in METRICS if any(isinstance(held.get(metric), int | float) for held in sets.values())]
    lines = [f"| eval set | {' | '.join(shown)} |", "|---" * (len(shown) + 1) + "|"]
    for name, held in sets.items():
        cells = [f"{100 * held[metric]:.1f}" if isinstance(held.get(metric), int | float) else "" for metric in shown]
        lines.append(f"| {_plain(name)} | {' | '.join(cells)} |")
    versions = results.get("versions") or {}
    told = [
        f"seed {results.get('seed')}",
        f"commit `{results.get('git_commit')}`",
        *(f"{name} {versions[name]}" for name in ("starft", "torch", "open_clip_torch") if name in versions),
    ]
    return "## Results\n\nIn %, by `starft test`:\n\n" + "\n".join(lines) + f"\n\nOf one run: {', '.join(told)}."


def _plain(text: str) -> str:
    """Return a name that no Markdown or HTML comes out of."""
    for sign in "\\`*_{}[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
