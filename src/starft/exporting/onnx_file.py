"""The image tower and its head as one ONNX graph, checked with onnxruntime."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from starft.errors import ConfigError, WeightsError
from starft.inference.classifier import Classifier

FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far unit features may differ before the export is refused; rounding stays far below."""

WHY = 200
"""Letters of the exporter's own words that are shown."""


class ImageClassifier(nn.Module):
    """Prepared images in, unit features and logits out.

    Args:
        model: What is exported.
    """

    head: Tensor

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.clip = model.clip
        self.register_buffer("head", model.head.T.contiguous())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit features (N, D) and logits (N, C) of images (N, 3, H, W)."""
        features = self.clip.encode_image(image)
        return features, features @ self.head


def check_onnx(model: Classifier) -> None:
    """Refuse where the extra is missing.

    Args:
        model: What is to be exported.

    Raises:
        ConfigError: onnx, onnxscript or onnxruntime isn't installed.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"The format onnx needs {', '.join(missing)}; install with `pip install 'starft[export]'`.")


def write_onnx(model: Classifier, folder: Path) -> None:
    """Write ``model.onnx``: ``image`` (N, 3, H, W) in, ``features`` (N, D) and ``logits`` (N, C) out.

    Args:
        model: On the CPU.
        folder: Where.

    Raises:
        WeightsError: The exporter doesn't know a part of the model, or onnxruntime gets other features from the file.
    """
    import onnxruntime  # noqa: PLC0415  # an extra

    graph = ImageClassifier(model).eval()
    pixels = torch.randn(3, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        with _plain_attention(graph):
            _export(graph, pixels, folder / FILE)
        session: Any = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
        for some in (pixels, pixels[:1]):
            theirs = torch.from_numpy(session.run(["features"], {"image": some.numpy()})[0])
            off = float((theirs - graph(some)[0]).abs().max())
            if not off <= TOLERANCE:
                raise WeightsError(f"onnxruntime gets other features (off by {off:.1e}); take the format open_clip.")


def _export(graph: nn.Module, pixels: Tensor, path: Path) -> None:
    try:
        torch.onnx.export(
            graph,
            (pixels,),
            str(path),
            input_names=["image"],
            output_names=["features", "logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    except OSError:
        raise
    except Exception as error:  # the exporter's and the tracer's errors share no base
        while error.__cause__ is not None and isinstance(error.__cause__, Exception):
            error = error.__cause__  # the innermost says what it is about
        why = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"torch's exporter can't write this model as ONNX ({why[:WHY]}); take the format open_clip."
        ) from error


@contextmanager
def _plain_attention(model: nn.Module) -> Iterator[None]:
    """Let timm's layers write attention out: the exporter knows the fused one with four dimensions, Hiera has five."""
    fused: list[Any] = [part for part in model.modules() if getattr(part, "fused_attn", False)]
    for part in fused:
        part.fused_attn = False
    try:
        yield
    finally:
        for part in fused:
            part.fused_attn = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter tells of itself off the screen."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
