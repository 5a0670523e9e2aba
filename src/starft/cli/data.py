"""``starft data``: what a config's data hold and everything that is wrong with them; and writing them as shards."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace
from rich.progress import Progress
from rich.text import Text

from starft.captions.english import doubled_articles
from starft.captions.plain import are_plain, surely_fit
from starft.config.class_paths import make_importable
from starft.config.early_checks import check_config_files
from starft.config.own_data import contents_of
from starft.config.parser_errors import one_sentence
from starft.config.prompts import MODEL
from starft.data.check import Checked, told_once
from starft.data.contents import ImageContents
from starft.data.problem_texts import Problem
from starft.errors import ConfigError, StarftError
from starft.files.shipped import listed_model
from starft.files.yaml_reader import read_yaml, seed_of
from starft.reporting.console import Console
from starft.reporting.data_report import data_tables, shortcut, small_group, unmeasured, usual_groups
from starft.safe_text import indented, say, visible
from starft.types import ImagePreprocessing
from starft.wording import did_you_mean, ended

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
    packing = import_module("starft.cli.data_pack").Packing(options) if verb == "pack" else None
    make_importable(map(Path, options.config or ()))
    values: dict[str, Any] = {}
    for path in options.config or ():
        values = _laid_over(values, read_yaml(Path(path)))
    if not values:
        raise ConfigError(
            f"`starft data {verb}` needs --config FILE, as for `starft fit`, such as "
            "lightning_configs/csv/starft.yaml; --data... options only change what is in it."
        )
    given = values.get("data"), seed_of(values), options.config[-1], of_data
    data = contents_of(*given)
    if data is None:  # another DataModule than a user's own; these need torch
        import_module("starft.mini")  # configs may name its classes without their module
        data = import_module("starft.config.data").data_of(*given)
    if not isinstance(data, ImageContents):
        say(f"{type(data).__name__} reads no images from disk: nothing to {verb}.")
        return 0
    if packing is not None:
        packing.write(data)
        return 0
    model, audit = values.get("model"), ["audit", "data", "--config", options.config[-1], *of_data, *of_model]
    status = check(data, options.deep, options.workers, _templates(model), _model_name(rest, model), audit)
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


def check(
    data: ImageContents,
    deep: bool = False,
    workers: int | None = None,
    templates: Sequence[str] = (),
    model_name: str | None = None,
    audit: Sequence[str] = (),
) -> int:
    """Print what the data hold and what is wrong with them; return 2 if a run would be refused, else 0.

    Args:
        data: Of a config.
        deep: Decode every image.
        workers: Processes that decode; null takes one for each CPU.
        templates: Of the training captions, where the model's section gives some.
        model_name: Whose tokenizer reads the captions; null compares them as text alone.
        audit: The words that look for shortcuts in data without groups.
    """
    stages = ["fit", "test", *(["predict"] if data.new_images is not None else [])]
    checked = data.check(*stages)
    looked = "no image decoded; --deep decodes them all"
    if deep:
        looked = _look_deep(data, checked, workers, _image_size(model_name))
    console = Console(140)
    for table in data_tables(checked, templates):
        console.print(table)
    if deep and any(item.split == "train" and item.images for item in checked):
        _tell_speed(data, console, model_name)
    _look_at_groups(checked, console)
    if any(item.split == "train" and item.images for item in checked) and data.lacks_groups:
        console.print(f"shortcut: {visible(unmeasured(audit))}", soft_wrap=True, highlight=False)
    _look_at_captions(checked, templates)
    if model_name is not None:
        _look_at_tokens(checked, templates, model_name)
    problems = told_once(checked)
    for problem in problems:
        kind = ("problem", "bold red") if problem.stops else ("note", "yellow")
        console.print(Text.assemble(kind, f": {indented(ended(problem.text))}"), soft_wrap=True)
    stops = sum(problem.stops for problem in problems)
    console.print(f"{stops} problem{'' if stops == 1 else 's'} ({looked}).")
    return 2 if stops else 0


def _tell_speed(data: ImageContents, console: Console, model_name: str | None) -> None:
    """Print how fast a core reads the training images; their transforms need torch, so only where that is loaded."""
    known = _image_size(model_name)
    height, width = known or ImagePreprocessing().size
    rate = import_module("starft.data.speed").images_a_second(data, (height, width))
    if rate is not None:
        cores = data.batch_size / rate
        size = f"{height} x {width} pixels"
        size += f", as that of {model_name} isn't known before it is loaded" if model_name and not known else ""
        console.print(
            f"input: a core of this machine reads {rate:,.0f} training images a second (decode {data.decode}, at "
            f"{size}); one step a second of batch_size {data.batch_size} takes {cores:,.1f} cores.",
            soft_wrap=True,
            highlight=False,
        )


def _image_size(model_name: str | None) -> tuple[int, int] | None:
    """Return the height and width of a model's images; None where that takes loading it."""
    model = listed_model(model_name or "")
    size = model["vision_cfg"].get("image_size") if model is not None else None
    return (size, size) if isinstance(size, int) else tuple(size) if size is not None else None


