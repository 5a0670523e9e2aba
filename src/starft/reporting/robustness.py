"""Effective robustness: OOD accuracy beyond what ID accuracy alone lets expect.

Paper: Taori et al., NeurIPS 2020, arXiv 2007.00644: a line is fitted to the accuracies of baseline models, both axes
logit-scaled; effective robustness is the distance above it, in accuracy. Deviations: the interval is ours, a seeded
parametric bootstrap. Every draw takes the right answers anew, of the run and of each baseline, and fits the line again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starft.errors import ConfigError
from starft.reporting.methods import OOD, Cell, pooled, value_of
from starft.runs.results import Scores
from starft.runs.run_reader import Run
from starft.statistics import DRAWS, LEVEL, SEED, Interval

EDGE = 1e-4
"""Accuracies are kept this far from 0 and 1, where the logit isn't finite."""


Drawn = tuple[NDArray[np.float64], NDArray[np.float64]]
"""ID and OOD accuracy of each draw."""


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
        return np.asarray(_expit(self.offset + self.slope * _logit(id_acc)), dtype=np.float64)

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
            f"A baseline line needs tested runs of at least two different ID accuracies, got {len(points)}; "
            "give more --baseline runs, or none."
        )
    slope, offset = np.polyfit([_logit(across) for across, _ in points], [_logit(up) for _, up in points], 1)
    return Line(float(slope), float(offset))


def robustness_of(
    methods: Mapping[str, Sequence[Run]], baselines: Sequence[Run], id_column: str
) -> tuple[Line, dict[str, Cell | None]]:
    """Return the line, and the effective robustness of each method with its 95 % interval.

    Right answers are drawn by a binomial law for the ID set and each OOD set, from ``(correct + 1/2) / (n + 1)``; the
    OOD draw is the mean over its sets. A run that is a baseline too has the same draws in both places. Draws in which
    all baselines have one ID accuracy give no line and are left out.

    Args:
        methods: Runs by method; a run without ID or OOD accuracy has no effective robustness.
        baselines: Runs with ID and OOD accuracy, which the line is fitted to.
        id_column: ``{eval set}/acc`` of the ID set.

    Raises:
        ConfigError: There are no two baselines of different ID accuracy.
    """
    line = fit_line([point for run in baselines if (point := point_of(run, id_column)) is not None])
    generator = np.random.default_rng(SEED)
    drawn: dict[Path, Drawn] = {}
    for run in baselines:
        if run.folder.resolve() not in drawn:
            drawn[run.folder.resolve()] = _draw(run, id_column, generator)
    across, up = (np.array([drawn[run.folder.resolve()][axis] for run in baselines]) for axis in (0, 1))
    slopes, offsets = _fit_draws(across, up)

    def one(run: Run) -> tuple[float, Interval | None] | None:
        point = point_of(run, id_column)
        if point is None:
            return None
        own = drawn.get(run.folder.resolve())
        # every other run draws from the same start, so that its interval is the same whatever stands beside it
        id_draws, ood_draws = own or _draw(run, id_column, np.random.default_rng([SEED, 1]))
        gains = ood_draws - _expit(offsets + slopes * _logit(id_draws))
        gains = _tidy(gains[np.isfinite(gains)])
        ends = np.quantile(gains, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(gains) else None
        value = float(_tidy(np.array(line.effective_robustness(*point))))
        return value, (float(ends[0]), float(ends[1])) if ends is not None else None

    return line, {
        method: pooled([told for run in runs if (told := one(run)) is not None], lowest=-1.0)
        for method, runs in methods.items()
    }


def point_of(run: Run, id_column: str) -> tuple[float, float] | None:
    """Return ID and OOD accuracy of a run, or None if it lacks one.

    Args:
        run: A run.
        id_column: ``{eval set}/acc`` of the ID set.
    """
    across, up = value_of(run, id_column), value_of(run, OOD)
    return None if across is None or up is None else (across, up)


def _draw(run: Run, id_column: str, generator: np.random.Generator) -> Drawn:
    """Return ID and OOD accuracies, (DRAWS,) each, of a run that has both."""
    across = run.sets[id_column.rpartition("/")[0]]
    up = [item for item in run.sets.values() if item.ood and item.n]

    def accuracies(one: Scores) -> NDArray[np.float64]:
        rate = ((one.metrics["acc"] or 0.0) * one.n + 0.5) / (one.n + 1)
        return generator.binomial(one.n, rate, DRAWS) / one.n

    return accuracies(across), np.mean([accuracies(item) for item in up], axis=0)


def _fit_draws(across: NDArray[np.float64], up: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return slopes and offsets, (DRAWS,) each, of the lines of (baselines, DRAWS); NaN where there is none."""
    x, y = _logit(across), _logit(up)
    from_mean = x - x.mean(axis=0)
    square = (from_mean**2).sum(axis=0)
    same = np.ptp(x, axis=0) == 0
    slopes = np.where(same, np.nan, (from_mean * y).sum(axis=0) / np.where(same, 1.0, square))
    return slopes, y.mean(axis=0) - slopes * x.mean(axis=0)


def _tidy(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return differences without the last digits that only rounding makes, and no negative zero."""
    return np.round(gains, 12) + 0.0


def _logit(share: NDArray[np.float64] | float) -> NDArray[np.float64]:
    inside = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(np.log(inside) - np.log1p(-inside), dtype=np.float64)


def _expit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(x / 2)
