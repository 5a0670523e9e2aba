"""A run that goes on does so with the options that it had: which of them may change, and which may not."""

import math
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from starft.errors import AllTrained, ConfigError
from starft.files.yaml_reader import read_yaml
from starft.runs.checkpoints import CheckpointFacts, check_checkpoint, match_model
from starft.runs.ending import read_early_stopping
from starft.runs.layout import CONFIG, MANIFEST, run_folder


class May(Enum):
    """What becomes of an option that is another one than the run had."""

    CHANGE = "nothing of the training hangs on it"
    CHANGE_TOLD = "it changes what is still to come, as its user means it to, and is told"
    CHANGE_WITH_DEVICES = "it counts for one device, so other devices want another value; else it may not"
    NOT_CHANGE = "the rest of the run would be another one's"


def _options(**lists: str) -> dict[str, May]:
    return {name: May[kind.upper()] for kind, names in lists.items() for name in names.split()}


OPTIONS: dict[str, dict[str, May]] = {
    "": _options(
        not_change="seed_everything",
        change="config ckpt_path save_samples",
    ),
    "checkpoint": _options(
        not_change="monitor mode",
        change="every_n_train_steps",
    ),
    "model": _options(
        not_change="objective model_name head head_start unscaled_head lr weight_decay layer_decay "
        "decay_one_dimensional betas warmup_steps regularizers pool templates freeze_text_tower freeze_image_tower "
        "freeze_text_blocks freeze_image_blocks adapter twin_precision keep_activations seed",
        change="pretrained probe_strengths trim micro_batch_size gradient_checkpointing compile share_frozen",
    ),
    "data": _options(
        not_change="sampling shots augmentation split_seed val_fraction test_fraction equal_groups splits label_map "
        "train_size val_size seed task shortcut home_share imbalance looks dataset templates class_names "
        "label_column attribute_column attribute_level group_column split_column caption_column image_column shards "
        "on_bad_image allow_partial evals decode eval_decode",
        change_with_devices="batch_size",
        change="root file train path_column separator name ood predict eval_batch_size num_workers test_size "
        "a celeba counteranimal objectnet r sketch v2 vid_robust waterbirds",
    ),
    "trainer": _options(
        not_change="precision callbacks plugins limit_train_batches limit_val_batches overfit_batches "
        "gradient_clip_val gradient_clip_algorithm use_distributed_sampler reload_dataloaders_every_n_epochs",
        change_with_devices="accumulate_grad_batches sync_batchnorm",
        change_told="max_epochs max_steps min_epochs min_steps val_check_interval check_val_every_n_epoch",
        change="accelerator strategy devices num_nodes logger default_root_dir max_time fast_dev_run "
        "limit_test_batches limit_predict_batches num_sanity_val_steps log_every_n_steps enable_checkpointing "
        "enable_progress_bar enable_model_summary deterministic benchmark inference_mode profiler detect_anomaly "
        "barebones enable_autolog_hparams model_registry",
    ),
}
"""Section -> option -> what a run that goes on may do with it; an option that isn't here may not change.

Checkpoints refuse other weights than ``pretrained`` was; where data lie and how they are loaded may change.
"""

CAME_LATER: dict[str, dict[str, Any]] = {
    "model": {"unscaled_head": False, "layer_decay": 1.0, "adapter": None},
    "data": {"decode": "exact", "eval_decode": "exact", "imbalance": 1.0},
}
"""What runs had that are older than an option; their configs don't name it."""

CALLBACKS = _options(
    change="DeviceStatsMonitor LearningRateMonitor ModelCheckpoint ModelSummary OnExceptionCheckpoint RichModelSummary "
    "RichProgressBar TQDMProgressBar ThroughputMonitor",
    change_told="EarlyStopping Timer",
)
"""The same for callbacks, by the names of their classes: those that only look on, and those that end a run."""

DEVICES = ("devices", "num_nodes")
COUNTED = (*DEVICES, "accumulate_grad_batches")
"""What multiplies the images of a batch."""
WHERE = {"source", "class_path", "root", "file", "path_column", "separator"}
"""Of an eval set: where its images are; the manifest tells whether they are the same."""
MAY_LIE_ELSEWHERE = ("model_name", "pool")
"""What may be a file: the weights, and the manifest, tell whether it is the same."""
LINKED = {"data.init_args.seed", "model.seed"}
"""What `seed_everything` sets, and is told by its name."""


