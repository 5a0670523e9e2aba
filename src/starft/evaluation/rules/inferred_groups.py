"""``inferred_groups``: the worst pair of label and inferred attribute on validation."""

import numpy as np

from starft.errors import ConfigError
from starft.evaluation.rules.base import FEWEST_OF_GROUP, Candidate, Rule, Setting, worst_of_groups


class InferredGroups(Rule):
    """The highest accuracy of the worst inferred group; those of fewer than `FEWEST_OF_GROUP` images are one group."""

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
        _, group_of = np.unique(groups, axis=0, return_inverse=True)
        worst = worst_of_groups(group_of.reshape(-1), samples["right"][known])
        if worst is None:
            raise ConfigError(
                f"No inferred group has {FEWEST_OF_GROUP} validation images; give another --rule, or more images."
            )
        return worst
