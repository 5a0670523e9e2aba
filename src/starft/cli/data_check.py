"""``starft data check``: prints what data hold and what is wrong with them."""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from rich.progress import Progress
from rich.text import Text

from starft.captions.english import doubled_articles
from starft.captions.plain import are_plain, surely_fit
from starft.config.own_data import contents_of
from starft.data.check import Checked, told_once
from starft.data.contents import ImageContents
from starft.data.problem_texts import Problem
from starft.errors import StarftError
from starft.files.shipped import listed_model
from starft.reporting.console import Console
from starft.reporting.data_report import data_tables, shortcut, small_group, unmeasured, usual_groups
from starft.safe_text import indented, visible
from starft.types import ImagePreprocessing
from starft.wording import ended


def read_data(section: Any, seed: int, where: str, options: Sequence[str]) -> Any:
    """Return the data of a config: what they hold, without torch where they are a user's own, or their DataModule.

    Args:
        section: The config's.
        seed: Of the run.
        where: What messages call the config.
        options: Of the command line, ``--data...``.

    Raises:
        ConfigError: The section can't be used.
    """
    contents = contents_of(section, seed, where, options)
    if contents is not None:
        return contents
    import_module("starft.mini")  # configs may name its classes without their module
    return import_module("starft.config.data").data_of(section, seed, where, options)


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
