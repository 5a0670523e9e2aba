"""The embedded world: drawn birds in drawn scenes, and the tiny CLIP that was pre-trained on them."""

from starft.mini.datamodule import MiniPretraining, MiniWorld

__all__ = ["MiniPretraining", "MiniWorld"]
