"""The formats of an export, each a function that fills a folder."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from open_clip.tokenizer import HFTokenizer, SigLipTokenizer
from safetensors.torch import save_file
from torch import Tensor

from starft.clip.model_names import FOLDER_CONFIG
from starft.clip.rebuild import export_config
from starft.exporting.folder import write_json
from starft.exporting.hugging_face import check_hugging_face, write_hugging_face
from starft.exporting.onnx_file import check_onnx, write_onnx
from starft.inference.classifier import ABOUT, HEAD, WEIGHTS, Classifier

Write = Callable[[Classifier, Path], None]


def write_open_clip(model: Classifier, folder: Path) -> None:
    """Write weights and config as open_clip's ``local-dir:`` reads them, and what `starft.load` wants beside them."""
    save_file(_plain(model.clip.model.state_dict()), folder / WEIGHTS)
    tokenize: Any = model.clip.tokenize
    of_transformers = isinstance(tokenize, HFTokenizer | SigLipTokenizer)
    write_json(folder / FOLDER_CONFIG, export_config(model.clip.config, of_transformers))
    if of_transformers:
        tokenize.save_pretrained(str(folder))


def write_head(model: Classifier, folder: Path) -> None:
    """Write class weights (C, D), scaled, alone."""
    save_file(_plain({"head": model.head}), folder / HEAD)


def write_about(model: Classifier, folder: Path, form: str) -> None:
    """Write what an export says beyond its format: classes, captions, preprocessing.

    Args:
        model: What is exported.
        folder: Where.
        form: Which format.
    """
    linear = model.linear_head is not None
    about: dict[str, Any] = {
        "format": form,
        "head": "linear" if linear else "text",
        "class_names": list(model.class_names),
        "templates": list(model.templates),
        "preprocessing": asdict(model.preprocessing),
    }
    write_json(folder / ABOUT, about)
    if linear and form != "head":
        write_head(model, folder)


def _plain(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}


FORMATS: dict[str, tuple[Callable[[Classifier], None], Write]] = {
    "open_clip": (lambda model: None, write_open_clip),
    "hf": (check_hugging_face, write_hugging_face),
    "onnx": (check_onnx, write_onnx),
    "head": (lambda model: None, write_head),
}
"""Format -> what refuses a model before anything is written, and what writes it."""
