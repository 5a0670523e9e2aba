"""DaWin, scored: logits of both ends, a place between them for each image, a mixed model for each cluster of places."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from starft.cli.weight_scoring import Scorer, Stage
from starft.errors import ConfigError, RunFolderError
from starft.evaluation.evaluator import Evaluator
from starft.files.atomic import is_taken, replace_file
from starft.reporting.console import Console
from starft.reporting.curve import places_table
from starft.runs.folder import check_writable
from starft.runs.layout import DAWIN, DAWIN_IMAGES
from starft.safe_text import say
from starft.training.averaging import Member, State, interpolate
from starft.training.dawin import coefficients, fit_beta_mixture, temperature
from starft.types import Batch


@dataclass
class SetLogits:
    """What a model made of one eval set.

    Args:
        logits: One row an image, in the order of the loader.
        batches: All but the images.
    """

    logits: list[Tensor]
    batches: list[dict[str, Tensor]]

    def joined(self) -> Tensor:
        """Return all logits, (N, L)."""
        return torch.cat(self.logits)

    def column(self, name: str) -> Tensor:
        """Return a column of all batches, (N,).

        Args:
            name: Such as ``label``.
        """
        return torch.cat([batch[name] for batch in self.batches])


class Recorder(L.Callback):
    """Keeps the logits that a stage makes, on the host."""

    def __init__(self) -> None:
        self.sets: dict[int, SetLogits] = defaultdict(lambda: SetLogits([], []))

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the logits of a batch."""
        which = self.sets[dataloader_idx]
        which.logits.append(outputs.cpu())
        which.batches.append({name: rows.cpu() for name, rows in batch.items() if name != "image"})

    on_validation_batch_end = on_test_batch_end


def score_both(scorer: Scorer, ends: Sequence[State]) -> tuple[list[dict[str, float]], list[dict[int, SetLogits]]]:
    """Return the metrics and the logits of both ends.

    Args:
        scorer: Scores them.
        ends: Weights of the two models.

    Raises:
        ConfigError: Several processes would share the images.
    """
    trainer: Any = scorer.cli.trainer
    if trainer.world_size > 1:
        raise ConfigError(f"DaWin scores on one device; trainer.devices gives {trainer.world_size}, set it to 1.")
    metrics, logits = [], []
    for state in ends:
        recorder = Recorder()
        trainer.callbacks.append(recorder)
        metrics.append(scorer(state))
        trainer.callbacks.remove(recorder)
        logits.append(recorder.sets)
    return metrics, logits


def temperatures(scorer: Scorer, logits: Sequence[Mapping[int, SetLogits]], class_names: Sequence[str]) -> list[float]:
    """Return the temperature of each end on the first validation set that has the training classes and isn't OOD.

    Args:
        scorer: Of the validation sets.
        logits: Of both ends.
        class_names: Training classes.

    Raises:
        ConfigError: There is no such set.
    """
    usual = [at for at, item in enumerate(scorer.eval_sets) if not item.ood and item.class_names == tuple(class_names)]
    if not usual:
        raise ConfigError(
            "DaWin scales its predictions on a validation set with the training classes that isn't OOD, and the config "
            "has none; add one, or leave --dawin out."
        )
    return [temperature(end[usual[0]].joined(), end[usual[0]].column("label")) for end in logits]


def score_images(
    start: Member | None,
    end: Member,
    ends: tuple[State, State],
    config: Path,
    stage: Stage,
    options: Sequence[str],
    folder: Path,
) -> None:
    """Score DaWin beside both ends; print a table, write the numbers and what became of each image.

    Args:
        start: The checkpoint of the first end; None is the pre-trained model.
        end: That of the second.
        ends: Weights of the two models.
        config: Its sets are scored, its validation sets give the temperatures.
        stage: Which sets are scored.
        options: Of the command line, beside the config.
        folder: Where dawin.json and dawin.csv go.

    Raises:
        ConfigError: The sets or the devices can't be used.
        RunFolderError: The folder holds such results already.
    """
    for path in (folder / DAWIN, folder / DAWIN_IMAGES):
        if is_taken(path):
            raise RunFolderError(f"{path} exists already; give another --out, or move it away.")
    check_writable(folder)
    scorer = Scorer(config, end, "validate", options)
    metrics, logits = score_both(scorer, ends)
    scales = temperatures(scorer, logits, end.facts.class_names)
    if stage == "test":
        scorer = Scorer(config, end, "test", options)
        metrics, logits = score_both(scorer, ends)
    evaluator = Evaluator(scorer.eval_sets, keep_samples=stage == "test")
    clusters: dict[str, list[dict[str, float]]] = {}
    tables: list[pd.DataFrame] = []
    for which, item in enumerate(scorer.eval_sets):
        start_logits, recorded = logits[0][which].joined(), logits[1][which]
        places = coefficients(start_logits, recorded.joined(), *scales)
        mixture = fit_beta_mixture(places)
        cluster = mixture.assign(places)
        mixed = torch.empty_like(start_logits)
        for number, alpha in enumerate(mixture.means):
            mine = torch.from_numpy(cluster == number)
            if mine.any():
                mixed[mine] = scorer.logits(which, interpolate(*ends, float(alpha)), mine)
        counted = 0
        for logits_of_end, columns in zip(recorded.logits, recorded.batches, strict=True):
            evaluator.count(which, mixed[counted : counted + len(logits_of_end)], _as_batch(columns))
            counted += len(logits_of_end)
        shown = zip(mixture.means.tolist(), np.bincount(cluster, minlength=len(mixture.means)).tolist(), strict=True)
        clusters[item.name] = [{"alpha": alpha, "images": images} for alpha, images in shown]
        table = pd.DataFrame({name: recorded.column(name) for name in ("index", "label")})
        table = table.assign(prediction=mixed.argmax(dim=1).numpy(), coefficient=places, cluster=cluster)
        table.insert(0, "set", item.name)
        tables.append(table)
    whole = {name: float(value) for name, value in evaluator.compute().items()}
    rows = [
        {"place": place, "metrics": one}
        for place, one in zip(("start", "end", "DaWin"), (*metrics, whole), strict=True)
    ]
    values = {
        "schema_version": 1,
        "start": str(start.path) if start is not None else "pre-trained",
        "end": str(end.path),
        "stage": stage,
        "temperatures": dict(zip(("start", "end"), scales, strict=True)),
        "clusters": clusters,
        "rows": rows,
    }
    replace_file(folder / DAWIN, (json.dumps(values, indent=2) + "\n").encode())
    replace_file(folder / DAWIN_IMAGES, pd.concat(tables).to_csv(index=False).encode())
    Console(160).print(places_table("model", rows))
    say(f"Numbers: {folder / DAWIN}, images: {folder / DAWIN_IMAGES}")


def _as_batch(columns: dict[str, Tensor]) -> Batch:
    batch: Any = columns
    return batch  # type: ignore[no-any-return]
