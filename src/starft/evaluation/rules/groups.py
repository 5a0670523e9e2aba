"""``groups``: the worst group of validation, where its images have groups."""

from starft.errors import ConfigError
from starft.evaluation.rules.base import Candidate, Rule, Setting, metric_of


class Groups(Rule):
    """The highest worst-group accuracy."""

    watches = "worst-group accuracy"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if setting.group_set is None:
            raise ConfigError(
                "The rule groups needs a validation set with groups, and there is none; give the data an attribute or "
                "group column, or infer groups: `starft audit data`, then --rule inferred_groups."
            )

    def value(self, candidate: Candidate) -> float:
        """Return the worst-group accuracy.

        Args:
            candidate: A model.
        """
        return metric_of(candidate, f"{self.setting.group_set}/worst_group_acc")
