"""``starft init``: write a config for a person's own images, so that its options needn't be given again."""

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from starft.config.command import run_command
from starft.config.own_images import TABLES, Own, look_at_folder, look_at_table
from starft.data.datasets.table_file import DOUBTFUL
from starft.errors import ConfigError
from starft.files.atomic import is_taken, replace_file
from starft.files.shipped import shipped
from starft.files.yaml_reader import dump_yaml
from starft.safe_text import say
from starft.wording import count_of, did_you_mean

FEW_CLASSES = 3
"""Up to so many, StarFT's alignment of captions has little to hold on to."""
MANY_CLASSES = 200
"""From so many on, class names aren't listed."""
ENOUGH = 25
"""Validation images of a group whose accuracy may choose the best checkpoint."""
VAL_SHARE = 0.1
TRAIN_SHARE = 0.7
EPOCHS = 20


def run(words: Sequence[str]) -> int:
    """Run ``starft init``: `command` tells its options."""
    return run_command(command, "starft init", words[1:])


def command(source: Path, out: Path | None = None) -> int:
    """Write a commented config for your own images: a table (.csv, .tsv, .parquet, .jsonl), or a folder of folders.

    Args:
        source: The table, or the folder that holds a folder for each class.
        out: The config to write; null takes the source's name with .yaml.

    Raises:
        StarftError: An option or the images can't be used, or the config is there already.
    """
    name = source.resolve().stem or "images"
    out = out or Path(f"{name}.yaml")
    if out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out must end in .yaml; got {out}.")
    if is_taken(out):
        raise ConfigError(f"{out} exists already, and is left as it is; give another --out, or move it away.")
    if not source.exists():
        near = did_you_mean(source.name, (path.name for path in source.parent.glob("*")), likeness=0.75)
        raise ConfigError(f"There is no {source}; give a table or a folder of your images.{near}")
    if not source.is_dir() and (source.suffix.lower() not in TABLES or not source.is_file()):
        raise ConfigError(f"{source} must be a folder, or a table that ends in one of {', '.join(TABLES)}.")
    own = look_at_folder(source) if source.is_dir() else look_at_table(source)
    text = config_for(source, own, re.sub(r"[^\w.-]+", "_", name))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, text.encode())
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {error.strerror}; give another --out.") from error
    say(f"Wrote {out}: {_in_words(own)}. Read it, and change what isn't so.")
    given = shlex.quote(os.fspath(out))
    say(f"Next: starft data check --config {given} --deep")
    say(f"Then: starft fit --config {given}")
    return 0


def config_for(source: Path, own: Own, name: str) -> str:
    """Return the text of a config: a shipped one, with what is known of the images filled in.

    Args:
        source: The table or folder.
        own: What it holds.
        name: Of the run folder.
    """
    kind = "imagefolder" if source.is_dir() else "csv"
    method = "ce" if len(own.classes) <= FEW_CLASSES else "starft"
    text = (shipped("lightning_configs") / kind / f"{method}.yaml").read_text(encoding="utf-8")
    batch, warmup = _plan(own)
    by_group = own.smallest * VAL_SHARE >= ENOUGH
    values = {
        "default_root_dir": f"runs/{name}",
        "root" if source.is_dir() else "file": _scalar(os.fspath(source)),
        "class_names": _class_names(own),
        "batch_size": str(batch),
        "warmup_steps": str(warmup),
        "monitor": f"val/id/{'worst_group_acc' if by_group else 'acc'}",
    }
    if source.is_dir():
        values["attribute_level"] = str(bool(own.attributes)).lower()
    for key, value in values.items():
        text = _with(text, key, value)
    lines = [f"    {kind}_column: {_scalar(column)}\n" for kind, column in own.columns.items()]
    lines += [
        f"    # attribute_column: {_scalar(column)} # if it is what may mislead the model, such as a background\n"
        for column in own.others[:3]
        if "attribute" not in own.columns
    ]
    text = re.sub(r"(    file: .*\n)", lambda match: match[1] + "".join(lines), text, count=1)
    head = [
        f"# Written by `starft init` for {source}: {_in_words(own)}.",
        "# Look at the data with `starft data check`, train with `starft fit`, each with --config and this file.",
        "# The number to beat is the model as it is: starft test --config THIS --trainer.default_root_dir OTHER",
    ]
    if method == "ce":
        head += [
            f"# Plain fine-tuning. For {len(own.classes)} classes, what keeps shortcuts out is",
            f"# {kind}/starft_kinds, which wants kinds of your classes from you"
            + (f", or {kind}/group_dro." if own.attributes else "."),
        ]
    return "\n".join(head) + "\n" + text[text.index("seed_everything") :]


def _plan(own: Own) -> tuple[int, int]:
    """Return batch size and warm-up that go with the number of images."""
    train = int(own.images * TRAIN_SHARE)
    batch = next(size for size in (64, 32, 16, 8, 4, 2, 1) if size == 1 or 4 * size <= train)
    return batch, min(500, max(1, train // batch * EPOCHS // 10))


def _with(text: str, key: str, value: str) -> str:
    """Return the text with another value of a key, whose comment stays where there is nothing but a value."""
    line = re.compile(rf"^( *{key}:)[^#\n]*?( *#.*)?$", re.MULTILINE)
    if "\n" in value:
        return line.sub(lambda match: match[1] + value, text, count=1)
    return line.sub(lambda match: f"{match[1]} {value}{match[2] or ''}", text, count=1)


def _class_names(own: Own) -> str:
    """Return the names that captions get: the labels, with spaces for ``_``; what may be no label is a comment."""
    if len(own.classes) > MANY_CLASSES or {*own.classes} <= {*DOUBTFUL}:
        return "null"
    lines = [
        f"      {'# ' * (label in DOUBTFUL)}{_scalar(label)}: {_scalar(label.replace('_', ' ').strip() or label)}"
        + " # often means that nothing is known; take the first # away if it is a class" * (label in DOUBTFUL)
        for label in own.classes
    ]
    return " # what captions call each of them: write what a photograph's caption would say\n" + "\n".join(lines)


def _scalar(text: str) -> str:
    return dump_yaml([text], width=10_000).removeprefix("- ").rstrip("\n")


def _in_words(own: Own) -> str:
    parts = [count_of(own.images, "image"), f"{len(own.classes)} classes"]
    parts += [count_of(len(own.attributes), "attribute")] if own.attributes else []
    parts += [f"{kind} in column {column!r}" for kind, column in own.columns.items()]
    parts += [] if own.splits else ["splits are drawn"]
    return ", ".join(parts)
