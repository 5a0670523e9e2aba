"""Where an exported model comes from: what its run folder says of data, settings and results."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starft.errors import ConfigError
from starft.files.yaml_reader import read_yaml
from starft.runs.layout import CONFIG, RESULTS, run_folder
from starft.runs.results import Results, read_results

PLUMBING = {"batch_size", "eval_batch_size", "num_workers", "download", "pin_memory", "prefetch_factor"}
"""Options of data that don't change what is learned, or that are told elsewhere."""
LONGEST = 100
"""Letters of an option's value that a card shows."""


@dataclass(frozen=True)
class Origin:
    """What is known of the run that a checkpoint belongs to.

    Args:
        results: What its test found; None where it wasn't tested.
        config: Its resolved config; empty where there is none.
        problem: Why its results can't be told though they are there, without a period.
    """

    results: Results | None = None
    config: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def origin_of(checkpoint: Path) -> Origin:
    """Return what the run folder of a checkpoint says; mixed weights beside or below it aren't its model.

    Args:
        checkpoint: In ``checkpoints/`` of its run folder, or in the run folder itself.
    """
    folder = run_folder(checkpoint)
    results, problem = None, None
    if (folder / RESULTS).is_file():
        try:
            results = read_results(folder / RESULTS)
        except (OSError, ValueError) as error:
            problem = str(error) if isinstance(error, ValueError) else f"{RESULTS} can't be read ({error.strerror})"
    tested = tested_checkpoint(results)
    if tested is not None and tested != checkpoint.name:
        results, problem = (
            None,
            f"The run was tested with {tested}, not with {checkpoint.name}; export that one to have its results here",
        )
    config = _config(folder / CONFIG) or (results.config if results is not None else {})
    return Origin(results, config, problem)


def tested_checkpoint(results: Results | None) -> str | None:
    """Return the file name of the checkpoint that was tested; None where the config doesn't name a file.

    Args:
        results: Of a run.
    """
    path = results.config.get("ckpt_path") if results is not None else None
    return Path(path).name if isinstance(path, str) and path.endswith(".ckpt") else None


def _config(path: Path) -> dict[str, Any]:
    try:
        value = read_yaml(path)
    except (OSError, ConfigError):
        return {}
    return value if isinstance(value, dict) else {}


def data_facts(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was trained on: the class that reads it, and its options by name.

    Args:
        config: Resolved config of a run.
    """
    data = _mapping(config.get("data"))
    if "class_path" in data:
        yield "data", _class(data)
        for name, value in _mapping(data.get("init_args")).items():
            if name not in PLUMBING and value is not None:
                yield name, _text(value)


def training_facts(config: Mapping[str, Any], results: Results | None) -> Iterator[tuple[str, str]]:
    """Yield the settings of training by name, those that the config has.

    Args:
        config: Resolved config of a run.
        results: Tells how long it took.
    """
    model, trainer = _mapping(config.get("model")), _mapping(config.get("trainer"))
    data = _mapping(_mapping(config.get("data")).get("init_args"))
    known: list[tuple[str, Any]] = [
        ("pre-trained model", " ".join(_text(model[key]) for key in ("model_name", "pretrained") if model.get(key))),
        ("head", model.get("head")),
        ("objective", _with_options(model.get("objective"))),
    ]
    known += [("regularizer", _with_options(item)) for item in model.get("regularizers") or ()]
    known += [
        ("spurious templates", model.get("pool")),
        *((key.replace("_", " "), model.get(key) or None) for key in model if key.startswith("freeze_")),
        ("learning rate", model.get("lr")),
        ("warm-up steps", model.get("warmup_steps")),
        ("weight decay", model.get("weight_decay")),
        ("epochs", trainer.get("max_epochs")),
        ("steps at most", steps if (steps := trainer.get("max_steps")) != -1 else None),
        ("batch size", data.get("batch_size")),
        ("gradients accumulated over", n if (n := trainer.get("accumulate_grad_batches")) != 1 else None),
        ("precision", trainer.get("precision")),
        ("gradient clipping", trainer.get("gradient_clip_val")),
    ]
    callbacks = trainer.get("callbacks") or ()
    known += [
        ("callback", _with_options(item))
        for item in (callbacks if isinstance(callbacks, list) else [callbacks])
        if str(_mapping(item).get("class_path", "")).startswith("starft.")
    ]
    known.append(("seed", config.get("seed_everything")))
    seconds = results.training.get("seconds") if results is not None else None
    known.append(("training time", f"{seconds:.0f} s" if isinstance(seconds, int | float) else None))
    yield from ((name, _text(value)) for name, value in known if value is not None and value != "")


def _class(held: Mapping[str, Any]) -> str:
    return str(held.get("class_path", "")).rpartition(".")[2]


def _with_options(held: Any) -> str | None:
    """Return ``Class (weight 0.5, teacher frozen)``; the weight first, what is None left out."""
    one = _mapping(held)
    if "class_path" not in one:
        return None
    options = _mapping(one.get("init_args"))
    order = sorted(options, key=lambda name: name != "weight")
    message = ", ".join(f"{name} {_text(options[name])}" for name in order if options[name] is not None)
    return f"{_class(one)} ({message})" if message else _class(one)


def _mapping(held: Any) -> Mapping[str, Any]:
    return held if isinstance(held, Mapping) else {}


def _text(value: Any) -> str:
    """Return a value as a reader of the card sees it; of an absolute path its last part, as a card may be published."""
    if isinstance(value, Mapping) and "class_path" in value:
        return _with_options(value) or ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = str(value)
    if Path(text).is_absolute() or text.startswith("~"):
        text = Path(text).name
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
