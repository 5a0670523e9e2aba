"""SPARE: a model's outputs early in training tell which images share a shortcut; rare ones are then shown more often.

Paper: Yang et al., Identifying Spurious Biases Early in Training through the Lens of Simplicity Bias, AISTATS 2024,
arXiv 2305.18761. Deviations: both trainings are parts of one run, each with its own warm-up and cosine, so that the
short first one ends at a learning rate of 0; the outputs are those of the model that starts from CLIP's zero-shot head,
not from chance.
"""

import lightning as L
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch import Tensor

from starft.callbacks.clusters import ClassClusters, ClusterTrainings
from starft.callbacks.two_trainings import Scored
from starft.errors import ConfigError
from starft.training.module import FinetuneModule

WELL_APART = 0.9
"""Silhouette of a class from which on the power is 1."""
MOST_POWER = 10


def weights_of(found: ClassClusters, power: float | None) -> NDArray[np.float64]:
    """Return the chance of each image at a draw: ``1 / size ** power`` within its class; classes are equally likely.

    Args:
        found: Clusters of the images.
        power: None takes 1 for classes whose silhouette is 0.9 or more, and 2 for others.
    """
    powers = [power if power is not None else 2 - (score >= WELL_APART) for score in found.silhouettes]
    of_cluster = found.sizes.clip(1) ** -np.array(powers, dtype=np.float64)
    weights = np.where(found.clusters >= 0, of_cluster[found.clusters], 0.0)
    classes = np.where(found.clusters >= 0, np.array(found.classes)[found.clusters], -1)
    for label in set(found.classes):
        weights[classes == label] /= weights[classes == label].sum()
    return weights


class SPARE(ClusterTrainings):
    """Cluster the model's outputs of each class after a few epochs, then start anew with small clusters drawn often.

    ``trainer.max_epochs`` counts both trainings. No groups are needed, but to choose ``best.ckpt`` by them.

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        clusters: Clusters of a class at most, at least 2; the silhouette says how many.
        power: How strongly small clusters are favoured, 0 to 10: an image's chance within its class is 1 / size^power,
            size that of its cluster; null takes 1 where clusters are well apart (a silhouette of 0.9), and else 2.
    """

    def __init__(self, epochs: int, clusters: int = 5, power: float | None = None) -> None:
        super().__init__(epochs, clusters, {"power": power})
        if power is not None and not 0 <= power <= MOST_POWER:
            raise ConfigError(f"power of SPARE must lie in [0, {MOST_POWER}], or be null; got {power}.")
        self.power = power

    def rows(self, scored: Scored) -> Tensor:
        """Return the class probabilities."""
        return scored.logits.float().softmax(dim=-1)

    def cluster(self, rows: NDArray[np.float64], number: int, seed: int) -> NDArray[np.int64]:
        """Cluster by k-means."""
        return np.asarray(KMeans(number, n_init=10, random_state=seed).fit_predict(rows), dtype=np.int64)

    def use(self, trainer: L.Trainer, module: FinetuneModule, anew: bool) -> None:
        """Draw images by the sizes of their clusters."""
        self.draw_by(trainer, weights_of(self.found, self.power))
