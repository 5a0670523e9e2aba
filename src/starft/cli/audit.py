"""``starft audit VERB``: what goes wrong without group labels."""

import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from starft.captions.pool_files import load_pool
from starft.captions.pools import Pool
from starft.config.command import chosen_verb, run_command
from starft.config.prompts import RunConfig, read_config
from starft.errors import ConfigError
from starft.files.addresses import address_of, shown
from starft.files.atomic import replace_file
from starft.runs.audit_result import read_audit
from starft.runs.folder import check_writable, lock_folder
from starft.runs.layout import AUDIT, AUDIT_PAGE, AUDIT_RESULT
from starft.safe_text import say, visible
from starft.wording import count_of

if TYPE_CHECKING:
    from starft.audit.data_audit import DataAudit
    from starft.data.datamodules import BaseDataModule

PAGE_SUFFIXES = (".html", ".htm")
"""Of an --out that names a page."""
POOL = "backgrounds"
"""The pool that is taken where neither the command nor the config names one."""
LISTED = 15
"""Attributes, and copies, that are listed."""


def run(words: Sequence[str]) -> int:
    """Run one of the verbs.

    Args:
        words: "audit", the verb and its options.

    Raises:
        ConfigError: The verb or its options can't be used.
    """
    about = {name: does for name, (_, does) in VERBS.items()}
    verb = chosen_verb("starft audit", "What goes wrong without group labels.", about, words[1:])
    if verb is None:
        return 0
    return run_command(VERBS[verb][0], f"starft audit {verb}", words[2:])


def data(
    *,
    config: str,
    pools: str | None = None,
    pool: str | None = None,
    to: Path | None = None,
    out: Path | None = None,
    overrides: tuple[str, ...] = (),
) -> int:
    """Find the shortcuts that your training images offer, without attribute labels and before training.

    The frozen CLIP of the config looks at all images once and keeps their features. It tells which phrases go with the
    labels, infers an attribute for each image with its probability, and finds near duplicates across splits.

    Args:
        config: A training config, for its data, model and seed.
        pools: Names or files of pools with commas between; null takes those of the config's model, or else backgrounds.
        pool: One name or file of a pool, in the place of --pools.
        to: A table to write: your images with the columns attribute and attribute_probability, and group (a class with
            or without its shortcut) where there is a shortcut.
        out: Folder for features, findings and the page audit.html; null takes audit in the config's run folder. A name
            that ends in .html is that of the page alone.
        overrides: Options that change the config, as ``--data.init_args.NAME=VALUE``.

    Raises:
        StarftError: Pools, config, data, model or outputs can't be used.
    """
    run_config, images, loaded = _read(config, pools, pool, overrides)
    if to is not None:
        import_module("starft.audit.attribute_table").check_table(to, images)
    folder, page = _places(run_config, out)
    with lock_folder(folder):
        found = _look(run_config, images, loaded, folder, to)
    _tell(found, folder)
    _write_page(folder, page)
    if to is not None:
        say(f"Wrote {to}; {_next_command(images, config, to, overrides)}")
    elif import_module("starft.audit.inferred_groups").usual_values(found, images.class_names):  # there are groups
        say("Next: the same command --to TABLE writes groups to train with; after training, see starft audit model.")
    return 0


def model(
    ckpt: str,
    *,
    config: str,
    versus: str | None = None,
    pools: str | None = None,
    pool: str | None = None,
    checked: Path | None = None,
    maps: int = 12,
    out: Path | None = None,
    overrides: tuple[str, ...] = (),
) -> int:
    """Find what your trained model fails on, without attribute labels: error slices, in words.

    A slice is found on one half of the validation and test images and measured on the other. The folder keeps features
    of the frozen CLIP, which `starft audit data` uses too. Accuracies of inferred groups carry intervals that know the
    errors of the inference.

    Args:
        ckpt: A checkpoint, or a folder by `starft export`.
        config: The config that it was trained with, for its data, frozen model and seed.
        versus: Another model, measured on the slices of the first.
        pools: Names or files of pools with commas between; null takes those of the config's model, or else backgrounds.
        pool: One name or file of a pool, in the place of --pools.
        checked: A table with columns path and attribute: the true attribute of validation or test images that you drew
            at random and looked at.
        maps: How many of the surest mistakes get a heat map of where the tuned and the frozen model look, besides those
            that a report shows; 0 for none.
        out: Folder for features, findings and the page audit.html; null takes audit in the config's run folder. A name
            that ends in .html is that of the page alone.
        overrides: Options that change the config, as ``--data.init_args.NAME=VALUE``.

    Raises:
        StarftError: The models, pools, config, data or outputs can't be used.
    """
    if maps < 0:
        raise ConfigError(f"--maps must be at least 0; got {maps}.")
    run_config, images, loaded = _read(config, pools, pool, overrides)
    folder, page = _places(run_config, out)
    with lock_folder(folder):
        import_module("starft.cli.audit_model").look(
            [ckpt] if versus is None else [ckpt, versus], run_config, images, loaded, checked, folder, maps
        )
    _write_page(folder, page)
    return 0


