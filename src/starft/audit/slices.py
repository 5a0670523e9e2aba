"""Error slices: groups of images that a model fails on more often than on their classes.

They are clusters in the joint space of image features, labels and errors, as in Domino (Eyuboglu et al., ICLR 2022,
arXiv 2203.14960). Deviations: an error is whether the prediction is wrong, less the error of the class; and a cluster
takes other images by features and label alone, by the mixture without its error dimension. So the slices are found on
one half of the images and measured on the other, whose errors had no say in who belongs to them.

A slice's p-value is the chance that so many of the errors fall into it if each stratum (class of a set) deals its
errors to its images at random: a sum of hypergeometric numbers, the exact form of the test of Mantel and Haenszel
(1959). The false discovery rate over all slices is held by Benjamini and Hochberg (1995). Slices are named by the
errors that they are measured by, so the intervals of those that are named have the level of Benjamini and Yekutieli
(JASA 2005): of them, not only of all that were looked at, 95 % hold the truth.
"""

from dataclasses import dataclass, replace
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control, hypergeom
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from starft.statistics import LEVEL, Interval, wilson_interval

DISCOVERY = 0.05
"""False discovery rate of the slices that are named."""
COMPONENTS, CLASS_COMPONENTS = 16, 16
"""Dimensions of the features, and of the classes, that clusters are found in."""
ERROR_WEIGHT, CLASS_WEIGHT = 5.0, 1.0
"""How far apart a wrong and a right image lie, and two classes, where features have a standard deviation of 1."""
IMAGES_EACH, MOST = 25, 80
"""Images a cluster has on the mean, and clusters at most."""
FEWEST = 5
"""Images of the first half that a slice has at least."""
FITTED = 20_000
"""Images that clusters are fitted to at most."""

Rows = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class ErrorSlice:
    """A group of images, found on one half of them and measured on the other.

    Args:
        members: Positions of the images of the other half, those that belong to it most first.
        wrong: How many of them the model has wrong.
        expected: Mean error of their classes, in their sets.
        p_value: Chance of so many errors by accident.
        q_value: That, corrected for how many slices were looked at.
        level: Of its intervals.
    """

    members: Numbers
    wrong: int
    expected: float
    p_value: float
    q_value: float
    level: float = LEVEL

    @property
    def error(self) -> float:
        """Share of its images that the model has wrong."""
        return self.wrong / len(self.members)

    @property
    def interval(self) -> Interval:
        """Interval of the error."""
        return wilson_interval(self.wrong, len(self.members), self.level) or (0.0, 1.0)


def first_half(strata: Numbers, seed: int) -> NDArray[np.bool_]:
    """Return which images (N,) are of the first half; each stratum is halved at random.

    Args:
        strata: Of the images (N,).
        seed: Of the draw.
    """
    order = np.random.default_rng(seed).permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    half = np.zeros(len(strata), dtype=bool)
    half[order[::2]] = True
    return half


def error_slices(
    features: Rows, labels: Numbers, strata: Numbers, wrong: NDArray[np.bool_], seed: int
) -> list[ErrorSlice]:
    """Return the slices that were found, those that are least by accident first; `named` says which count.

    Args:
        features: Unit rows (N, D).
        labels: Of the images (N,).
        strata: Class and set of each image (N,).
        wrong: Whether the model is (N,).
        seed: Of the halves and the fits.
    """
    half = first_half(strata, seed)
    if half.sum() < 2 * FEWEST or not wrong[half].any():
        return []
    rate = _rates(strata, wrong, half)
    space = np.concatenate([_components(features, half, seed), CLASS_WEIGHT * _class_codes(labels, seed)], axis=1)
    joint = np.column_stack([space[half], ERROR_WEIGHT * (wrong[half] - rate[half])])
    mixture = _mixture(_drawn(joint, seed), seed)
    belongs = _without_last_dimension(mixture).predict_proba(space)
    cluster = belongs.argmax(axis=1)
    expected = _rates(strata, wrong, ~half)
    results: list[tuple[Numbers, float]] = []
    for number in range(belongs.shape[1]):
        own, other = (np.flatnonzero(side & (cluster == number)) for side in (half, ~half))
        if len(own) >= FEWEST and len(other) and wrong[own].sum() > rate[own].sum():
            members = other[np.argsort(-belongs[other, number], kind="stable")]
            results.append((members, _chance(strata, wrong, ~half, other)))
    adjusted = false_discovery_control([p for _, p in results]) if results else []
    slices = [
        ErrorSlice(members, int(wrong[members].sum()), float(expected[members].mean()), p, float(q))
        for (members, p), q in zip(results, adjusted, strict=True)
    ]
    return sorted(slices, key=lambda item: (item.p_value, -item.wrong))


