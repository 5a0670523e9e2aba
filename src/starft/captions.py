"""Which caption each image of a step gets: drawn from templates and pool by a stream that a resume can't shift."""

from collections.abc import Sequence

import numpy as np

from starft.clip import caption
from starft.pools import Pool, inject


class CaptionSampler:
    """Draws one clean and one spurious caption for each label of a batch.

    The draw depends on (seed, step, rank) and nothing else, so it is the same for any number of data workers and
    after a resume.

    Args:
        class_names: One name a class, in label order.
        templates: Captions with ``{}`` for the name; one is drawn for each image.
        pool: Where spurious templates come from; null draws clean captions only.
        seed: Start of the stream.
    """

    def __init__(self, class_names: Sequence[str], templates: Sequence[str], pool: Pool | None, seed: int) -> None:
        self.class_names = tuple(class_names)
        self.templates = tuple(templates)
        self.pool = pool
        self.seed = seed

    def draw(self, labels: Sequence[int], step: int, rank: int = 0) -> tuple[list[str], list[str]]:
        """Return the clean and the spurious captions of one batch, one a label; no pool, no spurious ones.

        Args:
            labels: Class of each image.
            step: Optimizer steps done.
            rank: Which process this is.
        """
        rng = np.random.default_rng([self.seed, step, rank])
        names = [self.class_names[label] for label in labels]
        captions = [caption(self._pick(rng, self.templates), name) for name in names]
        if self.pool is None:
            return captions, []
        spurious = [
            inject(clean, self._pick(rng, self.pool.templates_for(name)))
            for clean, name in zip(captions, names, strict=True)
        ]
        return captions, spurious

    def all_spurious(self, at_most: float) -> list[str]:
        """Return every spurious caption that may be drawn, class by class; none where they are more than ``at_most``.

        Args:
            at_most: How many are of use.
        """
        if self.pool is None:
            return []
        phrases = [self.pool.templates_for(name) for name in self.class_names]
        if len(self.templates) * sum(map(len, phrases)) > at_most:
            return []
        return [
            inject(caption(template, name), phrase)
            for name, some in zip(self.class_names, phrases, strict=True)
            for template in self.templates
            for phrase in some
        ]

    @staticmethod
    def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
        return choices[int(rng.integers(len(choices)))]
