"""Everything that is added to the loss. Configs name these classes ``starft.losses.NAME``."""

from starft.losses.base import Term
from starft.losses.car_ft import CarFT
from starft.losses.carot import Carot
from starft.losses.feature_distillation import FeatureDistillation
from starft.losses.group_dro import GroupDRO
from starft.losses.kd import KD
from starft.losses.kind_alignment import KindAlignment
from starft.losses.l2_sp import L2SP
from starft.losses.lipsum_ft import LipsumFT
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.losses.recalcon import ReCalCon
from starft.losses.starft import SpuriosityAlignment
from starft.losses.teachers import ExponentialAverage, TeacherRule, WeightedAverage
from starft.losses.tracer import Tracer

__all__ = [
    "KD",
    "L2SP",
    "CarFT",
    "Carot",
    "Contrastive",
    "CrossEntropy",
    "ExponentialAverage",
    "FeatureDistillation",
    "GroupDRO",
    "KindAlignment",
    "LipsumFT",
    "ReCalCon",
    "SpuriosityAlignment",
    "TeacherRule",
    "Term",
    "Tracer",
    "WeightedAverage",
]
