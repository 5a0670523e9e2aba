"""Fine-tune CLIP without teaching it shortcuts: StarFT and its rivals on PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starft.classifier import load

__all__ = ["__version__", "load"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import what stands in ``__all__`` when it is asked for: ``import starft`` alone loads no torch."""
    if name == "load":
        return import_module("starft.classifier").load
    raise AttributeError(f"module 'starft' has no attribute {name!r}")
