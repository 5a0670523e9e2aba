"""Fine-tune CLIP without teaching it shortcuts: StarFT and its rivals on PyTorch Lightning."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starft import callbacks, data, losses, mini
    from starft.errors import StarftError
    from starft.inference.classifier import Classifier, load
    from starft.training.module import FinetuneModule

    __version__: str

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

_HOMES = {
    "Classifier": "starft.inference.classifier",
    "FinetuneModule": "starft.training.module",
    "StarftError": "starft.errors",
    "load": "starft.inference.classifier",
}


def __getattr__(name: str) -> Any:
    """Import what stands in ``__all__`` when it is asked for: ``import starft`` alone loads no torch."""
    if name == "__version__":
        return _installed_version()
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"starft.{name}")
    raise AttributeError(f"module 'starft' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what there is, imported or not: for shells that complete names, and for the documentation."""
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """Return the version that the installation took from git's tags, or "unknown" of sources that nobody installed."""
    try:
        return str(import_module("importlib.metadata").version("starft"))  # takes a tenth of a second to load
    except ModuleNotFoundError:
        return "unknown"
