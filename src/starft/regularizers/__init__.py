"""Terms that hold the tuned model near something: one file each, named for its method."""

from starft.regularizers.car_ft import CarFT
from starft.regularizers.carot import Carot
from starft.regularizers.feature_distillation import FeatureDistillation
from starft.regularizers.kd import KD
from starft.regularizers.kind_alignment import KindAlignment
from starft.regularizers.l2_sp import L2SP
from starft.regularizers.lipsum_ft import LipsumFT
from starft.regularizers.spuriosity import SpuriosityAlignment
from starft.regularizers.tracer import Tracer

__all__ = [
    "KD",
    "L2SP",
    "CarFT",
    "Carot",
    "FeatureDistillation",
    "KindAlignment",
    "LipsumFT",
    "SpuriosityAlignment",
    "Tracer",
]
