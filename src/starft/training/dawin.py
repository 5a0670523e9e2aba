"""DaWin: a place on the line between two models for each image, by which of the two is surer of it.

Paper: Oh et al., DaWin: Training-Free Dynamic Weight Interpolation for Robust Adaptation, ICLR 2025, arXiv 2410.03782.
Deviations from the released code, whose mixture is fitted as here (k-means, then moments): none known.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betaln, logsumexp
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.float64]

CLUSTERS = 3
STARTS, MOST_ROUNDS, TOLERANCE = 3, 1000, 1e-4
"""Of the mixture: k-means starts of which the likeliest end is kept, rounds of each, and the gain that ends them."""
EDGE = 1e-6
"""How near 0 and 1 a coefficient may be, where a Beta density may be infinite."""
HOTTEST = 5.0
"""Logarithm of the highest temperature that is tried, and of one over the lowest."""


def temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature at which logits are most likely to give their labels (Guo et al., ICML 2017).

    Args:
        logits: (N, C), of validation images.
        labels: (N,).
    """

    def loss(log_temperature: float) -> float:
        return float(F.cross_entropy(logits.double() / np.exp(log_temperature), labels))

    found = minimize_scalar(loss, bounds=(-HOTTEST, HOTTEST), method="bounded")
    return float(np.exp(found.x))


def coefficients(start: Tensor, end: Tensor, start_temperature: float, end_temperature: float) -> Array:
    """Return a place in [0, 1] for each image, (N,); near 1 where the end is surer of it.

    With H0 and H1 the entropies of both models' predictions and an offset b of the whole set::

        a = (exp(-H1) + b mean(H0) / (mean(H0) + mean(H1))) / (exp(-H0) + exp(-H1) + b)
        b = (std(H0) / mean(H0) + std(H1) / mean(H1)) / 2

    Args:
        start: Logits (N, C) of the model at 0.
        end: Logits of the model at 1.
        start_temperature: Divides the first.
        end_temperature: Divides the second.
    """
    h0, h1 = (_entropies(logits, by) for logits, by in ((start, start_temperature), (end, end_temperature)))
    means = [max(float(h.mean()), np.finfo(float).tiny) for h in (h0, h1)]
    spreads = [float(h.std(ddof=1)) if len(h) > 1 else 0.0 for h in (h0, h1)]
    offset = sum(spread / mean for spread, mean in zip(spreads, means, strict=True)) / 2
    share = means[0] / (means[0] + means[1])
    places: Array = (np.exp(-h1) + offset * share) / (np.exp(-h0) + np.exp(-h1) + offset)
    return places


def _entropies(logits: Tensor, by: float) -> Array:
    log_p = (logits.double() / by).log_softmax(dim=1)
    entropies: Array = -(log_p.exp() * log_p).sum(dim=1).numpy()
    return entropies


@dataclass(frozen=True)
class BetaMixture:
    """A mixture of Beta densities; all (K,).

    Args:
        weights: Of the components; they add up to 1.
        alphas: First parameter of each.
        betas: Second parameter.
    """

    weights: Array
    alphas: Array
    betas: Array

    @property
    def means(self) -> Array:
        """Mean of each component."""
        means: Array = self.alphas / (self.alphas + self.betas)
        return means

    def log_densities(self, values: Array) -> Array:
        """Return the log of weight times density, (N, K).

        Args:
            values: (N,), inside (0, 1).
        """
        rows = values[:, None]
        densities: Array = (self.alphas - 1) * np.log(rows) + (self.betas - 1) * np.log1p(-rows)
        densities += np.log(self.weights) - betaln(self.alphas, self.betas)
        return densities

    def assign(self, values: Array) -> NDArray[np.int64]:
        """Return the likeliest component of each value, (N,).

        Args:
            values: (N,).
        """
        likeliest: NDArray[np.int64] = self.log_densities(np.clip(values, EDGE, 1 - EDGE)).argmax(axis=1)
        return likeliest


def fit_beta_mixture(values: Array, seed: int = 0) -> BetaMixture:
    """Fit a Beta mixture by expectation and moments; of three components, or as many as there are different values.

    Args:
        values: (N,), in [0, 1].
        seed: Of the k-means starts.
    """
    values = np.clip(values, EDGE, 1 - EDGE).round(9)  # what rounding alone sets apart is one value
    clusters = min(CLUSTERS, len(np.unique(values)))
    best, highest = None, -np.inf
    for start in range(STARTS):
        labels = KMeans(clusters, n_init=1, random_state=seed + start).fit(values[:, None]).labels_
        mixture, bound = _by_moments(values, np.eye(clusters)[labels]), -np.inf
        for _ in range(MOST_ROUNDS):
            logs = mixture.log_densities(values)
            norms = logsumexp(logs, axis=1)
            gain, bound = norms.mean() - bound, norms.mean()
            mixture = _by_moments(values, np.exp(logs - norms[:, None]))
            if abs(gain) < TOLERANCE:
                break
        if best is None or bound > highest:
            best, highest = mixture, bound
    assert best is not None, "there is a start"
    return best


def _by_moments(values: Array, shares: Array) -> BetaMixture:
    """Return the components with the weighted mean and variance of the values.

    Args:
        values: (N,).
        shares: Of each value in each component, (N, K).
    """
    epsilon = 10 * np.finfo(float).eps
    sizes = shares.sum(axis=0) + epsilon
    means = np.clip(shares.T @ values / sizes, EDGE, 1 - EDGE)
    variances = np.einsum("nk,nk->k", shares, (values[:, None] - means) ** 2) / sizes
    widest = means * (1 - means)
    precisions = widest / (np.minimum(variances, widest / 4) + 1e-10) - 1
    return BetaMixture(sizes / sizes.sum(), precisions * means, precisions * (1 - means))
