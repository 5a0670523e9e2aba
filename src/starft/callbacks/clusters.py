"""Clusters of the training images within each class, as many as their silhouette says, to train by (SPARE, George)."""

import sys
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from torch import Tensor

from starft.callbacks.two_trainings import Scored, TwoTrainings
from starft.errors import ConfigError, check_between
from starft.safe_text import say
from starft.training.module import FinetuneModule
from starft.wording import count_of

MEASURED = 5000
"""Images of a class that a silhouette is measured on, at most, drawn at random; its cost is their square."""
MOST_CLUSTERS = 100
"""Of a class."""
Cluster = Callable[[NDArray[np.float64], int], NDArray[np.int64]]
"""Returns the cluster of each row, of so many clusters at most."""


@dataclass(frozen=True)
class ClassClusters:
    """Clusters of all classes, numbered on; a class has one or several.

    Args:
        clusters: Of each image (N,); -1 where it wasn't seen.
        classes: The class of each cluster.
        silhouettes: Of each cluster's class, in -1..1; 0 where the class is one cluster.
    """

    clusters: NDArray[np.int64]
    classes: tuple[int, ...]
    silhouettes: tuple[float, ...]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Images of each cluster."""
        return np.bincount(self.clusters[self.clusters >= 0], minlength=len(self.classes))


def cluster_classes(
    rows: NDArray[np.float64], labels: NDArray[np.int64], cluster: Cluster, most: int, seed: int
) -> ClassClusters:
    """Return the clusters of each class, of 2 to ``most`` that number whose silhouette is the highest.

    Args:
        rows: What is clustered (N, D).
        labels: Class of each row; -1 for those to leave out.
        cluster: Clusters the rows of a class.
        most: Clusters of a class at most.
        seed: Of the images that silhouettes are measured on.
    """
    clusters = np.full(len(labels), -1, dtype=np.int64)
    classes: list[int] = []
    silhouettes: list[float] = []
    for label in np.unique(labels[labels >= 0]).tolist():
        own = np.flatnonzero(labels == label)
        score, best = 0.0, np.zeros(len(own), dtype=np.int64)
        for number in range(2, min(most, len(own) - 1) + 1):
            with catch_warnings():
                simplefilter("ignore", ConvergenceWarning)  # a fit that hasn't settled is as good as its silhouette
                of_row = np.unique(cluster(rows[own], number), return_inverse=True)[1]
            if (measured := _silhouette(rows[own], of_row, seed)) > score:
                score, best = measured, of_row
        clusters[own] = best + len(classes)
        silhouettes += [score] * (best.max() + 1)
        classes += [label] * (best.max() + 1)
    return ClassClusters(clusters, tuple(classes), tuple(silhouettes))


def _silhouette(rows: NDArray[np.float64], clusters: NDArray[np.int64], seed: int) -> float:
    chosen = np.sort(np.random.default_rng(seed).permutation(len(rows))[:MEASURED])
    kinds = len(np.unique(clusters[chosen]))
    return float(silhouette_score(rows[chosen], clusters[chosen])) if 1 < kinds < len(chosen) else 0.0


class ClusterTrainings(TwoTrainings):
    """Two trainings, the second by clusters of what the first makes of each class's images.

    A subclass says what is clustered (`rows`), how (`cluster`), and what the second training does with it (`use`).

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        clusters: Clusters of a class at most, at least 2.
        settings: The other arguments, by name.
    """

    result_name = "found"

    def __init__(self, epochs: int, clusters: int, settings: dict[str, Any]) -> None:
        super().__init__(epochs, {"clusters": clusters} | settings)
        check_between(f"clusters of {self.name}", clusters, 2, MOST_CLUSTERS)
        self.most = clusters

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse, before training, what can't be trained twice, and images without classes.

        Raises:
            ConfigError: The data have captions and no labels.
        """
        module: Any = pl_module
        if not module.class_names:
            raise ConfigError(
                f"{self.name} clusters the images of a class, and the data have captions and no labels; leave it out."
            )
        super().on_fit_start(trainer, pl_module)

    @abstractmethod
    def rows(self, scored: Scored) -> Tensor:
        """Return what is clustered of some images (B, D)."""

    @abstractmethod
    def cluster(self, rows: NDArray[np.float64], number: int, seed: int) -> NDArray[np.int64]:
        """Return the cluster of each row of a class, of so many clusters."""

    def look(self, trainer: L.Trainer, module: FinetuneModule) -> dict[str, Any]:
        """Return the clusters of the training images."""
        size = sum(trainer.datamodule.train_class_counts)  # type: ignore[attr-defined]
        labels, parts, places = torch.full((size,), -1), list[Tensor](), list[Tensor]()
        for scored in self.scored(trainer, module):
            parts.append(self.rows(scored).float().cpu())
            places.append(scored.batch["index"].cpu())
            labels[places[-1]] = scored.batch["label"].cpu()
        rows = torch.zeros(size, parts[0].shape[1])
        rows[torch.cat(places)] = torch.cat(parts)
        seed = module.seed
        found = cluster_classes(
            rows.double().numpy(), labels.numpy(), lambda own, k: self.cluster(own, k, seed), self.most, seed
        )
        classes = len(set(found.classes))
        counted = f"{count_of(len(found.classes), 'cluster')} in {classes} classes"
        rank_zero_info(f"{self.name}: {counted}, of {found.sizes.min()} to {found.sizes.max()} images, from here on.")
        if len(found.classes) == classes and trainer.is_global_zero:
            say(
                f"Note: After {count_of(self.epochs, 'epoch')} {self.name} finds no clusters, so the second training "
                "goes by classes alone; try other epochs.",
                file=sys.stderr,
            )
        clusters = found.clusters.tolist()
        return {"of_image": clusters, "classes": list(found.classes), "silhouettes": list(found.silhouettes)}

    @property
    def found(self) -> ClassClusters:
        """The clusters, once the first training is over."""
        result = self.result
        return ClassClusters(np.array(result["of_image"]), tuple(result["classes"]), tuple(result["silhouettes"]))

    def draw_by(self, trainer: L.Trainer, weights: NDArray[np.float64]) -> None:
        """Let the training images be drawn with replacement.

        Args:
            trainer: Of the run.
            weights: Chance of each (N,), up to a factor.
        """
        trainer.datamodule.weigh(weights.tolist())  # type: ignore[attr-defined]
