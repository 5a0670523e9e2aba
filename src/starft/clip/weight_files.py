"""Files of weights, as people have them: plain, under a key, behind a prefix; others are named as what they are."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from starft.clip.lora import MARK
from starft.clip.shipped_weights import EMBEDDING, USED, with_unused_tokens
from starft.clip.transformers_weights import from_transformers, is_transformers
from starft.errors import WeightsError

UNDER = ("state_dict", "model_state_dict", "model", "module", "ema_state_dict", "state_dict_ema", "model_ema", "ema")
"""Keys that people's checkpoints hold weights under."""
WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|module)\.")
"""What torch.compile, FSDP, activation checkpointing and DDP put into names."""
ADAPTER = re.compile(r"\.?(?:lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|ia3_l|hada_w\d|oft_[rR])(?:\.|$)")
"""In the names of weights that PEFT trains beside a model."""
SCALE = "logit_scale"
STUDENT = "clip.model."
"""What stands before the tuned model's names in a checkpoint of ours."""
TRANSFORMERS_FILES = ("model.safetensors", "pytorch_model.bin")


def read_weights(path: Path, model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights of a CLIP model by open_clip's names, and what is worth knowing of them.

    Args:
        path: A weight file, or a folder of transformers.
        model: What they are for.

    Raises:
        WeightsError: They are something else; the sentence says what, and what to do.
    """
    if path.is_dir():
        path = _file_in(path)
    if _holds_code(path):
        raise WeightsError(
            f"The weights {path} are a TorchScript archive, which holds code, as OpenAI's own downloads do; "
            "where you trust it, make a plain file of it: torch.jit.load(FILE).state_dict(), less input_resolution, "
            "context_length and vocab_size, by torch.save."
        )
    value: Any = (
        load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    )
    embedding = model.state_dict().get(EMBEDDING)
    if isinstance(value, Mapping) and USED in value and embedding is not None:
        value = with_unused_tokens(value, len(embedding))
    state, notes = _unwrapped(path, _under_a_key(path, value))
    if is_transformers(state):
        state, more = from_transformers(path, state, model)
        notes += more
    return state, notes


def _file_in(folder: Path) -> Path:
    """Return the weight file of a folder that transformers wrote; other folders are named as what they are."""
    kinds = {
        "adapter_config.json": "holds a PEFT adapter, and no model; load it on its base model with peft, call "
        "merge_and_unload(), and give that model's weights",
        "open_clip_config.json": f"is a model of open_clip with its weights; give model_name local-dir:{folder}",
        "zero_to_fp32.py": "is a checkpoint of DeepSpeed in parts; run the zero_to_fp32.py in it, and give its output",
        ".metadata": "is a checkpoint of torch.distributed in parts; join it with `python -m "
        "torch.distributed.checkpoint.format_utils dcp_to_torch`, and give its output",
    }
    for name, what in kinds.items():
        if (folder / name).exists():
            raise WeightsError(f"The folder {folder} {what}.")
    index = next(
        (f"{name}.index.json" for name in TRANSFORMERS_FILES if (folder / f"{name}.index.json").exists()), None
    )
    if index is not None:
        raise WeightsError(
            f"The folder {folder} holds a model of transformers in several files ({index}); save it as one, with "
            "save_pretrained(..., max_shard_size='100GB')."
        )
    files = [folder / name for name in TRANSFORMERS_FILES if (folder / name).is_file()]
    if not (folder / "config.json").is_file() or not files:
        raise WeightsError(
            f"The folder {folder} isn't a model of transformers (config.json, model.safetensors); give a weight file."
        )
    kind = _config(folder).get("model_type")
    if kind != "clip":
        raise WeightsError(
            f"The folder {folder} holds a model of transformers of the type {kind!r}; those of the type 'clip' can be "
            "read, for others give weights of open_clip."
        )
    return files[0]


def _config(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"The folder {folder} has no readable config.json: {error}.") from error
    return value if isinstance(value, dict) else {}


def _under_a_key(path: Path, held: Any) -> Mapping[str, Any]:
    """Return the mapping of names to tensors, from under its key where it has one."""
    if not isinstance(held, Mapping):
        raise WeightsError(
            f"The weights {path} don't load into this model: the file holds a {type(held).__name__}; give a state dict."
        )
    results = [key for key in UNDER if isinstance(held.get(key), Mapping) and _has_tensors(held[key])]
    if not results:
        return held
    if len(results) > 1:
        raise WeightsError(
            f"The weights {path} hold several sets, {' and '.join(results)}; save the one that you mean alone."
        )
    return _under_a_key(path, held[results[0]])


def _has_tensors(held: Mapping[str, Any]) -> bool:
    """Return whether there are weights in a mapping, or under one of the known keys in it."""
    return any(
        _has_tensors(value) if isinstance(value, Mapping) and key in UNDER else isinstance(value, Tensor) and value.ndim
        for key, value in held.items()
    )


def _unwrapped(path: Path, held: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Return the model's weights without what wrappers put before their names; what else is there isn't taken."""
    names = [str(name) for name in held]
    if adapters := [name for name in names if ADAPTER.search(name)]:
        raise WeightsError(
            f"The weights {path} are a PEFT adapter's, such as {adapters[0]}, and no whole model's; load it on its "
            "base model with peft, call merge_and_unload(), and save that model's state dict."
        )
    if any(MARK in name for name in names):
        raise WeightsError(
            f"The weights {path} are the updates of model.adapter, and no whole model's; write them into one, "
            f"`starft interpolate --ckpt_path {path} --alpha 1 --out WHOLE.ckpt`, and give that."
        )
    plain = {WRAPPERS.sub("", str(name)): value for name, value in held.items() if isinstance(value, Tensor)}
    ends = [name for name in plain if name == SCALE or name.endswith(f".{SCALE}")]
    starts = sorted(name.removesuffix(SCALE) for name in ends)
    whole = [start for start in starts if any(name.startswith((f"{start}visual", f"{start}vision")) for name in plain)]
    if not whole or "" in whole:
        return plain, []
    whole = [STUDENT] if STUDENT in whole else whole
    if len(whole) > 1:
        raise WeightsError(
            f"The weights {path} hold several models, {', '.join(whole)}; save the one that you mean alone."
        )
    (start,) = whole
    state = {name.removeprefix(start): value for name, value in plain.items() if name.startswith(start)}
    left = [name for name in plain if not name.startswith(start)]
    if not left:
        return state, []
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return state, [f"of the weights {path} those behind {start!r} are taken, and {left[0]}{more} is left"]


def _holds_code(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist())
