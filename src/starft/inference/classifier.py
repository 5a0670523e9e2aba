"""A trained model, ready for use: ``from starft import load``."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from starft.clip import CaptionRuler, ClipEncoder, image_preprocessing, rebuild_clip, zero_shot_head
from starft.clip.finite import first_not_finite
from starft.clip.model_names import FOLDER_CONFIG
from starft.clip.token_checks import check_captions
from starft.data.images import prepared, rgb
from starft.data.transforms import eval_transform
from starft.errors import ConfigError, NotFiniteError, WeightsError
from starft.files.atomic import load_json
from starft.files.digests import SUMS, check_export, checked_meanwhile, checked_on_error
from starft.inference.arguments import checked_names, checked_templates, checked_texts, kind_of, whole_number
from starft.runs.adapted import tuned_clip
from starft.runs.checkpoints import opened_checkpoint, refuse_run_folder

LINEAR = "linear_head"

ABOUT = "starft.json"
"""What an export says beyond its format: class names, templates, which head."""
WEIGHTS = "open_clip_model.safetensors"
HEAD = "head.safetensors"

AnyImage = str | Path | Image.Image | Tensor
"""A path, a picture, or float pixels (3, H, W) as `Classifier.preprocess` returns them."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Args:
        label: The most probable class.
        probability: Its probability, in 0..1.
        top: The most probable classes with their probabilities, best first.
    """

    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


class Classifier:
    """A tuned CLIP model with its classes.

    The trained linear head scores where the run had one; the zero-shot head of the tuned text tower does otherwise, and
    for every set of classes given by `with_classes`.

    Args:
        clip: The tuned model.
        class_names: C names.
        templates: Caption templates, each with ``{}`` once.
        linear_head: Trained head (C, D), or None.
    """

    def __init__(
        self,
        clip: ClipEncoder,
        class_names: Sequence[str],
        templates: Sequence[str],
        linear_head: Tensor | None = None,
    ) -> None:
        self.clip = clip
        self.class_names, self.templates = checked_names(class_names), checked_templates(templates)
        if linear_head is not None and tuple(getattr(linear_head, "shape", ()))[:1] != (len(self.class_names),):
            raise ConfigError(
                f"The linear head must be (C, D) for {len(self.class_names)} classes; got {kind_of(linear_head)}."
            )
        self.linear_head = linear_head
        self.preprocessing = image_preprocessing(clip.model)
        self.transform = eval_transform(self.preprocessing)
        self._head: Tensor | None = None

    def __repr__(self) -> str:
        shown = ", ".join(self.class_names[:4]) + (", ..." if len(self.class_names) > 4 else "")
        kind = "text" if self.linear_head is None else "linear"
        return f"Classifier({len(self.class_names)} classes: {shown}; {kind} head; on {self.device})"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.clip.device

    @property
    def head(self) -> Tensor:
        """Class weights (C, D), scaled: logits are unit image features times their transpose."""
        if self._head is None:
            with torch.no_grad():
                text = self.linear_head is None
                rows = self._text_head() if text else self.linear_head
                assert rows is not None
                rows = rows.float().to(self.device)
                if not rows.isfinite().all():
                    raise NotFiniteError("The head that this model's weights make isn't finite; take other weights.")
                self._head = rows
        return self._head

    def _text_head(self) -> Tensor:
        return self.clip.logit_scale * zero_shot_head(self.clip, self.class_names, self.templates)

    def with_classes(self, class_names: Sequence[str], templates: Sequence[str] | None = None) -> "Classifier":
        """Return the same model for other classes, scored zero-shot by the tuned text tower.

        Args:
            class_names: New names.
            templates: Caption templates, each with ``{}`` once; None takes those of training.

        Raises:
            ConfigError: Names or templates can't be used.
        """
        names = checked_names(class_names)
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ConfigError(f"The class name {twice[0]!r} is there twice; name each class once.")
        templates = self.templates if templates is None else checked_templates(templates)
        check_captions(CaptionRuler("the model", self.clip.tokenize), [(names, templates)], None, notes=True)
        return Classifier(self.clip, names, templates)

    def preprocess(self, image: AnyImage) -> Tensor:
        """Return one image as the model takes it, float (3, H, W) on the host.

        Args:
            image: A path, a picture, or what this method returned before.

        Raises:
            BadImageError: A file can't be read.
            ConfigError: Pixels of another shape or type.
        """
        if isinstance(image, Tensor):
            size = (3, *self.preprocessing.size)
            if tuple(image.shape) != size or not image.is_floating_point():
                raise ConfigError(
                    f"An image given as a tensor must be float {size}, as `preprocess` returns it; got "
                    f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}. Give a path or a PIL image."
                )
            if image.layout != torch.strided or image.is_meta:
                raise ConfigError("An image given as a tensor must be dense, and hold numbers; give another.")
            if not image.isfinite().all():
                raise ConfigError("An image given as a tensor holds a NaN or an infinity; give finite pixels.")
            return image
        if isinstance(image, str | Path):
            return prepared(os.fspath(image), self.transform)
        if not isinstance(image, Image.Image):
            raise _no_image(image)
        if not image.width * image.height:
            raise ConfigError(f"A picture of {image.width} x {image.height} pixels shows nothing; give another.")
        try:
            return self.transform(rgb(image))
        except (ValueError, OSError, SyntaxError) as error:  # the last two of files that are read only now
            raise ConfigError(f"The picture {image} can't be used: {error}.") from error

    @torch.no_grad()
    def encode(self, images: AnyImage | Iterable[AnyImage], batch_size: int = 64) -> Tensor:
        """Return unit image features (N, D), float32 on the host.

        Args:
            images: One image or several; a tensor (N, 3, H, W) counts as several.
            batch_size: How many go through the model at a time, and are held at a time.
        """
        features = [self.features(batch).cpu() for batch in self._batches(images, batch_size)]
        return torch.cat(features) if features else torch.empty(0, self.head.shape[1])

    @torch.no_grad()
    def encode_text(self, texts: str | Sequence[str]) -> Tensor:
        """Return unit text features (N, D) of the tuned text tower, float32 on the host.

        Args:
            texts: One caption or several.
        """
        captions = checked_texts("Captions", "['a photo of a duck.']", [texts] if isinstance(texts, str) else texts)
        return self.clip.encode_text(captions).float().cpu() if captions else torch.empty(0, self.head.shape[1])

    @torch.no_grad()
    def predict(
        self, images: AnyImage | Iterable[AnyImage], top_k: int | None = None, batch_size: int = 64
    ) -> list[Prediction]:
        """Return what the model says of each image, in order.

        Args:
            images: One image or several; a tensor (N, 3, H, W) counts as several.
            top_k: How many classes to list; None lists five, or all where there are fewer.
            batch_size: How many images go through the model at a time, and are held at a time.

        Raises:
            BadImageError: A file can't be read.
            ConfigError: ``top_k`` is out of range, or an image can't be used.
        """
        most = self.checked_top_k(top_k)
        results: list[Prediction] = []
        for batch in self._batches(images, batch_size):
            values, places = self.ranked(batch, most)
            for row in zip(values.tolist(), places.tolist(), strict=True):
                top = tuple((self.class_names[place], value) for value, place in zip(*row, strict=True))
                results.append(Prediction(top[0][0], top[0][1], top))
        return results

    def features(self, pixels: Tensor) -> Tensor:
        """Return unit features (B, D) of images (B, 3, H, W) that are prepared already, on the model's device."""
        size = (3, *self.preprocessing.size)
        if not isinstance(pixels, Tensor) or tuple(pixels.shape[1:]) != size or not pixels.is_floating_point():
            raise ConfigError(
                f"Pixels must be a float tensor {('B', *size)}, stacked from `preprocess`; got {kind_of(pixels)}."
            )
        return self.clip.encode_image(pixels.to(self.device, non_blocking=True)).float()

    def logits(self, pixels: Tensor) -> Tensor:
        """Return logits (B, C) of images (B, 3, H, W) that are prepared already, on the model's device."""
        return self.features(pixels) @ self.head.T

    @torch.no_grad()
    def ranked(self, pixels: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
        """Return the highest probabilities (B, K) and their classes (B, K) of images (B, 3, H, W), on the host.

        Raises:
            NotFiniteError: The model gives no finite number for an image.
        """
        values, places = self.logits(pixels).softmax(dim=-1).topk(top_k)
        values, places = values.cpu(), places.cpu()
        if not values.isfinite().all():
            raise NotFiniteError("The model's probabilities of an image aren't finite; check its pixels and weights.")
        return values, places

    def checked_top_k(self, top_k: int | None) -> int:
        """Return how many classes to list.

        Args:
            top_k: As asked for; None takes five, or all where there are fewer.

        Raises:
            ConfigError: There aren't so many.
        """
        if top_k is None:
            return min(5, len(self.class_names))
        top_k = whole_number("top_k", top_k, least=-sys.maxsize)
        if not 1 <= top_k <= len(self.class_names):
            known = len(self.class_names)
            raise ConfigError(f"There are {known} classes, so 1 to {known} can be listed; top_k (--top-k) is {top_k}.")
        return top_k

    def _batches(self, images: AnyImage | Iterable[AnyImage], size: int) -> Iterator[Tensor]:
        size = whole_number("batch_size", size)
        alone = isinstance(images, str | Path | Image.Image) or (isinstance(images, Tensor) and images.ndim != 4)
        # what iterates over something else than images: rows of pixels, bytes, names
        if isinstance(images, np.ndarray | bytes | bytearray | Mapping) or not (alone or isinstance(images, Iterable)):
            raise _no_image(images)
        values: list[Tensor] = []
        several: Iterable[Any] = [images] if alone else images  # type: ignore[assignment]
        for image in several:
            values.append(self.preprocess(image))
            if len(values) == size:
                yield torch.stack(values)
                values = []
        if values:
            yield torch.stack(values)


def _no_image(image: Any) -> ConfigError:
    hint = " Give Image.fromarray(array) of PIL for pixels of 0 to 255." if isinstance(image, np.ndarray) else ""
    return ConfigError(
        "Images are paths, PIL images, or float tensors as `preprocess` returns them, one or a list of them; got "
        f"{kind_of(image)}.{hint}"
    )


def load(
    path: str | Path, device: str | torch.device | None = None, class_names: Sequence[str] | None = None
) -> Classifier:
    """Return a trained model, ready for use, from its checkpoint or from an export of the format open_clip.

    Args:
        path: A checkpoint of `starft fit`, or a folder that `starft export` wrote.
        device: Where to run, such as ``cuda`` or ``cpu``; None takes a GPU where there is one.
        class_names: Of a model that was tuned on images with captions and has no classes; None takes its own.

    Raises:
        ConfigError: There is no such device, the model needs an extra that isn't installed, or it has no classes.
        RunFolderError: The manifest of the checkpoint's run is damaged.
        WeightsError: There is no such file, it isn't as it was written, or it can't be used.
    """
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"`load` takes the path of a checkpoint or of an export; got {kind_of(path)}.")
    path = Path(path)
    try:
        if not (path / ABOUT).is_file() and not (path / SUMS).is_file():
            refuse_run_folder(path)
    except OSError as error:  # such as a name that is too long
        raise WeightsError(f"The checkpoint {path} can't be read: {error.strerror}; check its path.") from error
    place = _device(device)
    model = _from_export(path) if path.is_dir() else _from_checkpoint(path, class_names)
    if class_names is not None and tuple(class_names) != model.class_names:
        model = model.with_classes(class_names)
    model.clip.to(place)
    model.clip.requires_grad_(False)
    return model


