"""``starft audit model``: looks at the images, writes what was found and prints it."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starft.audit.data_audit import audit_data
from starft.audit.features import (
    TRAIN,
    check_images,
    evaluation_sets,
    features_of,
    frozen_clip,
    own_sets,
    paths_of,
)
from starft.audit.inferred_groups import check_places, few_checked, read_checked, true_values
from starft.audit.kept import check_kept
from starft.audit.model_audit import audit_model, check_number, in_words
from starft.audit.pictures import keep_pictures, of_model
from starft.audit.predictions import load_for, predict
from starft.audit.relevance import Mistake, keep_maps, places_of, surest
from starft.audit.shortcut_loss import headline, shortcut_loss
from starft.audit.slices_file import write_slices
from starft.captions.pools import Pool
from starft.clip import image_preprocessing
from starft.config.prompts import RunConfig
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError
from starft.inference.classifier import Classifier
from starft.reporting.audit_page import check_beside
from starft.reporting.audit_tables import groups_table, slices_table
from starft.reporting.console import Console
from starft.reporting.mistakes import shown_mistakes
from starft.runs.audit_result import read_slices
from starft.runs.layout import AUDIT_SLICES, run_folder_of
from starft.runs.run_reader import find_runs
from starft.safe_text import say, visible
from starft.wording import count_of

LISTED = 15
"""Slices that are listed."""


def look(
    checkpoints: Sequence[str],
    run_config: RunConfig,
    data: BaseDataModule,
    pools: Sequence[Pool],
    checked: Path | None,
    folder: Path,
    maps: int,
) -> None:
    """Find the error slices of a model, write slices.json and print them.

    Args:
        checkpoints: Of the model, and of one that it is compared with.
        run_config: Of the data.
        data: Not set up.
        pools: Whose phrases describe slices.
        checked: A table of true attributes.
        folder: Of the audit.
        maps: How many of the surest mistakes get a heat map, and of those that a report of the run shows.

    Raises:
        StarftError: Something can't be used.
    """
    rows = None if checked is None else read_checked(checked)
    check_images(data)
    model = f"{run_config.model_name} ({run_config.pretrained})"
    check_kept(model, folder)
    check_beside(folder, AUDIT_SLICES)
    models = [load_for(path, data) for path in checkpoints]
    clip = frozen_clip(run_config.model_name, run_config.pretrained)
    asked = image_preprocessing(clip.model)
    scored = evaluation_sets(data, asked)
    check_number(sum(map(len, scored.values())))
    check_places(rows or [], {name: paths_of(name, item) for name, item in scored.items()})
    images = {TRAIN: own_sets(data, asked)[TRAIN], **scored}
    sets = {}
    for name, item in images.items():
        say(f"Looking at {count_of(len(item), 'image')} of {name} ...", file=sys.stderr)
        sets[name] = features_of(clip, model, data, name, item, folder)
    evaluated = {name: item for name, item in sets.items() if name != TRAIN}
    audit = audit_data(clip, sets, pools, data.class_names, data.templates[0], run_config.seed)
    truth = None if rows is None else true_values(rows, audit, evaluated)
    predictions = []
    for path, own in zip(checkpoints, models, strict=True):
        say(f"Asking {path} ...", file=sys.stderr)
        asked_of = evaluation_sets(data, own.preprocessing)
        predictions.append({name: predict(own, data, item) for name, item in asked_of.items()})
    data.preprocessing = asked
    second = predictions[1] if len(predictions) > 1 else None
    names, seed = data.class_names, run_config.seed
    result = audit_model(audit, evaluated, predictions[0], names, seed, second=second, checked=truth)
    about = {
        "checkpoint": checkpoints[0],
        "second": checkpoints[1] if len(checkpoints) > 1 else None,
        "config": str(run_config.path),
        "seed": run_config.seed,
        "pools": [pool.name for pool in pools],
        "checked": None if checked is None else str(checked),
    }
    keep_pictures(folder, data, images, sets, asked, of_model(result))
    loss = shortcut_loss(audit, evaluated, predictions[0], names)
    first = headline(audit, loss)
    mistakes: list[Mistake] = []
    if maps:
        say("Looking where the models look ...", file=sys.stderr)
        places = [*surest(evaluated, predictions[0], maps), *_in_the_report(checkpoints[0], data, maps)]
        frozen = Classifier(clip, data.class_names, data.templates)
        mistakes = keep_maps(folder, data, models[0], frozen, places)
    file, console = write_slices(folder, result, first, loss, mistakes, about), Console(140)
    told = read_slices(folder)
    if result.slices:
        console.print(slices_table(told, LISTED))
    if result.groups:
        console.print(groups_table(told))
    for note in few_checked(truth or {}, result.groups):
        say(f"Note: {note}", file=sys.stderr)
    say(visible(first))
    say(visible(in_words(result)))
    say(f"All of it is in {file}, each slice with its images.")


def _in_the_report(checkpoint: str, data: BaseDataModule, most: int) -> list[Mistake]:
    """Return the mistakes that a report of the checkpoint's run shows, where it was tested."""
    folder = run_folder_of(Path(checkpoint))
    with suppress(ConfigError):  # nothing was tested there
        for run in find_runs([folder]) if folder is not None else ():
            if run.folder == folder and (shown := shown_mistakes(run)) is not None:
                return places_of(data, shown[0], shown[1]["index"].tolist()[:most])
    return []