def _read(
    config: str, pools: str | None, pool: str | None, overrides: tuple[str, ...]
) -> "tuple[RunConfig, BaseDataModule, list[Pool]]":
    """Return the config, its data, not set up, and the pools.

    Raises:
        ConfigError: They can't be used.
    """
    if pools is not None and pool is not None:
        raise ConfigError("--pool and --pools name the same thing; give one of them.")
    run_config = read_config(config, overrides)
    if run_config.section is None:
        raise ConfigError(f"The config {config} has no 'data' section; an audit needs images, as `starft fit` does.")
    given = pools.split(",") if pools is not None else [pool] if pool is not None else run_config.pools or [POOL]
    loaded = [load_pool(name.strip()) for name in given]
    images = run_config.data
    assert images is not None, "it has a section"
    return run_config, images, loaded


def _places(run_config: RunConfig, out: Path | None) -> tuple[Path, Path]:
    """Return the folder of the audit, made if need be, and its page.

    Raises:
        ConfigError: The page would replace a file of somebody else, or has no folder.
    """
    folder = (run_config.folder or Path("runs") / run_config.path.stem) / AUDIT
    if out is not None and out.suffix.lower() in PAGE_SUFFIXES and not out.is_dir():
        page = out
        if not page.parent.is_dir():
            raise ConfigError(f"The folder of --out {page} doesn't exist; make it, or give another.")
    else:
        folder = out if out is not None else folder
        page = folder / AUDIT_PAGE
    if not import_module("starft.reporting.audit_page").is_audit_page(page):
        raise ConfigError(f"{page} exists already and isn't a page of an audit; give another --out, or move it away.")
    if address_of(folder) is not None:
        raise ConfigError(f"The folder {shown(folder)} is remote, and an audit needs one of this machine; give --out.")
    check_writable(folder)
    return folder, page


def _write_page(folder: Path, page: Path) -> None:
    replace_file(page, import_module("starft.reporting.audit_page").audit_page(folder).encode())
    say(f"Look at it in {page}.")


def _look(
    run_config: RunConfig, images: "BaseDataModule", pools: Sequence[Pool], folder: Path, to: Path | None
) -> "DataAudit":
    """Look at all images, infer attributes, and write what was found."""
    audits, features = import_module("starft.audit.data_audit"), import_module("starft.audit.features")
    features.check_images(images)
    model = f"{run_config.model_name} ({run_config.pretrained})"
    import_module("starft.audit.kept").check_kept(model, folder)
    import_module("starft.reporting.audit_page").check_beside(folder, AUDIT_RESULT)
    clip = features.frozen_clip(run_config.model_name, run_config.pretrained)
    asked = features.image_preprocessing(clip.model)
    images_of = features.own_sets(images, asked)
    sets = {}
    for name, item in images_of.items():
        say(f"Looking at {count_of(len(item), 'image')} of {name} ...", file=sys.stderr)
        sets[name] = features.features_of(clip, model, images, name, item, folder)
    pairs = import_module("starft.audit.copies").copies_across(sets, clip.device, folder)
    about_data = (images.class_names, images.templates[0], run_config.seed)
    found: DataAudit = audits.audit_data(clip, sets, pools, *about_data, pairs)
    audits.save_attributes(found, folder)
    if to is not None:
        import_module("starft.audit.attribute_table").write_table(to, images, images_of, sets, found)
    about = {
        "config": str(run_config.path),
        "seed": run_config.seed,
        "model": {
            "name": run_config.model_name,
            "pretrained": run_config.pretrained,
            "weights": import_module("starft.audit.digests").weights_digest(clip),
        },
        "pools": [pool.name for pool in pools],
        "table": None if to is None else str(to),
    }
    pictures = import_module("starft.audit.pictures")
    examples = pictures.examples_of(found, sets[features.TRAIN], images.class_names, run_config.seed)
    pictures.keep_pictures(folder, images, images_of, sets, asked, pictures.of_data(found, examples))
    import_module("starft.audit.result_file").write_audit(folder, found, examples, about)
    return found


def _tell(found: "DataAudit", folder: Path) -> None:
    """Print the attributes, the copies and what they mean."""
    audits = import_module("starft.audit.data_audit")
    console = import_module("starft.reporting.console").Console(140)
    tables = import_module("starft.reporting.audit_tables")
    console.print(tables.attributes_table(read_audit(folder), LISTED))
    for pair in found.copies[:LISTED]:
        say(f"copy: {pair.path} of {pair.set} is {pair.of_path} of {pair.of_set} (likeness {pair.likeness:.2f})")
    if found.copies:
        say(f"{count_of(len(found.copies), 'near duplicate')} across splits; keep each picture in one split.")
    for name, of_set in found.not_compared:
        say(f"{name} and {of_set} are too large to look for near duplicates.")
    say(visible(audits.in_words(found)))
    say(f"All of it is in {folder}/audit.json.")


def _next_command(images: "BaseDataModule", config: str, to: Path, overrides: Sequence[str]) -> str:
    """Return how a training takes the table: a copy of a table by the options that read that one."""
    source = getattr(images, "source", None)
    words = ["starft", "data", "check", "--config", config, "--data.init_args.file", str(to)]
    words += [word for word in overrides if word.partition("=")[0].rpartition(".")[2] not in ("file", "root")]
    if type(source).__name__ != "CSVSource":
        words[4:] = ["lightning_configs/csv/ce.yaml", *words[5:7]]
    elif source is not None and Path(source.root).absolute() != to.parent.absolute():
        words += ["--data.init_args.root", str(source.root)]
    return f"every command takes it, as `{shlex.join(words)}`."


VERBS: dict[str, tuple[Callable[..., int], str]] = {
    "data": (data, "which shortcuts your training images offer, and an attribute for each image"),
    "model": (model, "which images your trained model fails on, in words, and how sure that is"),
}
"""Verb -> its function, and what that does."""
