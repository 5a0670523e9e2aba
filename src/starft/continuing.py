"""A run that goes on does so with the options that it had."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from starft.errors import ConfigError
from starft.run_folder import CHECKPOINTS, CONFIG
from starft.yaml_files import read_yaml

FREE = {"pretrained", "probe_strengths", "trim", "micro_batch_size", "gradient_checkpointing", "compile"}
"""What a run may go on without in ``model``: how it computes, and what its checkpoint tells or has behind it."""
DATA = ("sampling", "shots", "augmentation", "split_seed", "val_fraction", "test_fraction", "train_size")
"""What it may not in ``data``; where the images lie and how they are loaded may change."""
DEVICES = ("devices", "num_nodes")


def check_same(checkpoint: Path, config: Mapping[str, Any]) -> None:
    """Refuse to go on with other options than the run had: most would be ignored in silence, others change it midway.

    Args:
        checkpoint: Where training goes on from; of a run folder, or nothing is known of its options.
        config: The resolved one of the command.

    Raises:
        ConfigError: They differ.
    """
    path = checkpoint.parent.parent / CONFIG
    had = _read(path) if checkpoint.parent.name == CHECKPOINTS else {}
    other = [f"{key} {_told(theirs)} (given is {_told(ours)})" for key, theirs, ours in _differences(had, config)]
    if other:
        more = f" and {len(other) - 3} more" if len(other) > 3 else ""
        raise ConfigError(
            f"A run goes on with the options that it had: {', '.join(other[:3])}{more}. Leave them as {path} has them, "
            "or start a new run in another folder, without --ckpt_path."
        )


def _read(path: Path) -> dict[str, Any]:
    """Return the options that a run had; none where its file is gone, or somebody has made something else of it."""
    try:
        held = read_yaml(path)
    except (OSError, ConfigError):
        return {}
    whole = isinstance(held, dict) and all(isinstance(held.get(key), dict) for key in ("model", "data", "trainer"))
    return held if whole else {}


def _differences(had: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    if not had:
        return
    theirs, ours = had["model"], given["model"]
    for key in sorted((theirs.keys() & ours.keys()) - FREE):
        if theirs[key] != ours[key]:
            yield f"model.{key}", theirs[key], ours[key]
    was, now = had["trainer"], given["trainer"]
    same_devices = all(was.get(key) == now.get(key) for key in DEVICES)
    theirs, ours = (one["data"].get("init_args") or {} for one in (had, given))
    for key in (*DATA, *(("batch_size",) if same_devices else ())):  # of one device; the whole is what counts
        if key in theirs and key in ours and theirs[key] != ours[key]:
            yield f"data.init_args.{key}", theirs[key], ours[key]
    key = "accumulate_grad_batches"
    if same_devices and was.get(key) != now.get(key):
        yield f"trainer.{key}", was.get(key), now.get(key)


def _told(value: Any) -> str:
    return str(value) if len(str(value)) <= 40 else f"{str(value)[:40]}..."
