"""Effective robustness: OOD accuracy beyond what ID accuracy alone lets expect.

Paper: Taori et al., NeurIPS 2020, arXiv 2007.00644: a line is fitted to the accuracies of baseline models, both axes
logit-scaled; effective robustness is the distance above it, in accuracy. Deviations: none known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from starft.errors import ConfigError

EDGE = 1e-4
"""Accuracies are kept this far from 0 and 1, where the logit isn't finite."""


@dataclass(frozen=True)
class Line:
    """logit(OOD) = offset + slope * logit(ID).

    Args:
        slope: Of the line.
        offset: Of the line.
    """

    slope: float
    offset: float

    def expected(self, id_acc: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return the OOD accuracy that the line gives.

        Args:
            id_acc: ID accuracy in [0, 1].
        """
        return np.asarray(expit(self.offset + self.slope * _logit(id_acc)), dtype=np.float64)

    def effective_robustness(self, id_acc: float, ood_acc: float) -> float:
        """Return OOD accuracy less what the line gives, in [-1, 1].

        Args:
            id_acc: ID accuracy in [0, 1].
            ood_acc: OOD accuracy in [0, 1].
        """
        return ood_acc - float(self.expected(id_acc))


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """Fit the line by least squares.

    Args:
        points: (ID, OOD) accuracy of each baseline.

    Raises:
        ConfigError: There are no two baselines of different ID accuracy.
    """
    if len({round(float(_logit(across)), 9) for across, _ in points}) < 2:
        raise ConfigError(
            f"A baseline line needs tested runs of at least two different ID accuracies, got {len(points)} run(s); "
            "give more --baseline runs, or none."
        )
    slope, offset = np.polyfit([_logit(across) for across, _ in points], [_logit(up) for _, up in points], 1)
    return Line(float(slope), float(offset))


def _logit(share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray(logit(np.clip(share, EDGE, 1 - EDGE)), dtype=np.float64)
