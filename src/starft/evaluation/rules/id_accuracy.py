"""``id``: the highest accuracy on ID validation images."""

from starft.evaluation.rules.base import Candidate, Rule


class IdAccuracy(Rule):
    """The usual choice; it sees nothing of what fine-tuning forgets."""

    watches = "ID accuracy"

    def value(self, candidate: Candidate) -> float:
        """Return the ID accuracy.

        Args:
            candidate: A model.
        """
        return self.id_accuracy(candidate)
