"""DaWin's numbers: temperatures and coefficients by hand, the mixture on draws of a known one."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from starft.cli.dawin_scoring import temperatures
from starft.errors import ConfigError
from starft.training.dawin import coefficients, fit_beta_mixture, temperature


def test_temperature_by_hand() -> None:
    """Logits (2 log 3, 0) for labels that are right three times of four: at temperature 2 the model says 3/4."""
    logits = torch.tensor([[2 * math.log(3.0), 0.0]]).repeat(4, 1)
    assert temperature(logits, torch.tensor([0, 0, 0, 1])) == pytest.approx(2.0, rel=1e-3)


def test_coefficients_by_hand() -> None:
    """Two images and two classes; entropies of (p, 1 - p) in plain numbers."""
    start, end = torch.tensor([[3.0, 0.0], [0.5, 0.0]]), torch.tensor([[4.0, 0.0], [-8.0, 0.0]])
    h0, h1 = ([entropy(gap / by) for gap in gaps] for gaps, by in (((3.0, 0.5), 1.0), ((4.0, 8.0), 2.0)))
    means = [sum(h) / 2 for h in (h0, h1)]
    spreads = [abs(h[0] - h[1]) / math.sqrt(2) for h in (h0, h1)]  # of two values, divided by n - 1
    offset = (spreads[0] / means[0] + spreads[1] / means[1]) / 2
    expected = [
        (math.exp(-b) + offset * means[0] / sum(means)) / (math.exp(-a) + math.exp(-b) + offset)
        for a, b in zip(h0, h1, strict=True)
    ]
    assert coefficients(start, end, 1.0, 2.0) == pytest.approx(expected, rel=1e-6)
    assert coefficients(start, start, 1.0, 1.0) == pytest.approx([0.5, 0.5]), "equally sure models meet in the middle"


def entropy(gap: float) -> float:
    p = 1 / (1 + math.exp(-gap))
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_a_mixture_of_three_is_found_again() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.beta(a, b, size) for a, b, size in ((10, 90, 500), (50, 50, 300), (90, 10, 200))]
    mixture = fit_beta_mixture(np.concatenate(draws))
    order = np.argsort(mixture.means)
    assert mixture.means[order] == pytest.approx([0.1, 0.5, 0.9], abs=0.01)
    assert mixture.weights[order] == pytest.approx([0.5, 0.3, 0.2], abs=0.01)
    assert (mixture.alphas + mixture.betas)[order] == pytest.approx([100, 100, 100], rel=0.25)
    assert mixture.assign(np.array([0.0, 0.12, 0.48, 1.0])).tolist() == order[[0, 0, 1, 2]].tolist()


@pytest.mark.parametrize(("values", "means"), [([0.4] * 5, [0.4]), ([0.2, 0.2, 0.7], [0.2, 0.7]), ([1.0], [1.0])])
def test_fewer_values_than_clusters(values: list[float], means: list[float]) -> None:
    mixture = fit_beta_mixture(np.array(values))
    assert np.sort(mixture.means) == pytest.approx(means, abs=1e-4)
    assert mixture.means[mixture.assign(np.array(values))] == pytest.approx(values, abs=1e-4)


def test_a_validation_set_is_needed() -> None:
    sets = (SimpleNamespace(ood=True, class_names=("a",)), SimpleNamespace(ood=False, class_names=("b",)))
    scorer: Any = SimpleNamespace(eval_sets=sets)
    with pytest.raises(ConfigError, match=r"^DaWin scales its predictions on a validation set with the tr"):
        temperatures(scorer, [], ("a",))
