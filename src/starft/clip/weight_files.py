"""Files of weights, as people have them: plain, under a key, behind a prefix; others are named as what they are."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from starft.errors import WeightsError


def read_weights(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a CLIP model by open_clip's names, and what is worth knowing of them.

    Args:
        path: A weight file.
        model: What they are for.

    Raises:
        WeightsError: The file holds something else.
    """
    if _holds_code(path):
        raise WeightsError(
            f"The weights {path} are a TorchScript archive, which holds code, as OpenAI's own downloads do; "
            "turn it into a plain weight file first, see docs/models.md."
        )
    held: Any = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    if isinstance(held, Mapping) and "state_dict" in held:
        held = held["state_dict"]
    state: dict[str, Tensor] = dict(held)
    if next(iter(state)).startswith("module"):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state, []


def _holds_code(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist())