def check_going_on(checkpoint: Path, config: Mapping[str, Any], trial: bool) -> tuple[CheckpointFacts, list[str]]:
    """Refuse to go on with a training that has come to its end, or with other options than it had.

    Args:
        checkpoint: Where training goes on from.
        config: The resolved one of the command.
        trial: Whether this is only a trial of a few batches, which may come after the end.

    Returns:
        What the checkpoint says of itself, and notes on options that changed, a sentence each.

    Raises:
        AllTrained: There is nothing left to train.
        ConfigError: Options differ.
        WeightsError: The checkpoint can't be used.
    """
    end = {} if trial else {key: config["trainer"].get(key) for key in ("max_epochs", "max_steps")}
    facts = check_checkpoint(checkpoint, continues=True, **end)
    if {"model_name", "head"} <= config["model"].keys():
        match_model(facts, config["model"]["model_name"], config["model"]["head"])
    notes = check_same(checkpoint, config)
    _check_own_options(checkpoint, facts, config["model"])
    step, message = read_early_stopping(checkpoint)
    if message and step == facts.step and not trial and not any("EarlyStopping" in note for note in notes):
        raise AllTrained(
            f"{message} So there is nothing to train; give EarlyStopping in trainer.callbacks more patience to go on, "
            "or test it with `starft test`."
        )
    return facts, notes


def _check_own_options(checkpoint: Path, facts: CheckpointFacts, model: Mapping[str, Any]) -> None:
    """Refuse other options than a checkpoint itself holds, wherever it lies and whatever became of its run's config."""
    other = [
        _both(f"model.{key}", facts.options[key], model[key])
        for key, may in OPTIONS["model"].items()
        if _refused(may) and key in facts.options.keys() & model.keys() and key not in MAY_LIE_ELSEWHERE
        if _plain(facts.options[key]) != _plain(model[key])
    ]
    if other:
        raise ConfigError(
            f"A run goes on with the options that it had, and {checkpoint} was trained with {', '.join(other[:3])}. "
            "Leave them as they were, or start a new run in another folder, without --ckpt_path."
        )


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, list | tuple) else value


def check_same(checkpoint: Path, config: Mapping[str, Any]) -> list[str]:
    """Refuse to go on with other options than the run had: most would be ignored in silence, others change it midway.

    Args:
        checkpoint: Where training goes on from; of a run folder, or nothing is known of its options.
        config: The resolved one of the command.

    Returns:
        A sentence for each option that may change and has an effect.

    Raises:
        ConfigError: Others differ.
    """
    folder = run_folder(checkpoint)
    path = folder / CONFIG
    had = _read(path) if folder != checkpoint.absolute().parent or (folder / MANIFEST).is_file() else {}
    result = [*_differences(had, config)] if had else []
    other = [_both(key, theirs, ours) for may, key, theirs, ours in result if _refused(may)]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ConfigError(
            f"A run goes on with the options that it had: {', '.join(other[:3])}{more}. Leave them as {path} has them, "
            "or start a new run in another folder, without --ckpt_path."
        )
    return [
        f"The run goes on with {key} {_shown(ours)}; it was {_shown(theirs)}."
        for may, key, theirs, ours in result
        if may is May.CHANGE_TOLD
    ]


def _refused(may: May) -> bool:
    return may in (May.NOT_CHANGE, May.CHANGE_WITH_DEVICES)


def _read(path: Path) -> dict[str, Any]:
    """Return the options that a run had; none where its file is gone, or somebody has made something else of it."""
    try:
        value = read_yaml(path)
    except (OSError, ConfigError):
        return {}
    whole = isinstance(value, dict) and all(isinstance(value.get(key), dict) for key in ("model", "data", "trainer"))
    return value if whole else {}


def _differences(had: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[May, str, Any, Any]]:
    """Yield what may be done, key, value that the run had, value given, for each option that differs."""
    devices = any(had["trainer"].get(key) != given["trainer"].get(key) for key in DEVICES)
    linked = had.get("seed_everything") != given.get("seed_everything")
    for section, options in OPTIONS.items():
        (prefix, theirs), (_, ours) = (_section(config, section) for config in (had, given))
        theirs = {**CAME_LATER.get(section, {}), **theirs}
        both = theirs.keys() & ours.keys()
        for key in [*(key for key in options if key in both), *sorted(both - options.keys())]:
            name, may = f"{prefix}{key}", options.get(key, May.NOT_CHANGE)
            if theirs[key] == ours[key] or may is May.CHANGE or (linked and name in LINKED):
                continue
            if name == "trainer.callbacks":
                yield from _callbacks(theirs[key], ours[key])
            elif name == "data.init_args.evals":
                yield from _validated(theirs[key], ours[key])
            elif not (devices and may is May.CHANGE_WITH_DEVICES):
                yield may, name, theirs[key], ours[key]
    if devices:
        yield from _images_a_step(had, given)
    if had["data"].get("class_path") != given["data"].get("class_path"):
        yield May.NOT_CHANGE, "data.class_path", had["data"].get("class_path"), given["data"].get("class_path")


