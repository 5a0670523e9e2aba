"""George: cluster what a trained model makes of each class's images, then train GroupDRO on the clusters.

Paper: Sohoni et al., No Subclass Left Behind: Fine-Grained Robustness in Coarse-Grained Classification Problems,
NeurIPS 2020, arXiv 2011.12945. Deviations: both trainings are parts of one run, each with its own warm-up and cosine;
features are reduced by principal components where the paper has UMAP, and clusters aren't split further (its
overclustering).
"""

from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from torch import Tensor

from starft.callbacks.clusters import ClusterTrainings
from starft.callbacks.two_trainings import Scored
from starft.errors import ConfigError, check_between
from starft.losses.base import Term
from starft.losses.group_dro import GroupDRO
from starft.training.module import FinetuneModule
from starft.types import Batch

MOST_COMPONENTS = 100


class George(ClusterTrainings):
    """Train plainly, cluster the image features of each class, then start anew with GroupDRO on the clusters.

    The objective must be GroupDRO: in the first training all images are one group, in the second clusters are groups,
    drawn equally often. ``trainer.max_epochs`` counts both. No groups are needed, but to choose ``best.ckpt`` by them.

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        clusters: Clusters of a class at most, at least 2; the silhouette says how many.
        components: Principal components of a class's features that are clustered.
    """

    def __init__(self, epochs: int, clusters: int = 5, components: int = 2) -> None:
        super().__init__(epochs, clusters, {"components": components})
        check_between("components of George", components, 1, MOST_COMPONENTS)
        self.components = components
        self._groups = torch.zeros(0, dtype=torch.long)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give GroupDRO one group of all images, and room for the clusters.

        Raises:
            ConfigError: The objective isn't GroupDRO.
        """
        super().setup(trainer, pl_module, stage)
        if stage != "fit":
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        module: Any = pl_module
        term, *_ = module.terms.values()
        if not isinstance(term, GroupDRO):
            raise ConfigError(
                f"George trains GroupDRO on its clusters, and the objective is {type(term).__name__}; set "
                "model.objective to starft.losses.GroupDRO."
            )
        size = sum(data.train_class_counts)
        names = [f"cluster {number}" for number in range(1, len(data.class_names) * self.most + 1)]
        term.found_counts = dict.fromkeys(names, 0) | {names[0]: size}
        self._groups = torch.zeros(size, dtype=torch.long)

    def goes_on(self, term: Term) -> bool:
        """Return whether a term has a memory that would outlive the first training; GroupDRO starts anew."""
        return not isinstance(term, GroupDRO) and super().goes_on(term)

    def rows(self, scored: Scored) -> Tensor:
        """Return the image features."""
        return scored.features

    def cluster(self, rows: NDArray[np.float64], number: int, seed: int) -> NDArray[np.int64]:
        """Cluster the principal components by a Gaussian mixture."""
        reduced = PCA(min(self.components, *rows.shape), svd_solver="full").fit_transform(rows)
        mixture = GaussianMixture(number, reg_covar=1e-5, random_state=seed)
        return np.asarray(mixture.fit_predict(reduced), dtype=np.int64)

    def use(self, trainer: L.Trainer, module: FinetuneModule, anew: bool) -> None:
        """Make the clusters GroupDRO's groups, and draw them equally often."""
        found, (term, *_) = self.found, module.terms.values()
        assert isinstance(term, GroupDRO)
        assert term.found_counts is not None
        weights = term.q.clone()
        sizes = found.sizes.tolist() + [0] * (len(term.found_counts) - len(found.sizes))
        term.found_counts = dict(zip(term.found_counts, sizes, strict=True))
        term.start({})
        if not anew:
            term.q = weights
        self._groups = torch.from_numpy(found.clusters)
        self.draw_by(trainer, np.where(found.clusters >= 0, 1 / found.sizes[found.clusters], 0.0))

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Give each image its cluster as its group."""
        self._groups = self._groups.to(batch["index"].device)
        batch["group"] = self._groups[batch["index"]]
