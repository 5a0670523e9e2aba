"""An attribute for each image, inferred by the frozen CLIP, with its probability.

The values of the attribute are the phrases of the pools, those that mean the same joined into one, and clusters of the
images that no phrase fits. CLIP's own softmax over all phrases and the plain caption, at the temperature that it was
trained with, says whether a phrase fits, which is so where one is likelier than the plain caption. The probability of
a value is then its share among the phrases, or that of a cluster among the clusters. Nothing is fitted to the data or
to labels: prior probabilities that are fitted to biased data would take the rare attribute of a label for its usual
one.
docs/audit.md has how well calibrated that is where the truth is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starft.audit.association import Scores, presence
from starft.audit.clusters import Clusters
from starft.audit.features import CHUNK, FeatureSet
from starft.errors import RunFolderError

NO_PHRASE = "no phrase fits"
"""The attribute of images that no phrase fits, where there are too few of them for clusters."""
UNREADABLE = "unreadable"
"""The attribute of images that couldn't be read, with probability 0."""


@dataclass(frozen=True)
class AttributeModel:
    """What tells the attribute of an image.

    Args:
        phrases: For each value the templates that mean it.
        names: Of these values, as a reader sees them.
        text: The `phrase_features` (1 + K, D).
        members: For each value the positions of its phrases among K.
        scale: CLIP's own factor on similarities.
        clusters: Of the images that no phrase fits; None where they are too few.
    """

    phrases: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    text: NDArray[np.float32]
    members: tuple[tuple[int, ...], ...]
    scale: float
    clusters: Clusters | None = None

    @property
    def all_names(self) -> tuple[str, ...]:
        """The values of phrases, then those of images that no phrase fits."""
        return (*self.names, *(self.clusters.names if self.clusters is not None else (NO_PHRASE,)))

    def probabilities(self, features: NDArray[np.float32]) -> Scores:
        """Return the probability (N, A) of each value, in the order of `all_names`; rows sum to 1.

        Args:
            features: Unit rows (N, D).
        """
        scores = presence(features, self.text, self.scale)
        of_values = [scores[:, 1 + np.array(positions)].sum(axis=1, keepdims=True) for positions in self.members]
        none = scores[:, :1]
        if self.clusters is not None:
            none = none * self.clusters.responsibilities(features)
        return np.concatenate([*of_values, none], axis=1)


@dataclass(frozen=True)
class InferredAttributes:
    """The attribute of each image of a set.

    Args:
        names: Values of the attribute.
        values: Position of each image's value (N,); that of `UNREADABLE`, the last, where it couldn't be read.
        probabilities: Of these values (N,).
    """

    names: tuple[str, ...]
    values: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write them as ``.npz``.

        Args:
            path: The file, replaced if it is there.
        """
        temporary = path.with_name(f".{path.name}.tmp.npz")
        try:
            np.savez(temporary, names=np.array(self.names), values=self.values, probabilities=self.probabilities)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def infer(model: AttributeModel, features: FeatureSet) -> InferredAttributes:
    """Return the attribute of each image of a set; a few thousand images at a time.

    Where the plain caption is likelier than any phrase, no phrase fits, and the value is that of the likeliest cluster.

    Args:
        model: Tells them.
        features: Of the set.
    """
    values, probabilities = np.zeros(len(features), dtype=np.int64), np.zeros(len(features), dtype=np.float32)
    phrases = len(model.names)
    for place, rows in features.chunks():
        shares = model.probabilities(rows)
        none = shares[:, phrases:].sum(axis=1, keepdims=True)
        best = np.concatenate([shares[:, :phrases], none], axis=1).argmax(axis=1)
        best = np.where(best == phrases, phrases + shares[:, phrases:].argmax(axis=1), best)
        there = rows.any(axis=1)
        values[place] = np.where(there, best, len(model.all_names))
        among = np.where(best < phrases, 1 - none[:, 0], none[:, 0])
        probabilities[place] = np.where(there, shares[np.arange(len(rows)), best] / among.clip(1e-12), 0.0)
    return InferredAttributes((*model.all_names, UNREADABLE), values, probabilities)


def attributes_path(folder: Path, name: str) -> Path:
    """Return the file of a set's inferred attributes.

    Args:
        folder: Of the audit.
        name: Of the set, ``train``, ``val/NAME`` or ``test/NAME``.
    """
    return folder / f"{name.replace('/', '-')}.attributes.npz"


def read_attributes(folder: Path, name: str) -> InferredAttributes:
    """Return the attributes that ``starft audit data`` wrote of a set.

    Args:
        folder: Of the audit.
        name: Of the set, ``train``, ``val/NAME`` or ``test/NAME``.

    Raises:
        RunFolderError: There are none.
    """
    path = attributes_path(folder, name)
    try:
        with np.load(path, allow_pickle=False) as kept:
            return InferredAttributes(tuple(kept["names"].tolist()), kept["values"], kept["probabilities"])
    except (OSError, ValueError, KeyError) as error:
        raise RunFolderError(f"{path} is missing or damaged; run `starft audit data` first.") from error


def unfit_rows(model: AttributeModel, features: FeatureSet, chosen: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Yield the features of those of some images that no phrase fits.

    Args:
        model: Without clusters yet.
        features: Of a set.
        chosen: Positions of readable images, in order.
    """
    for start in range(0, len(chosen), CHUNK):
        rows = np.asarray(features.rows[chosen[start : start + CHUNK]], dtype=np.float32)
        shares = model.probabilities(rows)
        yield rows[shares[:, -1] > shares[:, :-1].max(axis=1, initial=0.0)]
