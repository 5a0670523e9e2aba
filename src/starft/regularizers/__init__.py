"""Terms that hold the tuned model near something: one file each, named for its method."""

from starft.regularizers.feature_distillation import FeatureDistillation
from starft.regularizers.kd import KD
from starft.regularizers.l2_sp import L2SP
from starft.regularizers.spuriosity import SpuriosityAlignment

__all__ = ["KD", "L2SP", "FeatureDistillation", "SpuriosityAlignment"]
