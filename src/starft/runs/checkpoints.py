"""What a checkpoint holds beyond Lightning's: the facts that make it usable alone, and no twin."""

import hashlib
import json
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starft.clip import Twin
from starft.clip.finite import first_not_finite, tensors_in
from starft.clip.model_names import VOCABULARY, is_path
from starft.errors import AllTrained, WeightsError
from starft.files.digests import check_weights_file, checked_meanwhile, checked_on_error, content_digest
from starft.runs.local_copy import not_here
from starft.runs.manifest import check_listed, listed_states

KEY = "starft"
TWIN = "twin."
TEACHERS = "teachers."
RAW = "ema_raw"
"""Key of a checkpoint for the weights that training goes on with where it holds their average."""


DESCRIBED = ("model_cfg", "preprocess_cfg")
"""Parts of a model's description that change what it computes."""


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint says of its model.

    Args:
        model_name: Architecture.
        head: ``text`` or ``linear``.
        class_names: Training classes, in label order.
        templates: Their caption templates.
        config: What builds the model again, as in ``open_clip_config.json``.
        step: After which it was written.
        options: That the module was made with; its terms aren't among them.
        adapter: Options of the adapter that it holds in the place of all weights, or None.
        pretrained: Names the weights that the adapter is for.
        twin: Fingerprint of the pre-trained weights.
    """

    model_name: str
    head: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    step: int = field(default=0, compare=False)
    options: dict[str, Any] = field(default_factory=dict, compare=False)
    adapter: dict[str, Any] | None = field(default=None, compare=False)
    pretrained: str | None = field(default=None, compare=False)
    twin: str = field(default="", compare=False)


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
        "config": facts.config,
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
    content = checkpoint.get(KEY)
    if content is None:
        raise WeightsError("The checkpoint wasn't written by starft; give its weights as model.pretrained instead.")
    facts = _facts(content)
    match_model(facts, expected.model_name, expected.head)
    theirs, ours = (config.get(VOCABULARY, "none") for config in (facts.config, expected.config))
    if facts.config and theirs != ours:
        raise WeightsError(
            f"The checkpoint's captions were read with SigLIP's vocabulary {theirs}, and now with {ours}: a model "
            "config that names no tokenizer gets it by its file's name; give the file its old name."
        )
    match_description(facts.config, expected.config)
    if content["twin"] != twin_fingerprint:
        here = "which have changed" if facts.pretrained == expected.pretrained else f"and here {expected.pretrained}"
        theirs = f" ({facts.pretrained}, {here})" if facts.adapter is not None else ""
        raise WeightsError(
            f"The checkpoint was trained from other pre-trained weights than this config loads{theirs}; "
            "give the same model.pretrained as its run had."
        )
    checkpoint["state_dict"].update({f"{TWIN}{key}": value for key, value in twin.state_dict().items()})
    return facts


def match_model(facts: CheckpointFacts, model_name: str, head: str) -> None:
    """Refuse a checkpoint of another architecture or head.

    Args:
        facts: What the checkpoint says of itself.
        model_name: Architecture of this run.
        head: Its head.

    Raises:
        WeightsError: They differ.
    """
    for what, theirs, ours in (("model", facts.model_name, model_name), ("head", facts.head, head)):
        moved = what == "model" and is_path(theirs) and is_path(ours)  # its weights tell whether it is the same
        if theirs != ours and not moved:
            raise WeightsError(
                f"The checkpoint is of {what} {theirs}, the config asks for {what} {ours}; give its own config."
            )


def match_description(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse a model that has the same weights and computes otherwise: another activation, other means of pixels.

    Args:
        theirs: What builds the checkpoint's model again; empty where it doesn't say.
        ours: What this run's model was built by.

    Raises:
        WeightsError: They differ.
    """
    had, has = (dict(_settings({part: config.get(part) or {} for part in DESCRIBED})) for config in (theirs, ours))
    for key in [key for key in (*had, *has) if (had.get(key) or 0) != (has.get(key) or 0)] if theirs else ():
        if not any(str(value.get(key)).startswith("/") for value in (had, has)):  # a folder, which may lie elsewhere
            raise WeightsError(
                f"The checkpoint's model was built with {key} {had.get(key)}, and this one with {has.get(key)}: with "
                "the same weights it computes something else. Give model_name and model.pretrained as its run had "
                "them, and the model config as it was."
            )


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what stands in nested mappings, by dotted names."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def match_classes(facts: CheckpointFacts, class_names: tuple[str, ...], templates: tuple[str, ...]) -> None:
    """Refuse to continue training on other classes, or with other templates, than a checkpoint's.

    Args:
        facts: What the checkpoint says of itself.
        class_names: Training classes of this run.
        templates: Its caption templates.

    Raises:
        WeightsError: They differ.
    """
    if facts.class_names == class_names and facts.templates != templates:
        raise WeightsError(
            f"The checkpoint was trained with the templates {_few(facts.templates)}, and the config or its file has "
            f"{_few(templates)} now; bring them back as they were, or start a new run."
        )
    if facts.class_names != class_names:
        theirs, ours = _few(facts.class_names), _few(class_names)
        raise WeightsError(
            f"The checkpoint was trained on the classes {theirs}, the data have {ours}; continue it on its own data, "
            "or start a new run."
        )


