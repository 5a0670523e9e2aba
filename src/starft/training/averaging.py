"""Checkpoints as points in weight space: read, compared, mixed and written.

Papers: WiSE-FT (Wortsman et al., CVPR 2022, arXiv 2109.01903) for the line, ``theta = (1 - a) theta0 + a theta1``;
model soups (Wortsman et al., ICML 2022, arXiv 2203.05482) for the mean. Deviations: none known.
"""

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from starft.clip import build_clip
from starft.clip.finite import first_not_finite
from starft.errors import ConfigError, WeightsError
from starft.files.atomic import replace_file
from starft.losses.teachers import Teacher
from starft.runs.adapted import STUDENT, tuned_clip
from starft.runs.checkpoints import KEY, TEACHERS, CheckpointFacts, check_checkpoint, fingerprint
from starft.runs.folder import locked_if_free
from starft.runs.layout import CONFIG, run_folder_of
from starft.runs.manifest import checked_pretrained, replace_listed_file

State = Mapping[str, Tensor]

CLIP = "clip."
HEAD = "linear_head"
BIAS = "head_bias"
"""What DFR adds to the logits of a linear head; zeros elsewhere."""
KEPT = ("pytorch-lightning_version", "hparams_name", "hyper_parameters", KEY)
"""What an averaged checkpoint keeps of its last member beside weights; optimizer, loops and callbacks are of a run."""


@dataclass(frozen=True)
class Member:
    """A checkpoint that is averaged with others.

    Args:
        path: The file.
        facts: What it says of its model.
        twin: Fingerprint of the pre-trained model that it was tuned from.
    """

    path: Path
    facts: CheckpointFacts
    twin: str


def read_member(path: Path) -> Member:
    """Read what a checkpoint says of itself.

    Args:
        path: The file.

    Raises:
        WeightsError: It is missing, damaged, or none of ours.
    """
    return Member(path, check_checkpoint(path), _load(path)[KEY]["twin"])


def read_weights(member: Member, copy: bool = True) -> dict[str, Tensor]:
    """Return the weights that are averaged: the student's, and its linear head's and bias where it has one.

    Adapters are merged: an average of merged weights is none of adapters.

    Args:
        member: The checkpoint.
        copy: Read them into memory; else each stays on the disk until it is used.
    """
    state = _load(member.path)["state_dict"]
    if member.facts.adapter is not None:
        whole = tuned_clip(member.facts, state).model.state_dict()
        state = {key: value for key, value in state.items() if not key.startswith(CLIP)}
        state |= {f"{STUDENT}{key}": value for key, value in whole.items()}
    weights = {key: value for key, value in state.items() if key.startswith(CLIP) or key in (HEAD, BIAS)}
    return _with_bias({key: value.clone() for key, value in weights.items()} if copy else weights)


def pretrained_weights(member: Member) -> dict[str, Tensor]:
    """Return the weights that a checkpoint was tuned from; the linear head is the zero-shot head * exp(logit_scale).

    Args:
        member: The checkpoint, which names its pre-trained model.

    Raises:
        WeightsError: The name leads to other weights by now, or they can't be had.
    """
    named = _load(member.path)["hyper_parameters"]
    twin = Teacher(build_clip(named["model_name"], checked_pretrained(named["pretrained"]), named["trim"]))
    if fingerprint(twin.state_dict()) != member.twin:
        raise WeightsError(
            f"{member.path} was tuned from other weights than {named['model_name']} with {named['pretrained']} holds; "
            "give the start as a checkpoint."
        )
    state = {f"{CLIP}{key}": value for key, value in twin.state_dict().items()}
    if member.facts.head == "linear":
        with torch.no_grad():
            state[HEAD] = twin.class_head(member.facts.class_names, member.facts.templates).float()
    return _with_bias(state)


def _with_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give a linear head that DFR hasn't refitted a bias of zeros, so that it can be averaged with one that it has."""
    if HEAD in state and BIAS not in state:
        state[BIAS] = state[HEAD].new_zeros(len(state[HEAD]))
    return state


def check_alike(first: Member, other: Member) -> None:
    """Refuse two checkpoints whose weights mean different things.

    Args:
        first: One checkpoint.
        other: Another one.

    Raises:
        ConfigError: They are of different models, heads, classes or pre-trained weights.
    """
    for what, ours, theirs in (
        ("model", first.facts.model_name, other.facts.model_name),
        ("head", first.facts.head, other.facts.head),
        ("number of classes", len(first.facts.class_names), len(other.facts.class_names)),
        ("classes", first.facts.class_names, other.facts.class_names),
        ("pre-trained weights", first.twin, other.twin),
    ):
        if ours != theirs:
            told = "" if what in ("classes", "pre-trained weights") else f" ({ours} and {theirs})"
            raise ConfigError(
                f"{first.path} and {other.path} differ in their {what}{told}; "
                "only checkpoints of one model, head and list of classes can be averaged."
            )