def _look_at_groups(checked: Sequence[Checked], console: Console) -> None:
    """Print how far the attribute goes with the label in train; note groups too small to choose or judge a model by."""
    usual: set[int] = set()
    for item in checked:
        counts = [(group, images) for group, images, _ in item.groups]
        if item.split == "train" and counts and item.attributes:
            usual = usual_groups([images for _, images in counts], len(item.attributes))
            for line in shortcut([images for _, images in counts], item.class_names, item.attributes):
                console.print(f"shortcut: {visible(line)}", soft_wrap=True, highlight=False)
        if item.split in ("val", "test") and not item.extra and not item.as_published:
            atypical = bool(usual) and any(images for at, (_, images) in enumerate(counts) if at not in usual)
            note = small_group(item.name, counts, item.split, atypical)
            item.problems += [Problem(note, stops=False)] if note else []


def _look_at_captions(checked: Sequence[Checked], templates: Sequence[str]) -> None:
    """Note articles that class names bring to the model's own templates; those of the data are looked at already."""
    for item in checked:
        note = doubled_articles(item.class_names, templates) if item.split == "train" else ""
        item.problems += [Problem(note, stops=False)] if note else []


def _look_at_tokens(checked: Sequence[Checked], templates: Sequence[str], model_name: str) -> None:
    """Compare the captions of each split as the model gets them; its tokenizer is loaded where they may need it."""
    plain = all(are_plain(model_name, item.class_names, _captioned(item, templates)) for item in checked)
    if plain and all(surely_fit(model_name, item.captions) for item in checked):
        return
    clip, checks = import_module("starft.clip"), import_module("starft.clip.token_checks")
    try:
        ruler = clip.CaptionRuler(model_name)
    except StarftError as error:
        why = str(error).rstrip(".")
        checked[0].problems.append(Problem(f"captions can't be read as the model reads them: {why}", stops=False))
        return
    done: dict[tuple[Sequence[str], Sequence[str]], list[Any]] = {}
    for entry in checked:
        captions = entry.class_names, _captioned(entry, templates)
        if captions not in done:
            done[captions] = checks.class_problems(ruler, *captions)
        entry.problems += [
            Problem(problem.text, stops=problem.stops and not entry.as_published)
            for problem in done[captions]
            if problem.differs_as_text
        ]
        own = checks.own_caption_problems(ruler, entry.captions)
        own += checks.alike_captions(ruler, entry.captions) if not entry.class_names else []
        entry.problems += [Problem(problem.text, stops=False) for problem in own]


def _captioned(one: Checked, templates: Sequence[str]) -> Sequence[str]:
    """Return the templates that a split's captions are made of: the model's own ones are for training."""
    return templates if one.split == "train" and templates else one.templates


def _look_deep(
    data: ImageContents, checked: Sequence[Checked], workers: int | None, size: tuple[int, int] | None
) -> str:
    """Decode all images that are listed; return what was decoded."""
    train = data.training_table() if any(item.split == "train" and item.table is not None for item in checked) else None
    tables = [item.table for item in checked if item.table is not None]
    decoding = import_module("starft.data.decode_check")
    paths = list(dict.fromkeys(path for table in tables for path in decoding.files(table)))
    own = [table for table in tables if table.read is not None or table.file_bytes is not None]
    readers = {path: table.reader for table in own for path in decoding.files(table)}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("decoding", total=len(paths))
        decoded = decoding.decode(paths, workers, lambda count: progress.advance(task, count), readers, size)
    decoding.look_deep(checked, train, decoded, data.on_bad_image == "skip")
    whole = sum(item.why is None for item in decoded.values())
    unlisted = len(checked) - len(tables)
    if whole == len(paths) and not unlisted:
        return "every image decoded"
    left = f"; {unlisted} split{' is' if unlisted == 1 else 's are'} not listed" if unlisted else ""
    return f"{whole:,} of {len(paths):,} images decoded{left}"


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
