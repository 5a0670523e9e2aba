"""Which captions each image of a step gets: its own or a template's, and one with a spurious phrase of the pool.

Draws come from a stream that a resume can't shift.
"""

from collections.abc import Sequence

import numpy as np

from starft.captions.pools import Pool, inject
from starft.captions.templates import caption
from starft.distributed import gather_objects, interleaved, rank, rows_of_rank


def pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    """Return one of the choices, all equally likely.

    Args:
        rng: Where chance comes from.
        choices: At least one.
    """
    return choices[int(rng.integers(len(choices)))]


class CaptionSampler:
    """Draws one clean and one spurious caption for each image of a batch.

    The draw depends on (seed, step) and the labels of the step's batch alone, so it is the same for any number of data
    workers and after a resume. Several processes draw for their joined batch, and each takes its own rows: together
    they have the captions of a process alone.

    Args:
        class_names: One name a class, in label order; empty where images have captions of their own and no class.
        templates: Captions with ``{}`` for the name; one is drawn for each image.
        pool: Where spurious templates come from; None draws clean captions only.
        seed: Start of the stream.
        own: Caption of each training image, which is its clean one; None draws templates.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        pool: Pool | None,
        seed: int,
        own: Sequence[str] | None = None,
    ) -> None:
        self.class_names = tuple(class_names)
        self.templates = tuple(templates)
        self.pool = pool
        self.seed = seed
        self.own = own

    def draw(
        self, labels: Sequence[int], step: int, rows: Sequence[int] | None = None, index: Sequence[int] = ()
    ) -> tuple[list[str], list[str]]:
        """Return the clean and the spurious captions of one batch, one a row; no pool, no spurious ones.

        Args:
            labels: Class of each image of all processes.
            step: Optimizer steps done.
            rows: Positions of the images whose captions are asked for; None for all.
            index: Of each image of all processes, its place in the training data; for captions of their own.
        """
        rng = np.random.default_rng([self.seed, step, 0])
        names = [self.class_names[label] for label in labels] if self.class_names else [""] * len(labels)
        rows = range(len(names)) if rows is None else rows
        if self.own is None:
            templates = [pick(rng, self.templates) for _ in names]
            captions = [caption(templates[row], names[row]) for row in rows]
        else:
            captions = [self.own[index[row]] for row in rows]
        if self.pool is None:
            return captions, []
        phrases = [pick(rng, self.pool.templates_for(name)) for name in names]
        return captions, [inject(clean, phrases[row]) for clean, row in zip(captions, rows, strict=True)]

    def draw_share(
        self, labels: Sequence[int], step: int, index: Sequence[int] = ()
    ) -> tuple[list[str], list[str], list[int]]:
        """Return the captions of this process's images, as `draw` does, and how many images each process has.

        Args:
            labels: Class of each image of this process.
            step: Optimizer steps done.
            index: The place of each in the training data; for captions of their own.
        """
        shares = gather_objects((list(labels), list(index)))
        sizes = [len(share) for share, _ in shares]
        labels, index = (interleaved([share[part] for share in shares]) for part in (0, 1))
        return *self.draw(labels, step, rows_of_rank(sizes, rank()), index), sizes

    def all_spurious(self, at_most: float) -> list[str]:
        """Return every spurious caption that may be drawn, class by class; none where they are more than ``at_most``.

        Args:
            at_most: How many are of use.
        """
        if self.pool is None:
            return []
        if self.own is not None:
            return self._own_spurious(self.pool, at_most)
        phrases = [self.pool.templates_for(name) for name in self.class_names]
        if len(self.templates) * sum(map(len, phrases)) > at_most:
            return []
        return [
            inject(caption(template, name), phrase)
            for name, some in zip(self.class_names, phrases, strict=True)
            for template in self.templates
            for phrase in some
        ]

    def _own_spurious(self, pool: Pool, at_most: float) -> list[str]:
        """Return the same of captions of their own; none where phrases serve one class: theirs isn't known here."""
        distinct = dict.fromkeys(self.own or ())
        if pool.per_class or len(distinct) * len(pool.templates) > at_most:
            return []
        return [inject(clean, phrase) for clean in distinct for phrase in pool.templates]
