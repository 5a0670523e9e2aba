"""Methods that act between the steps of a run; list them under ``trainer.callbacks``."""

from starft.callbacks.dfr import DFR
from starft.callbacks.ema import WeightEMA
from starft.callbacks.george import George
from starft.callbacks.jtt import JTT
from starft.callbacks.spare import SPARE

__all__ = ["DFR", "JTT", "SPARE", "George", "WeightEMA"]
