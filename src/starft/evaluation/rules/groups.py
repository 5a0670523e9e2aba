"""``groups``: the worst group of validation, where its images have groups."""

import numpy as np

from starft.errors import ConfigError
from starft.evaluation.rules.base import FEWEST_OF_GROUP, Candidate, Rule, Setting, worst_of_groups


class Groups(Rule):
    """The highest accuracy of the worst group, in the validation set whose smallest group has the most images.

    Groups of fewer than ten images count together: the embedded world's ID set has one image of an owl away from home.
    """

    watches = "worst-group accuracy"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if not setting.group_sets:
            raise ConfigError(
                "The rule groups needs a validation set with groups, and there is none; give the data an attribute or "
                "group column, or infer groups: `starft audit data`, then --rule inferred_groups."
            )

    def value(self, candidate: Candidate) -> float:
        """Return the worst-group accuracy.

        Args:
            candidate: A model.

        Raises:
            ConfigError: No group is large enough.
        """

        def smallest(name: str) -> int:
            group = candidate.samples[name]["group"]
            sizes = np.unique(group[group >= 0], return_counts=True)[1]
            return int(sizes.min()) if len(sizes) else 0

        name = max(self.setting.group_sets, key=smallest)
        samples = candidate.samples[name]
        known = samples["group"] >= 0
        worst = worst_of_groups(samples["group"][known], samples["right"][known])
        if worst is None:
            raise ConfigError(
                f"No group of {name} has {FEWEST_OF_GROUP} validation images; give another --rule, or more images."
            )
        return worst
