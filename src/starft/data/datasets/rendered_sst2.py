"""Rendered SST2: sentences of film reviews drawn as images, good or bad; reading is what is tested.

Paper: Radford et al., ICML 2021, arXiv 2103.00020, on the Stanford Sentiment Treebank.
"""

from typing import ClassVar

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable


class RenderedSST2Source(PublishedSource):
    """Rendered SST2, in OpenAI's folders."""

    title: ClassVar[str] = "RenderedSST2"
    tree: ClassVar[str] = """rendered-sst2/
  train/  valid/  test/
    negative/
      1.png
    positive/
      1.png"""
    folders = ("rendered-sst2",)
    counts: ClassVar = {"train": 6920, "val": 872, "test": 1821}
    own_templates = ("a {} review of a movie.",)
    own_class_names = ("negative", "positive")

    def table(self, split: str) -> ImageTable:
        """List one folder."""
        return self.from_class_folders("valid" if split == "val" else split, {"negative": 0, "positive": 1})
