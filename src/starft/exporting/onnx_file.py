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

from starft.classifier import Classifier
from starft.errors import ConfigError, WeightsError

FILE = "model.onnx"
TOLERANCE = 1e-4
"""How far unit features may differ before the export is refused; rounding stays far below."""


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
        WeightsError: onnxruntime doesn't get the same features from it.
    """
    import onnxruntime  # noqa: PLC0415  # an extra

    graph = ImageClassifier(model).eval()
    pixels = torch.randn(3, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            graph,
            (pixels,),
            str(folder / FILE),
            input_names=["image"],
            output_names=["features", "logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        session: Any = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
        for some in (pixels, pixels[:1]):
            theirs = torch.from_numpy(session.run(["features"], {"image": some.numpy()})[0])
            off = float((theirs - graph(some)[0]).abs().max())
            if not off <= TOLERANCE:
                raise WeightsError(f"onnxruntime gets other features (off by {off:.1e}); take the format open_clip.")


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
