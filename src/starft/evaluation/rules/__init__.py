"""Rules that choose one of several trained models by validation data alone, one a file."""

from starft.evaluation.rules.agreement import ZeroShotAgreement
from starft.evaluation.rules.base import Candidate, Rule, Setting
from starft.evaluation.rules.groups import Groups
from starft.evaluation.rules.id_accuracy import IdAccuracy
from starft.evaluation.rules.inferred_groups import InferredGroups
from starft.evaluation.rules.tolerance import Tolerance

__all__ = ["RULES", "Candidate", "Rule", "Setting"]

RULES: dict[str, type[Rule]] = {
    "id": IdAccuracy,
    "tolerance": Tolerance,
    "zero_shot_agreement": ZeroShotAgreement,
    "groups": Groups,
    "inferred_groups": InferredGroups,
}
"""Name -> rule."""