def named(slices: list[ErrorSlice]) -> list[ErrorSlice]:
    """Return the slices that are no accident, at a false discovery rate of `DISCOVERY`.

    Their intervals are wider the fewer of all they are: on the mean a share of `DISCOVERY` of them misses the truth.

    Args:
        slices: All that were measured.
    """
    chosen = [item for item in slices if item.q_value <= DISCOVERY]
    return [replace(item, level=1 - DISCOVERY * len(chosen) / len(slices)) for item in chosen]


def _rates(strata: Numbers, wrong: NDArray[np.bool_], side: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the error (N,) of each image's stratum on one side."""
    _, place = np.unique(strata, return_inverse=True)
    size, errors = (
        np.bincount(place[side], minlength=place.max() + 1),
        np.bincount(place[side], wrong[side], place.max() + 1),
    )
    return np.asarray((errors / size.clip(1))[place])


def _components(features: Rows, half: NDArray[np.bool_], seed: int) -> NDArray[np.float64]:
    """Return the principal components (N, P) of features, with a mean standard deviation of 1."""
    fitted = _drawn(features[half], seed)
    pca = PCA(min(COMPONENTS, *fitted.shape), svd_solver="full").fit(fitted.astype(np.float64))
    scale = np.sqrt(pca.explained_variance_).mean()
    return np.asarray(pca.transform(features) / max(scale, 1e-12))


def _class_codes(labels: Numbers, seed: int) -> NDArray[np.float64]:
    """Return a code (N, C) of each image's class: one of C unit vectors, or random directions where C is large."""
    classes, place = np.unique(labels, return_inverse=True)
    if len(classes) <= CLASS_COMPONENTS:
        return np.asarray(np.eye(len(classes))[place])
    codes = np.random.default_rng(seed).standard_normal((len(classes), CLASS_COMPONENTS))
    return np.asarray((codes / np.linalg.norm(codes, axis=1, keepdims=True))[place])


def _drawn(rows: NDArray[Any], seed: int) -> NDArray[Any]:
    return (
        rows if len(rows) <= FITTED else np.asarray(rows[np.random.default_rng(seed).permutation(len(rows))[:FITTED]])
    )


def _mixture(joint: NDArray[Any], seed: int) -> GaussianMixture:
    count = max(2, min(MOST, len(joint) // IMAGES_EACH))
    mixture = GaussianMixture(count, covariance_type="diag", reg_covar=1e-2, random_state=seed)
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # what it finds is measured on other images
        return mixture.fit(joint)


def _without_last_dimension(mixture: GaussianMixture) -> GaussianMixture:
    """Return the same mixture of all dimensions but the last: of diagonal Gaussians the marginal is a part."""
    marginal = GaussianMixture(mixture.n_components, covariance_type="diag")
    marginal.weights_, marginal.means_ = mixture.weights_, mixture.means_[:, :-1]
    marginal.covariances_, marginal.precisions_cholesky_ = (
        mixture.covariances_[:, :-1], mixture.precisions_cholesky_[:, :-1]
    )  # fmt: skip
    return marginal


def _chance(strata: Numbers, wrong: NDArray[np.bool_], side: NDArray[np.bool_], members: Numbers) -> float:
    """Return the chance that at least as many errors fall on the members if each stratum deals its own at random."""
    chances = np.ones(1)
    for stratum, count in zip(*np.unique(strata[members], return_counts=True), strict=True):
        all_of_it = side & (strata == stratum)
        sizes = (int(all_of_it.sum()), int(wrong[all_of_it].sum()), int(count))
        chances = np.convolve(chances, hypergeom.pmf(np.arange(count + 1), *sizes))
    return float(min(chances[int(wrong[members].sum()) :].sum(), 1.0))