def _from_checkpoint(path: Path, class_names: Sequence[str] | None) -> Classifier:
    with opened_checkpoint(path) as (facts, state):
        if not facts.config:
            raise WeightsError(
                f"The checkpoint {path} is of an earlier starft and doesn't tell how to build its model; "
                "use `starft test` or `starft predict` with its --config."
            )
        head = state[LINEAR].clone() if facts.head == "linear" else None  # a copy: the file may go
        names = facts.class_names or class_names
        if names is None or not names:
            raise ConfigError(
                f"The checkpoint {path} was tuned on images with captions and has no classes; give it some, as "
                "`starft.load(CHECKPOINT, class_names=['duck', 'gull'])` does in Python."
            )
        return Classifier(tuned_clip(facts, state), names, facts.templates, head)


def _from_export(folder: Path) -> Classifier:
    with checked_on_error(check_export, folder):
        about, config = (_read_json(folder / name, folder) for name in (ABOUT, FOLDER_CONFIG))
        try:
            state = load_file(folder / WEIGHTS)
            head = load_file(folder / HEAD)["head"] if about["head"] == "linear" else None
            names, templates = tuple(about["class_names"]), tuple(about["templates"])
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise WeightsError(f"The export {folder} is damaged ({error}); make it again: `starft export`.") from error
        bad = first_not_finite((*state.items(), *([("head", head)] if head is not None else [])))
        if bad is not None:
            raise WeightsError(f"The export {folder} can't be used: {bad} in it holds a NaN or an infinity.")
    with checked_meanwhile(check_export, folder):
        return Classifier(rebuild_clip(config, state, tokens=folder), names, templates, head)


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    try:
        value: dict[str, Any] = load_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{folder} isn't an export that can be loaded, {path.name} is missing or damaged; "
            "give a checkpoint, or a folder by `starft export --format open_clip`."
        ) from error
    return value


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:  # torch without CUDA asserts
        raise ConfigError(f"The device {str(device)!r} can't be used here; give cpu, or cuda with a GPU.") from error
    return place