def _section(config: Mapping[str, Any], name: str) -> tuple[str, Mapping[str, Any]]:
    """Return what the keys of a section begin with, and its options."""
    if name == "data":
        return "data.init_args.", config["data"].get("init_args") or {}
    if name:
        return f"{name}.", config.get(name) or {}
    return "", {key: config[key] for key in OPTIONS[""] if key in config}


def _callbacks(had: Any, given: Any) -> Iterator[tuple[May, str, Any, Any]]:
    """Yield the callbacks that are only in one of two lists, or have other arguments."""
    theirs, ours = (_by_name(some) for some in (had, given))
    for name in sorted(theirs.keys() | ours.keys()):
        may = CALLBACKS.get(name.partition(" ")[0], May.NOT_CHANGE)
        was, now = theirs.get(name, "absent"), ours.get(name, "absent")
        if was == now or may is May.CHANGE:
            continue
        if not (isinstance(was, dict) and isinstance(now, dict)):
            yield may, f"trainer.callbacks' {name}", _presence(was), _presence(now)
            continue
        for key in sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key)):
            yield may, f"{key} of trainer.callbacks' {name}", was.get(key), now.get(key)


def _by_name(given: Any) -> dict[str, Any]:
    """Return the arguments of callbacks by the names of their classes; a second one of a class has its number."""
    arguments: dict[str, Any] = {}
    for callback in given if isinstance(given, list) else [given]:
        if not callback:
            continue
        name = kind = str(callback.get("class_path")).rpartition(".")[2]
        number = 2
        while name in arguments:
            name, number = f"{kind} {number}", number + 1
        arguments[name] = callback.get("init_args")
    return arguments


def _validated(had: Any, given: Any) -> Iterator[tuple[May, str, Any, Any]]:
    """Yield what differs in the sets that are validated, as best.ckpt may hang on them; others may come and go."""
    theirs, ours = (
        {str(item.get("name")): item for item in map(_arguments, some or ()) if item.get("stage", "test") != "test"}
        for some in (had, given)
    )
    for name in sorted(theirs.keys() | ours.keys()):
        prefix, may = f"data.init_args.evals' {name}", May.NOT_CHANGE
        was, now = theirs.get(name), ours.get(name)
        if was is None or now is None:
            yield may, prefix, "absent" if was is None else "present", "absent" if now is None else "present"
            continue
        sides = [item | _arguments(item.get("source")) for item in (was, now)]
        for key in sorted((sides[0].keys() & sides[1].keys()) - WHERE):
            if sides[0][key] != sides[1][key]:
                yield may, f"{key} of {prefix}", sides[0][key], sides[1][key]


def _arguments(given: Any) -> dict[str, Any]:
    """Return what a class is made with, or the fields of a data class."""
    return dict(given.get("init_args", given) or {}) if isinstance(given, dict) else {}


def _images_a_step(had: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[May, str, Any, Any]]:
    """Yield how many images a step has, where other devices make it another number; else what it may hang on."""
    was, now = (_product(config) for config in (had, given))
    if was is not None and now is not None:
        if was != now:
            yield May.NOT_CHANGE, "images a step (batch_size x devices x accumulate_grad_batches)", was, now
        return
    (prefix, theirs), (_, ours) = (_section(config, "data") for config in (had, given))
    if "batch_size" not in theirs.keys() & ours.keys():
        return
    for name, old, new in (
        (f"{prefix}batch_size", theirs["batch_size"], ours["batch_size"]),
        *((f"trainer.{key}", had["trainer"].get(key), given["trainer"].get(key)) for key in COUNTED),
    ):
        if old != new:
            yield May.CHANGE_TOLD, name, old, new


def _product(config: Mapping[str, Any]) -> int | None:
    """Return how many images an optimizer step has; None where devices aren't counted before the run, or data."""
    trainer, batch = config["trainer"], _section(config, "data")[1].get("batch_size")
    try:
        counts = [int(item) for item in (batch or 0, *(trainer.get(key) or 1 for key in COUNTED))]
    except (TypeError, ValueError):  # devices may be auto, or a list of them
        return None
    return math.prod(counts) if min(counts) > 0 else None


def _presence(arguments: Any) -> str:
    return "absent" if arguments == "absent" else "present"


def _both(name: str, theirs: Any, ours: Any) -> str:
    """Return an option with both of its values; of one with parts, the parts that differ."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        other = [key for key in {**theirs, **ours} if theirs.get(key) != ours.get(key)]
        return ", ".join(_both(f"{name}.{key}", theirs.get(key), ours.get(key)) for key in other)
    return f"{name} {_shown(theirs)} (given is {_shown(ours)})"


def _shown(value: Any) -> str:
    return str(value) if len(str(value)) <= 40 else f"{str(value)[:40]}..."
