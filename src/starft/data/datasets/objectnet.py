"""ObjectNet: household things in odd places, from odd sides.

Paper: Barbu et al., NeurIPS 2019. Scored on the 113 of its 313 classes that overlap ImageNet, as the authors do: the
logit of a class is the highest of its ImageNet classes', and the red border, 2 pixels wide, is cut off first. Which
classes overlap is told by the mapping files that come with the data.
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

from PIL import Image

from starft.data.datasets.imagenet import ImageNetClasses
from starft.data.images import read_image
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import EvalSet

BORDER = 2
"""Width in pixels of the red border, which marks images that mustn't be trained on."""


def read_without_border(path: str) -> Image.Image:
    """Read an image and cut the red border off.

    Args:
        path: The file.

    Raises:
        BadImageError: It can't be read.
    """
    image = read_image(path)
    return image.crop((BORDER, BORDER, image.width - BORDER, image.height - BORDER))


class ObjectNetSource(ImageNetClasses):
    """ObjectNet's 18,574 images of classes that ImageNet has; truncated copies circulate, and the count tells them.

    Args:
        root: Folder that holds ``images`` and ``mappings``.
        class_names: Names of ImageNet's 1000 classes in the place of OpenAI's; null keeps OpenAI's.
        templates: Caption templates to put in the place of OpenAI's 80, each with ``{}`` once; null keeps the 80.
    """

    title: ClassVar[str] = "ObjectNet"
    tree: ClassVar[str] = """objectnet-1.0/
  images/
    air_freshener/  ... 313 folders
      0a3bd9e7f32d4a0.png
  mappings/
    folder_to_objectnet_label.json
    objectnet_to_imagenet_1k.json
    pytorch_to_imagenet_2012_id.json
    imagenet_to_label_2012_v2"""
    folders = ("objectnet-1.0",)
    counts: ClassVar = {"test": 18_574}
    """Images that overlap ImageNet; of all 313 classes there are 50,273. The licence forbids training on them."""

    @cached_property
    def imagenet_labels(self) -> dict[str, tuple[int, ...]]:
        """Folder of each class that overlaps -> its ImageNet labels, in the order of the folders' names."""
        names = self.read_json("mappings/folder_to_objectnet_label.json")
        overlap = self.read_json("mappings/objectnet_to_imagenet_1k.json")
        line_of = self.read_json("mappings/pytorch_to_imagenet_2012_id.json")
        lines = self.read_text("mappings/imagenet_to_label_2012_v2").splitlines()
        try:
            label_of = {lines[line].strip(): int(label) for label, line in line_of.items()}
            return {
                folder: tuple(label_of[name] for name in overlap[item].split("; "))
                for folder, item in sorted(names.items())
                if item in overlap
            }
        except (KeyError, IndexError) as error:
            raise DataError(
                f"{self.title}: the files in {self.root / 'mappings'} don't fit together ({error}); get a whole copy."
            ) from error

    def table(self, split: str) -> ImageTable:
        """List the folders of classes that overlap ImageNet."""
        self.need("images")
        labels = {folder: label for label, folder in enumerate(self.imagenet_labels)}
        table = self.from_class_folders("images", labels, others=True)
        return replace(table, read=read_without_border)

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score each class by the highest logit among its ImageNet classes."""
        return replace(super().eval_set(name, split, ood), merge=tuple(self.imagenet_labels.values()))
