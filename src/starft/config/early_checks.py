"""What can be told of a command before torch is loaded: broken configs, and options by their names in other tools."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yaml import YAMLError

from starft.config.class_paths import check_class_paths
from starft.errors import ConfigError
from starft.files.shipped import shipped
from starft.files.yaml_reader import LISTS, NotTaken, load_yaml, read_yaml
from starft.wording import did_you_mean

ELSEWHERE = {
    "model.lr": "lr learning_rate",
    "model.weight_decay": "weight_decay wd",
    "model.warmup_steps": "warmup_steps num_warmup_steps warmup",
    "model.model_name": "model_name model arch architecture backbone",
    "model.pretrained": "pretrained weights",
    "model.objective": "objective loss criterion",
    "trainer.max_epochs": "max_epochs epochs num_epochs num_train_epochs",
    "trainer.max_steps": "max_steps num_steps",
    "trainer.accelerator": "accelerator device",
    "trainer.devices": "devices gpus num_gpus",
    "trainer.precision": "precision",
    "trainer.default_root_dir": "default_root_dir output out output_dir out_dir save_dir",
    "data.init_args.batch_size": "batch_size train_batch_size per_device_train_batch_size bs",
    "data.init_args.num_workers": "num_workers workers",
    "seed_everything": "seed",
    "ckpt_path": "checkpoint ckpt resume resume_from resume_from_checkpoint",
}
"""Our options, and how people who know other tools call them."""

OURS = {name: ours for ours, names in ELSEWHERE.items() for name in names.split()}


def ours(option: str) -> str | None:
    """Return our name of an option that other tools call so, or None where the name is ours or nobody's.

    Args:
        option: Without its dashes; alone, or in the model's or the trainer's section.

    Example:
        >>> ours("model.learning-rate"), ours("epochs"), ours("trainer.max_epochs")
        ('model.lr', 'trainer.max_epochs', None)
    """
    name = option.replace("-", "_")
    section, _, last = name.rpartition(".")
    result = OURS.get(last) if section in ("", "model", "trainer") else None
    return None if result == name else result


def check_words(words: Sequence[str]) -> list[dict[str, Any]]:
    """Look at the words of ``fit``, ``validate``, ``test`` or ``predict``, and return what their configs hold.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: There is no config, one can't be used, or an option isn't called so.
    """
    configs = check_config_files(words)
    if any("help" in word or "print_config" in word or word == "-h" for word in words):
        return configs
    if not any(re.match(r"-c$|--config\b|--data(=|$|\.class_path)", word) for word in words[1:]):
        raise ConfigError("No config is given; give --config FILE, such as lightning_configs/mini/starft.yaml.")
    given = re.search(r"--data[= ](\S+\.(?:(ya?ml)|csv|tsv|parquet|jsonl))(?: |$)", " ".join(words))
    has_config = any(re.match(r"-c$|--config\b", word) for word in words)
    if given is not None and not (given[2] and has_config):  # beside a config, a file may hold the data section
        option = "--config" if given[2] else "--data.init_args.file"
        raise ConfigError(f"--data takes a class, such as starft.data.CSV; give {given[1]} as {option}.")
    _check_names(words)
    return configs


def check_values(words: Sequence[str]) -> None:
    """Refuse values of options, and files that they name, whose YAML isn't taken; the parser would read on.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: A value is nested too deeply, say, or has a key twice.
    """
    configs = set(map(str, config_paths(words)))
    for word in words:
        option, given, value = word.partition("=")
        value = value if given and option.startswith("--") else word
        if str(Path(value)) in configs:
            continue
        if value.endswith((".yaml", ".yml")) and Path(value).is_file():
            check_class_paths(read_yaml(Path(value), "file"), f"The file {value}")
        elif value[:1] in LISTS:
            try:
                content = load_yaml(value)
            except NotTaken as problem:
                raise ConfigError(f"The value of {option if given else 'an option'} {problem}.") from problem
            except YAMLError:  # a text, or told by the parser
                continue
            check_class_paths(content, f"The value of {option if given else 'an option'}")


def _check_names(words: Sequence[str]) -> None:
    """Refuse options of other tools; all at once, as they come together."""
    results: dict[str, str] = {}
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        value = value if equals else "".join(words[at + 1 : at + 2])
        is_section = option == "--model" and value.endswith((".yaml", ".yml", ".json"))  # a file with that section
        meant = ours(option[2:]) if option.startswith("--") and not is_section else None
        if meant is not None:
            results[option] = f"--{meant}"
    if results:
        raise ConfigError(f"There is no option {' or '.join(results)}. Did you mean {' and '.join(results.values())}?")


def check_config_files(words: Sequence[str]) -> list[dict[str, Any]]:
    """Read every config file that a command names; the parser wouldn't say which one is broken.

    Args:
        words: The verb and its options.

    Returns:
        What they hold, in their order.

    Raises:
        ConfigError: A file is missing, can't be read, or isn't a YAML mapping, or an option's value isn't taken.
    """
    check_values(words)
    return [_read(path) for path in config_paths(words)]


def config_paths(words: Sequence[str]) -> list[Path]:
    """Return the config files that a command names.

    Args:
        words: The verb and its options.

    Example:
        >>> [path.name for path in config_paths(["fit", "-c", "a.yaml", "--config=b.yaml"])]
        ['a.yaml', 'b.yaml']
    """
    paths = []
    for at, word in enumerate(words):
        option, given, value = word.partition("=")
        if option in ("-c", "--config"):
            paths.append(Path(value if given else "".join(words[at + 1 : at + 2])))
    return paths


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except FileNotFoundError:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob("*.yaml"))) or near_shipped(path)
        raise ConfigError(f"The config {path} doesn't exist; check its path.{near}") from None
    if not isinstance(config, dict):
        raise ConfigError(
            f"The config {path} must hold keys such as model, data and trainer; got {type(config).__name__}."
        )
    check_class_paths(config, f"The config {path}")
    return config


def near_shipped(path: Path) -> str:
    """Return a suggestion of shipped configs for the path of one that isn't there.

    Args:
        path: As it was given; a short name such as ``csv/starft``, or a part of one.
    """
    folder = shipped("lightning_configs")
    names = sorted(item.relative_to(folder).with_suffix("").as_posix() for item in folder.rglob("*.yaml"))
    given = path.with_suffix("").as_posix().removeprefix(f"{folder.name}/")
    section, _, method = given.rpartition("/")
    beside = [name for name in names if section and name.startswith(f"{section}/")]
    if beside:  # what lies there comes first, whatever there is elsewhere
        near = did_you_mean(given, beside, limit=1, likeness=0.75)
        elsewhere = [name for name in names if name.endswith(f"/{method}")]
        there = f", and {method} is for other data: {', '.join(elsewhere)}" if elsewhere else ""
        return near or f" The configs of {section}/ are {', '.join(name.rpartition('/')[2] for name in beside)}{there}."
    parts = [name for name in names if given in name.split("/")]
    if parts:
        return f" Did you mean {' or '.join(parts)}?"
    return did_you_mean(given, names, limit=1, likeness=0.75)
