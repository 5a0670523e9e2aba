"""``tolerance``: the strongest pull to the frozen model that costs little ID accuracy."""

from starft.errors import ConfigError
from starft.evaluation.rules.base import Candidate, Rule, Setting


class Tolerance(Rule):
    """The largest weight among models within the tolerance of the best ID accuracy."""

    watches = "weight"
    near_the_best = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if not setting.pulls:
            raise ConfigError(
                "The rule tolerance chooses the largest weight, and no regularizer's weight is tried; "
                "add one, such as model.regularizers.0.init_args.weight, or give --rule id."
            )

    def value(self, candidate: Candidate) -> float:
        """Return the pull.

        Args:
            candidate: A model.
        """
        assert candidate.pull is not None, "checked above"
        return candidate.pull
