"""Fine-tune CLIP without teaching it shortcuts: StarFT and its rivals on PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starft import callbacks, data, losses, mini
    from starft.errors import StarftError
    from starft.inference.classifier import Classifier, load
    from starft.training.module import FinetuneModule

__all__ = [
    "Classifier",
    "FinetuneModule",
    "StarftError",
    "__version__",
    "callbacks",
    "data",
    "load",
    "losses",
    "mini",
]

__version__ = "0.1.0"

_HOMES = {
    "Classifier": "starft.inference.classifier",
    "FinetuneModule": "starft.training.module",
    "StarftError": "starft.errors",
    "load": "starft.inference.classifier",
}


def __getattr__(name: str) -> Any:
    """Import what stands in ``__all__`` when it is asked for: ``import starft`` alone loads no torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"starft.{name}")
    raise AttributeError(f"module 'starft' has no attribute {name!r}")
