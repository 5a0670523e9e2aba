"""What a checkpoint holds beyond Lightning's: the facts that make it usable alone, and no twin."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn

from starft.clip import Twin
from starft.clip.names import is_path
from starft.errors import WeightsError
from starft.files import replace_file

KEY = "starft"
TWIN = "twin."
TEACHERS = "teachers."


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of its model.

    Args:
        model_name: Architecture.
        head: ``text`` or ``linear``.
        class_names: Training classes, in label order.
        templates: Their caption templates.
    """

    model_name: str
    head: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]


def strip_twin(checkpoint: dict[str, Any], twin_fingerprint: str, facts: CheckpointFacts) -> None:
    """Take the twin's weights out of a checkpoint and write down what it was.

    Args:
        checkpoint: Lightning's checkpoint, changed in place.
        twin_fingerprint: Of the frozen model of this run, as it was built.
        facts: What makes the checkpoint usable without its config and data.
    """
    state = checkpoint["state_dict"]
    for key in [key for key in state if key.startswith(TWIN)]:
        del state[key]
    checkpoint[KEY] = {
        "model_name": facts.model_name,
        "head": facts.head,
        "class_names": list(facts.class_names),
        "templates": list(facts.templates),
        "twin": twin_fingerprint,
    }


def refill_twin(
    checkpoint: dict[str, Any], twin: Twin, twin_fingerprint: str, expected: CheckpointFacts
) -> CheckpointFacts:
    """Put the live twin's weights into a checkpoint that is being loaded, after checking that it is the same twin.

    Args:
        checkpoint: Lightning's checkpoint, changed in place.
        twin: The frozen model of this run.
        twin_fingerprint: Its fingerprint, as it was built.
        expected: What this run is.

    Returns:
        What the checkpoint says of itself.

    Raises:
        WeightsError: It isn't a checkpoint of starft, or of another model, head or twin.
    """
    held = checkpoint.get(KEY)
    if held is None:
        raise WeightsError("The checkpoint wasn't written by starft; give its weights as model.pretrained instead.")
    facts = _facts(held)
    for what, theirs, ours in (
        ("model", facts.model_name, expected.model_name),
        ("head", facts.head, expected.head),
    ):
        moved = what == "model" and is_path(theirs) and is_path(ours)  # its weights tell whether it is the same
        if theirs != ours and not moved:
            raise WeightsError(
                f"The checkpoint is of {what} {theirs}, the config asks for {what} {ours}; give its own config."
            )
    if held["twin"] != twin_fingerprint:
        raise WeightsError(
            "The checkpoint was trained from other pre-trained weights than this config loads; "
            "give the same model.pretrained as its run had."
        )
    checkpoint["state_dict"].update({f"{TWIN}{key}": value for key, value in twin.state_dict().items()})
    return facts


def match_teachers(checkpoint: dict[str, Any], teachers: nn.Module, continues: bool) -> None:
    """Refuse to continue training with other teachers than a checkpoint holds; elsewhere nobody reads them.

    Args:
        checkpoint: Lightning's checkpoint, changed in place.
        teachers: Those of this run that follow the student, by name.
        continues: Whether training goes on from here.

    Raises:
        WeightsError: Training would go on with other teachers.
    """
    state = checkpoint["state_dict"]
    live = {f"{TEACHERS}{key}": value for key, value in teachers.state_dict().items()}
    held = [key for key in state if key.startswith(TEACHERS)]
    if continues and set(held) != live.keys():
        theirs, ours = (", ".join(dict.fromkeys(key.split(".")[1] for key in keys)) or "none" for keys in (held, live))
        raise WeightsError(
            f"The checkpoint's run has teachers that follow the student: {theirs}; the config asks for: {ours}. "
            "Continue it with its own config, or start a new run."
        )
    if not continues:
        for key in held:
            del state[key]
        state.update(live)


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return a SHA-256 over names and values of a state dict.

    Args:
        state: Tensors of any dtype and device.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its path and swaps it in; reads none that holds code.

    Lightning's own goes by way of the system's temporary folder. Where that is another disk, the last leg is a copy
    over the earlier checkpoint, and a kill or a full disk in the middle of it loses both.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write one checkpoint."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, buffer.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read one checkpoint: tensors and plain values, whatever ``weights_only`` says."""
        return super().load_checkpoint(path, map_location, weights_only=True)


def check_checkpoint(path: Path, continues: bool = False) -> CheckpointFacts:
    """Read a checkpoint through, without running code from it, before long work starts.

    Args:
        path: The file.
        continues: Whether training goes on from it.

    Returns:
        What it says of itself.

    Raises:
        WeightsError: The file doesn't exist, is damaged, or isn't one of ours; or training can't go on from it.
    """
    if not path.is_file():
        raise WeightsError(f"The checkpoint {path} doesn't exist.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"The checkpoint {path} can't be read: it is damaged, or no checkpoint of starft. "
            "Take another one of its folder, as last.ckpt or best.ckpt."
        ) from error
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        raise WeightsError(f"{path} isn't a checkpoint of starft; give its weights as model.pretrained instead.")
    if continues and "optimizer_states" not in checkpoint:
        raise WeightsError(f"{path} holds weights without an optimizer's state; test it, or continue another one.")
    return _facts(checkpoint[KEY])


def _facts(held: Mapping[str, Any]) -> CheckpointFacts:
    return CheckpointFacts(held["model_name"], held["head"], tuple(held["class_names"]), tuple(held["templates"]))