def check_keys(member: Member, start: State, end: State) -> None:
    """Refuse weights that don't fit together although the checkpoints say that they do.

    Args:
        member: The checkpoint of ``end``.
        start: Weights of one model.
        end: Weights of another one.

    Raises:
        WeightsError: A key or a shape differs.
    """
    for key in sorted(start.keys() | end.keys()):
        shapes = [tuple(state[key].shape) if key in state else "missing" for state in (start, end)]
        if shapes[0] != shapes[1]:
            raise WeightsError(f"{member.path} doesn't fit the other weights: {key} is {shapes[1]}, not {shapes[0]}.")


def write_averaged(path: Path, member: Member, state: State, made_of: dict[str, Any]) -> None:
    """Write a checkpoint that ``starft test`` and ``predict`` read; training can't go on from it.

    Args:
        path: Where it goes.
        member: Gives what isn't averaged: hyper-parameters, classes, the state of terms.
        state: Averaged weights.
        made_of: What it was made of, plain values.

    Raises:
        WeightsError: A weight isn't a finite number.
    """
    name = first_not_finite(state.items())
    if name is not None:
        raise WeightsError(f"{path} isn't written: the mean of {name} holds a NaN or an infinity; average others.")
    whole = _load(member.path)
    if BIAS in state and not state[BIAS].any():  # of heads that DFR never refitted
        state = {key: value for key, value in state.items() if key != BIAS}
    kept = {key: whole[key] for key in KEPT if key in whole}
    kept[KEY] = {key: value for key, value in whole[KEY].items() if key not in ("adapter", "pretrained")}
    rest = {key: value for key, value in whole["state_dict"].items() if not key.startswith((CLIP, TEACHERS, BIAS))}
    checkpoint = {**kept, "epoch": 0, "global_step": 0, "state_dict": {**rest, **state}, "made_of": made_of}
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_if_free(run_folder_of(path)) as free:  # else the manifest is somebody else's to write
        (replace_listed_file if free else replace_file)(path, buffer.getbuffer())


def next_command(path: Path, members: Sequence[Member]) -> str:
    """Return how an averaged checkpoint is tested, as a line to print; empty where no member's run is there.

    It is tested into a folder of its own: that of a member's run is for the member's results.

    Args:
        path: The averaged checkpoint.
        members: Those that lie in ``checkpoints`` of a run folder lend its config.
    """
    configs = [member.path.parent.parent / CONFIG for member in members]
    config = next((item for item in configs if item.is_file()), None)
    if config is None:
        return ""
    folder = path.with_suffix("") if path.suffix == ".ckpt" else path.with_name(f"{path.name}-test")
    command = ["starft", "test", "--config", config, "--ckpt_path", path, "--trainer.default_root_dir", folder]
    return "Next: " + shlex.join(map(str, command))


def _load(path: Path) -> dict[str, Any]:
    """Return a checkpoint whose tensors stay on the disk until they are used."""
    whole: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return whole


def interpolate(start: State, end: State, alpha: float) -> dict[str, Tensor]:
    """Return ``(1 - alpha) * start + alpha * end``, key by key.

    With alpha 0 or 1, and where both ends hold the same numbers, the result is the end point to the last bit. What
    isn't a floating-point number is taken from the end. Half-precision numbers are mixed in float32.

    Args:
        start: Weights of one model.
        end: Weights of another one with the same keys and shapes.
        alpha: Place on the line; outside of [0, 1] it is beyond an end.
    """
    if alpha == 0:
        return {key: value.clone() for key, value in start.items()}
    mixed = {}
    for key, item in end.items():
        other = start[key]
        if alpha == 1 or not item.is_floating_point() or torch.equal(item, other):
            mixed[key] = item.clone()
        else:
            wide = torch.promote_types(item.dtype, torch.float32)
            mixed[key] = ((1 - alpha) * other.to(wide) + alpha * item.to(wide)).to(item.dtype)
    return mixed


def add_to_mean(mean: State, count: int, more: State) -> dict[str, Tensor]:
    """Return the mean of ``count + 1`` models from the mean of ``count`` and one more: no others are held.

    Args:
        mean: Mean so far.
        count: How many models are in it, at least 1.
        more: Weights of the next one, with the same keys and shapes.
    """
    return interpolate(mean, more, 1 / (count + 1))
