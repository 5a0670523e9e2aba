"""``inferred_groups``: the worst pair of label and inferred attribute on validation."""

import numpy as np

from starft.errors import ConfigError
from starft.evaluation.rules.base import Candidate, Rule, Setting

FEWEST = 10
"""Images of a pair that counts: that of fewer is chance."""


class InferredGroups(Rule):
    """The highest accuracy of the worst inferred group, of those with `FEWEST` images or more."""

    watches = "accuracy of the worst inferred group"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if setting.attributes is None:
            raise ConfigError(
                "The rule inferred_groups needs the attributes that `starft audit data` infers; run it with this "
                "config, and give its folder as --audit."
            )

    def value(self, candidate: Candidate) -> float:
        """Return the worst accuracy.

        Args:
            candidate: A model.

        Raises:
            ConfigError: The attributes are of other images, or no group is large enough.
        """
        samples, attributes = candidate.samples[self.setting.id_set], self.setting.attributes
        assert attributes is not None, "checked above"
        if len(attributes) != len(samples["label"]):
            raise ConfigError(
                f"The audit is of {len(attributes)} images of {self.setting.id_set}, and validation has "
                f"{len(samples['label'])}; run `starft audit data` with this config and its options."
            )
        known = attributes >= 0
        groups = np.stack([samples["label"], attributes], axis=1)[known]
        _, group_of, sizes = np.unique(groups, axis=0, return_inverse=True, return_counts=True)
        right = np.bincount(group_of.reshape(-1), weights=samples["right"][known].astype(float))
        large = sizes >= FEWEST
        if not large.any():
            raise ConfigError(f"No inferred group has {FEWEST} validation images; give another --rule, or more images.")
        return float((right / sizes)[large].min())
