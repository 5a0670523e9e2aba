"""Retrieval where images are paired with texts: is a caption among the K texts most like its image, and the other way?

Recall at K in both directions (Hodosh et al., JAIR 2013), over the whole set. Equal captions are one text: it asks
once, and any of its images is right. An image with several captions asks once, and any of them is right. Deviation from
common scripts: of equally like ones those that are wrong come first, so that features that are all alike score 0.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from starft.clip import ClipEncoder
from starft.distributed import gather, rank, world_size
from starft.types import Batch, EvalSet

BEST = (1, 5)
"""The K of R@K."""

RECALLS = tuple(f"{way}_r{best}" for way in ("i2t", "t2i") for best in BEST)
"""Names of the metrics: image to text, text to image."""

CHUNK = 1024
"""How many captions go through the text tower at a time."""

CELLS = 2**24
"""How many likenesses are held at a time."""


class FeatureRecord(Metric):
    """Keeps the features of all images; joined over processes, an image seen twice counts once.

    Args:
        **kwargs: Options of ``torchmetrics.Metric``.
    """

    is_differentiable = False
    full_state_update = False

    index: list[Tensor]
    features: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("index", [], dist_reduce_fx="cat")
        self.add_state("features", [], dist_reduce_fx="cat")

    def update(self, index: Tensor, features: Tensor) -> None:
        """Keep one batch.

        Args:
            index: Positions (n,) in the data set.
            features: Unit rows (n, D).
        """
        self.index.append(index)
        self.features.append(features.float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return positions (N,), rising, and features (N, D); nothing if nothing was seen."""
        if not len(self.index):
            return torch.zeros(0, dtype=torch.long), torch.zeros(0, 0)
        index, features = dim_zero_cat(self.index), dim_zero_cat(self.features)
        order = index.argsort(stable=True)
        index = index[order]
        first = torch.ones_like(index, dtype=torch.bool)
        first[1:] = index[1:] != index[:-1]
        return index[first], features[order][first]


class RetrievalScorer(nn.Module):
    """Scores one eval set whose images are paired with texts.

    Args:
        eval_set: With ``captions`` and ``pictures``.
    """

    def __init__(self, eval_set: EvalSet) -> None:
        super().__init__()
        self.eval_set, self.record = eval_set, FeatureRecord()
        self.hits: dict[str, tuple[int, int]] = {}
        """Metric -> how many queries were answered rightly, and how many there were; after `compute`."""
        self._places = {caption: place for place, caption in enumerate(dict.fromkeys(eval_set.captions))}
        self._texts: Tensor | None = None

    def prepare(self, clip: ClipEncoder) -> None:
        """Encode every distinct caption with the weights as they are now, and forget earlier images.

        Args:
            clip: The model that is scored.
        """
        self.record.reset()
        self._texts = caption_features(clip, [*self._places]).float()

    def update(self, image_features: Tensor, batch: Batch) -> None:
        """Keep one batch of images; their features (B, D) are unit rows."""
        self.record.update(batch["index"], image_features)

    def compute(self) -> dict[str, Tensor]:
        """Return each metric of `RECALLS`, over the images that were seen and their captions."""
        assert self._texts is not None, "prepare comes first"
        index, features = self.record.compute()
        rows: list[int] = index.tolist()
        if not rows:
            self.hits = dict.fromkeys(RECALLS, (0, 0))
            return {name: self._texts.new_tensor(float("nan")) for name in RECALLS}
        device = features.device
        known, texts = np.unique([self._places[self.eval_set.captions[row]] for row in rows], return_inverse=True)
        firsts: dict[str, int] = {}
        for at, row in enumerate(rows):
            firsts.setdefault(self.eval_set.pictures[row], at)
        numbers = {picture: number for number, picture in enumerate(firsts)}
        images = [numbers[self.eval_set.pictures[row]] for row in rows]
        seen = torch.tensor([*firsts.values()]), torch.from_numpy(known)
        sides = features[seen[0].to(device)], self._texts[seen[1].to(device)]
        pairs = torch.tensor(images).to(device), torch.from_numpy(texts).to(device)
        for way, (asking, asked) in {"i2t": (0, 1), "t2i": (1, 0)}.items():
            ahead = wrong_ones_ahead(sides[asking], sides[asked], pairs[asking], pairs[asked])
            for best in BEST:
                self.hits[f"{way}_r{best}"] = int((ahead < best).sum()), len(ahead)
        return {name: torch.tensor(hits / queries, device=device) for name, (hits, queries) in self.hits.items()}


def wrong_ones_ahead(queries: Tensor, items: Tensor, query_of: Tensor, item_of: Tensor) -> Tensor:
    """Return for each query how many items that aren't its own are at least as like it as the best of its own, (Q,).

    Args:
        queries: Unit rows (Q, D).
        items: Unit rows (I, D).
        query_of: The query of each pair, (P,); each query has one pair at least.
        item_of: Its item, (P,).

    Example:
        >>> items = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
        >>> wrong_ones_ahead(torch.eye(2), items, torch.tensor([0, 1]), torch.tensor([1, 1]))
        tensor([1, 0])
    """
    counts = []
    step = max(1, CELLS // len(items))
    for start in range(0, len(queries), step):
        likeness = queries[start : start + step] @ items.T
        here = (query_of >= start) & (query_of < start + len(likeness))
        own = torch.zeros_like(likeness, dtype=torch.bool)
        own[query_of[here] - start, item_of[here]] = True
        best = likeness.masked_fill(~own, float("-inf")).amax(dim=1, keepdim=True)
        counts.append(((likeness >= best) & ~own).sum(dim=1))
    return torch.cat(counts)


@torch.no_grad()
def caption_features(clip: ClipEncoder, captions: Sequence[str]) -> Tensor:
    """Return unit features (M, D) of captions; processes share the work, and have the bits that one alone would have.

    Args:
        clip: The model.
        captions: M texts.
    """
    chunks = [captions[at : at + CHUNK] for at in range(0, len(captions), CHUNK)]
    world, features = world_size(), []
    for start in range(0, len(chunks), world):
        turns = [chunks[min(start + which, len(chunks) - 1)] for which in range(world)]  # all encode, all the time
        features.append(gather(clip.encode_text(turns[rank()]), [len(turn) for turn in turns]))
    return torch.cat(features)[: len(captions)]
