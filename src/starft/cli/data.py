"""``starft data``: what a config's data hold and everything that is wrong with them; and writing them as shards."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from starft.cli.launch import load_module
from starft.config.class_paths import make_importable
from starft.config.early_checks import check_config_files
from starft.config.parser_errors import one_sentence
from starft.config.prompts import MODEL
from starft.errors import ConfigError
from starft.files.yaml_reader import read_yaml, seed_of
from starft.safe_text import say
from starft.wording import did_you_mean

USAGE = """usage: starft data check --config CONFIG [--deep] [--audit] [--workers N] [--data.init_args.NAME VALUE ...]

Look at the data of a config without building its model: counts, paths, labels, groups, class names, images in both
train and test. Exit status 2 if a run would be refused, else 0. Of the options of a run, --model.model_name tells whose
tokenizer reads the captions; the others (--model..., --trainer...) do nothing.

  --config CONFIG   a config, as for `starft fit`; several are laid over each other
  --deep            decode every image too, compare pictures, and say how many a core reads in a second
  --audit           look for shortcuts with the frozen model too, as `starft audit data` does, where no run is refused
  --workers N       processes that decode; one for each CPU unless given
"""
PACK_USAGE = """usage: starft data pack --config CONFIG --to DIR [--shard-size SIZE] [--resize PIXELS]
                        [--data.init_args.NAME VALUE ...]

Write the images of a config's training data as tar shards (WebDataset's layout), with their labels, attributes, groups
and splits. Give the folder to starft.data.Packed as its root: a run on it ends in the same weights. A command that was
stopped goes on where it was when you give it again. Where the config has more eval sets (evals), each data set gets a
folder of its own below DIR, called as its metrics are.

  --config CONFIG    a config, as for `starft fit`; several are laid over each other
  --to DIR           where to; an empty folder, or one that an earlier command left unfinished
  --shard-size SIZE  bytes of a shard, such as 64MB or 1GB; 256MB unless given
  --resize PIXELS    shrink pictures whose shorter side is longer, JPEG of quality 95; files are copied as they are
                     unless given
"""
VERBS = {"check": USAGE, "pack": PACK_USAGE}
OF_A_RUN = ("--trainer", "--checkpoint", "--seed_everything", "--ckpt_path")
"""Options of a run that have nothing to do with its data."""


def run(words: Sequence[str]) -> int:
    """Run one of the verbs.

    Args:
        words: "data", the verb and its options.

    Raises:
        ConfigError: The verb, its options or the config can't be used.
    """
    verb, rest = (words[1] if len(words) > 1 else "--help"), list(words[2:])
    if verb in ("--help", "-h"):
        say("\n".join(VERBS.values()).rstrip(), lines=True)
        return 0
    if verb not in VERBS:
        verbs = " and ".join(VERBS)
        raise ConfigError(f"`starft data` has no verb {verb!r}; its verbs are {verbs}.{did_you_mean(verb, VERBS, 1)}")
    if {"--help", "-h"} & {*rest}:
        say(VERBS[verb].rstrip(), lines=True)
        return 0
    configs = check_config_files(rest)
    own, of_data, of_model = _sorted(rest)
    parser = ArgumentParser(prog=f"starft data {verb}", exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", "-c", type=str, action="append")
    if verb == "check":
        parser.add_argument("--deep", action="store_true")
        parser.add_argument("--audit", action="store_true")
        parser.add_argument("--workers", type=int | None, default=None)
    else:
        parser.add_argument("--to", type=str | None, default=None)
        parser.add_argument("--shard-size", type=str, default="256MB")
        parser.add_argument("--resize", type=int | None, default=None)
    try:
        options = parser.parse_args(own)
    except ArgumentError as error:
        keys = import_module("starft.config.data").keys_of(rest, configs)
        raise ConfigError(f"{one_sentence(error, keys)} See `starft data {verb} --help`.") from error
    if verb == "check":
        _check_numbers(options)
    packing = load_module("starft.cli.data_pack").Packing(options) if verb == "pack" else None
    make_importable(map(Path, options.config or ()))
    values: dict[str, Any] = {}
    for path in options.config or ():
        values = _laid_over(values, read_yaml(Path(path)))
    if not values:
        raise ConfigError(
            f"`starft data {verb}` needs --config FILE, as for `starft fit`, such as "
            "lightning_configs/csv/starft.yaml; --data... options only change what is in it."
        )
    checking = load_module("starft.cli.data_check")
    data = checking.read_data(values.get("data"), seed_of(values), options.config[-1], of_data)
    if not isinstance(data, checking.ImageContents):
        say(f"{type(data).__name__} reads no images from disk: nothing to {verb}.")
        return 0
    if packing is not None:
        packing.write(data)
        return 0
    model, audit = values.get("model"), ["audit", "data", "--config", options.config[-1], *of_data, *of_model]
    asked = options.deep, options.workers, _templates(model), _model_name(rest, model)
    status = int(checking.check(data, *asked, audit))
    return status or (int(import_module("starft.cli.audit").run(audit)) if options.audit else 0)


def _check_numbers(options: Namespace) -> None:
    """Refuse options of ``check`` that can't be.

    Raises:
        ConfigError: One can't.
    """
    if options.audit and len(options.config or ()) > 1:
        raise ConfigError(f"--audit takes one config; got {len(options.config)}. Lay them over each other in one file.")
    if options.workers is not None and options.workers < 0:
        raise ConfigError(f"--workers must be at least 0; got {options.workers}.")


def _templates(model: object) -> tuple[str, ...]:
    """Return the caption templates that a config's model section puts in the place of those of the data."""
    given = model.get("templates") if isinstance(model, dict) else None
    return tuple(map(str, given)) if isinstance(given, list) else ()


def _model_name(words: Sequence[str], model: object) -> str:
    """Return the model that a command names, or else its configs, or else the one that a run takes."""
    given = [
        word.partition("=")[2] if "=" in word else "".join(words[at + 1 : at + 2])
        for at, word in enumerate(words)
        if word.partition("=")[0] == "--model.model_name"
    ]
    named = given[-1] if given else model.get("model_name") if isinstance(model, dict) else None
    return named if isinstance(named, str) else MODEL


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key: _laid_over(below[key], above[key]) for key in above if _are_dicts(below.get(key), above[key])}
    return below | above | both


def _are_dicts(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


def _sorted(words: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the words of this command, of the data section and of the model, without those of other parts."""
    own: list[str] = []
    of_data: list[str] = []
    of_model: list[str] = []
    into = own
    for word in words:
        if word.startswith("--data"):
            into = of_data
        elif word.startswith("--model"):
            into = of_model
        elif word.startswith(OF_A_RUN):
            into = []
        elif word.startswith("-") and not word.removeprefix("-")[:1].isdigit():
            into = own
        into.append(word)
    return own, of_data, of_model