def unlike_classes(facts: CheckpointFacts, class_names: tuple[str, ...]) -> str:
    """Return a sentence on a checkpoint that is tested on other classes than its own; else an empty string.

    Args:
        facts: What the checkpoint says of itself.
        class_names: Of the data.
    """
    if facts.class_names == class_names:
        return ""
    return (
        f"The checkpoint was trained on {_few(facts.class_names)}; the data have {_few(class_names)}, and are scored "
        "with the zero-shot head of their own names."
    )


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")


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
    values = [key for key in state if key.startswith(TEACHERS)]
    if continues and set(values) != live.keys():
        theirs, ours = (
            ", ".join(dict.fromkeys(key.split(".")[1] for key in keys)) or "none" for keys in (values, live)
        )
        raise WeightsError(
            f"The checkpoint's run has teachers that follow the student: {theirs}; the config asks for: {ours}. "
            "Continue it with its own config, or start a new run."
        )
    if not continues:
        for key in values:
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


def state_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return a SHA-256 over all that a model is loaded from: its weights, and what the checkpoint says of it.

    Args:
        checkpoint: Lightning's.
    """
    state = {key: value for key, value in checkpoint.get("state_dict", {}).items() if isinstance(value, Tensor)}
    shapes = {key: (str(value.dtype), list(value.shape)) for key, value in state.items()}
    return content_digest(json.dumps([checkpoint.get(KEY), shapes, fingerprint(state)], sort_keys=True).encode())


def check_checkpoint(
    path: Path, continues: bool = False, max_epochs: int | None = None, max_steps: int | None = None
) -> CheckpointFacts:
    """Read a checkpoint through, without running code from it, before long work starts.

    Args:
        path: The file.
        continues: Whether training goes on from it.
        max_epochs: Until so many epochs; None or -1 for no limit.
        max_steps: Until so many steps; None or -1 for no limit.

    Returns:
        What it says of itself.

    Raises:
        AllTrained: It has all these epochs, or steps.
        WeightsError: The file doesn't exist, is damaged, or isn't one of ours; or training can't go on from it.
    """
    _check_path(path)
    _check_whole(path)
    checkpoint = _read(path)
    if continues:
        _check_finite(path, {key: checkpoint.get(key) for key in ("optimizer_states", RAW)})
    if continues and "optimizer_states" not in checkpoint:
        raise WeightsError(f"{path} holds weights without an optimizer's state; test it, or continue another one.")
    facts = replace(
        _facts(checkpoint[KEY]),
        step=int(checkpoint.get("global_step") or 0),
        options=dict(checkpoint.get("hyper_parameters") or {}),
    )
    for what, done, most in (("epoch", _epochs(checkpoint), max_epochs), ("step", facts.step, max_steps)):
        if continues and most is not None and 0 <= most <= done:
            raise AllTrained(
                f"{path} has {done} of {most} {what}s already, so there is nothing to train; "
                f"raise trainer.max_{what}s to go on, or test it with `starft test`."
            )
    return facts


def _epochs(checkpoint: Mapping[str, Any]) -> int:
    """Return how many epochs are trained to their end, as Lightning counts them."""
    try:
        return int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    except (KeyError, TypeError, ValueError):
        return 0


@contextmanager
def opened_checkpoint(path: Path) -> Iterator[tuple[CheckpointFacts, dict[str, Tensor]]]:
    """Yield what a checkpoint says of itself, and its weights, mapped from the file; the end tells if they are whole.

    An optimizer's state is neither read nor checked.

    Args:
        path: The file.

    Raises:
        WeightsError: The file doesn't exist, is damaged, or isn't one of ours.
    """
    _check_path(path)
    with checked_on_error(_check_whole, path):
        checkpoint = _read(path)
    states = listed_states(path)

    def check(path: Path) -> None:
        if not states or state_digest(checkpoint) not in states:
            _check_whole(path)

    with checked_meanwhile(check, path):
        yield _facts(checkpoint[KEY]), checkpoint["state_dict"]


def refuse_run_folder(path: Path) -> None:
    """Refuse a run folder, or that of its checkpoints, where a checkpoint is wanted.

    Args:
        path: What was given.

    Raises:
        WeightsError: It is such a folder; the sentence names the checkpoint in it.
    """
    values = sorted([*path.glob("checkpoints/*.ckpt"), *path.glob("*.ckpt")], key=lambda one: (one.stem != "best", one))
    if values:
        raise WeightsError(f"{path} is a folder; give the checkpoint in it, such as {values[0]}.")


def _check_path(path: Path) -> None:
    if remote := not_here(path):
        raise WeightsError(remote)
    refuse_run_folder(path)
    if not path.is_file():
        beside = sorted(item.name for item in path.parent.glob("*.ckpt"))[:5]
        there = f"its folder holds {', '.join(beside)}" if beside else "check its path"
        raise WeightsError(f"The checkpoint {path} doesn't exist; {there}.")


def _check_whole(path: Path) -> None:
    if not check_listed(path):
        check_weights_file(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile, ValueError) as error:
        raise WeightsError(
            f"The checkpoint {path} can't be read: it is damaged, or no checkpoint of starft. "
            "Take another one of its folder, as last.ckpt or best.ckpt."
        ) from error
    value = checkpoint.get(KEY) if isinstance(checkpoint, dict) else None
    ours = isinstance(value, dict) and {"model_name", "head", "class_names", "templates"} <= value.keys()
    if not ours or not isinstance(checkpoint.get("state_dict"), dict):
        raise WeightsError(f"{path} isn't a checkpoint of starft; give its weights as model.pretrained instead.")
    _check_finite(path, checkpoint["state_dict"])
    whole: dict[str, Any] = checkpoint
    return whole


def _check_finite(path: Path, held: Mapping[str, Any]) -> None:
    name = first_not_finite(tensors_in(held))
    if name is not None:
        raise WeightsError(
            f"{path} can't be used: {name} in it holds a NaN or an infinity, so its training had broken down; take an "
            "earlier checkpoint, or train again with a lower model.lr."
        )


def _facts(held: Mapping[str, Any]) -> CheckpointFacts:
    names, templates = tuple(held["class_names"]), tuple(held["templates"])
    rest = {key: held[key] for key in ("config", "adapter", "pretrained", "twin") if key in held}
    return CheckpointFacts(held["model_name"], held["head"], names, templates, **rest)
