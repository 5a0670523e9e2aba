"""Turn a pre-training checkpoint into the weights that the package ships.

``python -m starft.mini.weights CHECKPOINT`` writes ``starft-mini.safetensors`` (float16) and its checksum; with
``--tag mini_weak`` those of another world, without the tokens that no caption had.
"""

import hashlib
from pathlib import Path

import torch
from jsonargparse import auto_cli
from safetensors.torch import save

from starft.clip.build import load_tokenizer
from starft.clip.model_names import MINI_FOLDER
from starft.clip.shipped_weights import MINI_TAGS, mini_path, without_unused_tokens
from starft.errors import ConfigError
from starft.files.atomic import replace_file
from starft.runs.checkpoints import check_checkpoint

STUDENT = "clip.model."


def ship(checkpoint: Path, folder: Path = MINI_FOLDER, tag: str = "mini") -> Path:
    """Write the student of a checkpoint as float16 safetensors, with its SHA-256 beside it.

    Args:
        checkpoint: A checkpoint of the pre-training run.
        folder: Where the package keeps its weights.
        tag: Which weights they are.

    Returns:
        The weight file.

    Raises:
        ConfigError: There is no such tag.
        WeightsError: The checkpoint can't be read.
    """
    if tag not in MINI_TAGS:
        raise ConfigError(f"There are no weights {tag!r}; give one of {', '.join(MINI_TAGS)}.")
    check_checkpoint(checkpoint)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = content["state_dict"]
    student = {key.removeprefix(STUDENT): value.half() for key, value in state.items() if key.startswith(STUDENT)}
    if tag != "mini":
        facts = content["starft"]
        captions = [template.format(name) for template in facts["templates"] for name in facts["class_names"]]
        student = without_unused_tokens(student, load_tokenizer(facts["model_name"])(captions).flatten().tolist())
    weights, path = save(student), mini_path(tag, folder)
    replace_file(path, weights)
    replace_file(path.with_suffix(".sha256.txt"), f"{hashlib.sha256(weights).hexdigest()}  {path.name}\n".encode())
    return path


if __name__ == "__main__":
    auto_cli(ship)
