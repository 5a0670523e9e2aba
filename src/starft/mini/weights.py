"""Turn a pre-training checkpoint into the weights that the package ships.

``python -m starft.mini.weights CHECKPOINT`` writes ``starft-mini.safetensors`` (float16) and its checksum.
"""

import hashlib
from pathlib import Path

import torch
from jsonargparse import auto_cli
from safetensors.torch import save

from starft.clip.build import MINI_FOLDER, MINI_MODEL
from starft.files.atomic import replace_file
from starft.runs.checkpoints import check_checkpoint

STUDENT = "clip.model."


def ship(checkpoint: Path, folder: Path = MINI_FOLDER) -> Path:
    """Write the student of a checkpoint as float16 safetensors, with its SHA-256 beside it.

    Args:
        checkpoint: A checkpoint of the pre-training run.
        folder: Where the package keeps its weights.

    Returns:
        The weight file.

    Raises:
        WeightsError: The checkpoint can't be read.
    """
    check_checkpoint(checkpoint)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    student = {key.removeprefix(STUDENT): value.half() for key, value in state.items() if key.startswith(STUDENT)}
    content = save(student)
    path = folder / f"{MINI_MODEL}.safetensors"
    replace_file(path, content)
    replace_file(path.with_suffix(".sha256.txt"), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
    return path


if __name__ == "__main__":
    auto_cli(ship)
