"""ImageNet-1k, and what all sets of its classes share.

Paper: Russakovsky et al., IJCV 2015, arXiv 1409.0575. Class names and templates are those of OpenAI's CLIP, as
open_clip ships them; the order of classes is that of the sorted synsets, as timm ships them.
"""

from functools import cache
from importlib.resources import files
from typing import ClassVar

from open_clip import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable


@cache
def synsets(subset: str = "") -> tuple[str, ...]:
    """Return WordNet ids such as ``n01440764``, sorted.

    Args:
        subset: "" for all 1000 classes, ``r`` or ``a`` for the 200 of ImageNet-R or -A.
    """
    name = f"imagenet_{subset}_synsets.txt" if subset else "imagenet_synsets.txt"
    return tuple((files("timm") / "data" / "_info" / name).read_text(encoding="utf-8").split())


class ImageNetClasses(PublishedSource):
    """A set whose pictures show ImageNet's 1000 classes, or some of them.

    Two pairs of classes have equal names, "missile" and "sunglasses", in OpenAI's list: a zero-shot head can't tell
    them apart.
    """

    own_templates: ClassVar[tuple[str, ...]] = tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)

    @property
    def own_class_names(self) -> tuple[str, ...]:
        """OpenAI's 1000 class names."""
        return tuple(IMAGENET_CLASSNAMES)


class ImageNetSource(ImageNetClasses):
    """ImageNet-1k: ``train`` and, as ``test``, the 50,000 validation images; those of ``val`` are held out of train.

    Args:
        root: Folder that holds ``train`` and ``val``.
        class_names: Names to put in the place of OpenAI's, in the order of the sorted synsets; null keeps OpenAI's.
        templates: Caption templates to put in the place of OpenAI's 80, each with ``{}`` once; null keeps the 80.
    """

    title: ClassVar[str] = "ImageNet"
    tree: ClassVar[str] = """imagenet/
  train/
    n01440764/  ... 1000 folders
      n01440764_10026.JPEG
  val/
    n01440764/  ... 1000 folders
      ILSVRC2012_val_00000293.JPEG"""
    folders = ("imagenet", "ILSVRC2012")
    counts: ClassVar = {"train": 1_281_167, "test": 50_000}

    def table(self, split: str) -> ImageTable:
        """List ``train/``, or for ``test`` ``val/``."""
        labels = {synset: label for label, synset in enumerate(synsets())}
        return self.from_class_folders("train" if split == "train" else "val", labels)
