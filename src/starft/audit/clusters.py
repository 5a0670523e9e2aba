"""Groups of images that no phrase fits: clusters of their features after what the label explains is taken out."""

from collections.abc import Sequence
from dataclasses import dataclass
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

FEWEST = 50
"""Images that clusters are looked for in, at least."""
SMALLEST = 25
"""Images a cluster has on the mean, at least."""
MOST, DIMENSIONS, FITTED = 8, 16, 5000
"""Clusters at most, principal components they are found in, and images they are fitted to."""

CLUSTER = "cluster "
"""What the names of clusters begin with."""


@dataclass(frozen=True)
class Clusters:
    """A Gaussian mixture of features.

    Args:
        basis: Orthonormal rows (R, D) that the label explains; they are taken out.
        components: The principal components (P, D) of what is left.
        mean: Of what is left (D,).
        mixture: In these components.
        names: One a cluster.
    """

    basis: NDArray[np.float64]
    components: NDArray[np.float64]
    mean: NDArray[np.float64]
    mixture: GaussianMixture
    names: tuple[str, ...]

    def responsibilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability (N, C) of each cluster, given that no phrase fits.

        Args:
            features: Unit rows (N, D).
        """
        left = without(features, self.basis) - self.mean
        return np.asarray(self.mixture.predict_proba(left @ self.components.T))


def label_directions(class_text: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return orthonormal rows (R, D) that class names differ in, R at most a quarter of D.

    The classes' mean *image* features won't do: where a class is always in one place they hold the place too, and the
    shortcut would be taken out with the label.

    Args:
        class_text: Unit text features of the classes (C, D).
    """
    apart = class_text.astype(np.float64) - class_text.mean(axis=0, dtype=np.float64)
    _, sizes, rows = np.linalg.svd(apart, full_matrices=False)
    return np.asarray(rows[: min(int((sizes > 1e-6).sum()), class_text.shape[1] // 4)])


def without(features: NDArray[np.float32], basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return features (N, D) less their part along orthonormal rows.

    Args:
        features: Rows (N, D).
        basis: Orthonormal rows (R, D).
    """
    rows = features.astype(np.float64)
    return rows - (rows @ basis.T) @ basis


def find_clusters(
    features: NDArray[np.float32],
    class_text: NDArray[np.float32],
    text: NDArray[np.float32],
    phrases: Sequence[str],
    seed: int,
) -> Clusters | None:
    """Return the clusters of images, as many as fit them best by the BIC; None where there are too few images.

    Args:
        features: Unit rows (N, D) of images that no phrase fits.
        class_text: Unit text features of the classes (C, D).
        text: The `phrase_features` (1 + K, D).
        phrases: K, as a reader sees them; the two nearest to a cluster describe it.
        seed: Of the fits, and of the images that they are made on.
    """
    if len(features) < FEWEST:
        return None
    basis = label_directions(class_text)
    fitted = np.sort(np.random.default_rng(seed).permutation(len(features))[:FITTED])
    left = without(features[fitted], basis)
    pca = PCA(min(DIMENSIONS, *left.shape), svd_solver="full").fit(left)
    rows = pca.transform(left)
    most = min(MOST, len(rows) // SMALLEST)
    mixtures = [
        GaussianMixture(k, covariance_type="diag", reg_covar=1e-5, random_state=seed) for k in range(1, most + 1)
    ]
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # one that hasn't settled is as good as its BIC says
        fits = [mixture.fit(rows) for mixture in mixtures]
    best = min(fits, key=lambda fit: fit.bic(rows))
    added = without(text[1:] - text[:1], basis)
    added /= np.linalg.norm(added, axis=1, keepdims=True).clip(1e-12)
    middles = best.means_ @ pca.components_ + pca.mean_
    nearest = np.argsort(-(middles - middles.mean(axis=0) * (len(middles) > 1)) @ added.T, axis=1, kind="stable")[:, :2]
    names = [f"{CLUSTER}{at} (near {' and '.join(phrases[p] for p in row)})" for at, row in enumerate(nearest, 1)]
    return Clusters(basis, pca.components_, pca.mean_, best, tuple(names))
