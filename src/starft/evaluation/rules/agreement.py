"""``zero_shot_agreement``: what the frozen model is sure of stays, at little ID accuracy."""

import numpy as np

from starft.errors import ConfigError
from starft.evaluation.rules.base import Candidate, Rule

SURE = 0.9
"""Probability of its prediction from which on the frozen model is sure."""
FEWEST = 30
"""Images that it must be sure of: with fewer, one image is more than three points."""


class ZeroShotAgreement(Rule):
    """The most of the frozen model's certainty kept where it is sure, within the tolerance of the best ID accuracy.

    Predictions alone hardly change there, in a few images of hundreds; how sure a model still is of them tells more.
    """

    watches = "agreement with the frozen model where it is sure"
    near_the_best = True
    reads_frozen = True

    def value(self, candidate: Candidate) -> float:
        """Return how much of the frozen model's probability of its predictions the model has: 1 where none is lost.

        An image of which the model says something else counts 0, and one of which it is surer than the frozen model 1.

        Args:
            candidate: A model.

        Raises:
            ConfigError: The frozen model is sure of too few images, or was scored on others.
        """
        sure = self.frozen["confidence"] >= SURE
        if sure.sum() < FEWEST:
            raise ConfigError(
                f"The frozen model is sure ({SURE:.0%}) of {sure.sum()} images of {self.setting.id_set}, and the rule "
                f"zero_shot_agreement needs {FEWEST}; give another --rule, or more validation images."
            )
        own = candidate.samples[self.setting.id_set]
        if not all(np.array_equal(own[column], self.frozen[column]) for column in ("position", "label")):
            raise ConfigError(
                f"The frozen model and {candidate.title} were scored on different images of {self.setting.id_set}: the "
                "data have changed, or a tried key changes them; give another --out, leave that key out, or give "
                "--rule id."
            )
        kept = np.minimum(own["confidence"][sure].astype(float) / self.frozen["confidence"][sure], 1)
        return float((kept * (own["prediction"] == self.frozen["prediction"])[sure]).mean())
