"""R@K against a count by hand and a brute force over whole lists, in parts of any size and in two processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fakes.processes import together
from starft.captions.pool_files import load_pools
from starft.captions.sampler import CaptionSampler
from starft.distributed import rank, world_size
from starft.evaluation import retrieval
from starft.evaluation.evaluator import Evaluator
from starft.evaluation.metrics import eval_metric_names
from starft.types import EvalSet

D = 6


class Words:
    """An encoder that has a feature for each caption, and notes how many it encodes at a time."""

    logit_scale = torch.tensor(1.0)

    def __init__(self, features: dict[str, Tensor]) -> None:
        self.features, self.calls = features, list[int]()

    def encode_text(self, captions: list[str]) -> Tensor:
        self.calls.append(len(captions))
        return torch.stack([self.features[caption] for caption in captions])


def scored(
    evaluator: Evaluator, clip: Any, features: Tensor, batch_size: int = 4, seen: Any = None
) -> dict[str, float]:
    evaluator.prepare(clip, (), None)
    for index in torch.tensor(range(len(features)) if seen is None else seen).split(batch_size):
        evaluator.update(0, features[index], {"image": index, "label": index, "index": index})
    return {name.removeprefix("pairs/"): round(float(value), 6) for name, value in evaluator.compute().items()}


def test_a_count_by_hand() -> None:
    """Texts at 0, 90 and 40 degrees; images at 10, 80, 50 and 20; the first and the last image have one caption."""
    captions = ("east", "north", "northeast", "east")

    def at(*degrees: float) -> Tensor:
        angles = torch.tensor(degrees).deg2rad()
        return torch.stack([angles.cos(), angles.sin()], dim=1)

    words = Words(dict(zip(("east", "north", "northeast"), at(0, 90, 40), strict=True)))
    evaluator = Evaluator([EvalSet("pairs", (), (), captions=captions, pictures=("a", "b", "c", "d"))])
    images = at(10, 80, 50, 21)  # the last is an image of east that lies nearer to northeast
    assert scored(evaluator, words, images) == {"i2t_r1": 0.75, "i2t_r5": 1.0, "t2i_r1": 1.0, "t2i_r5": 1.0}
    assert evaluator.recalls() == {"pairs": {"i2t_r1": (3, 4), "i2t_r5": (4, 4), "t2i_r1": (3, 3), "t2i_r5": (3, 3)}}
    (group,) = evaluator.groups()["pairs"]
    assert (group.name, group.correct, group.total) == ("all", 3, 4)
    same = at(30, 30, 30, 30)
    alike = Words(dict.fromkeys(words.features, same[0]))
    assert scored(evaluator, alike, same) == {"i2t_r1": 0.0, "i2t_r5": 1.0, "t2i_r1": 0.0, "t2i_r5": 1.0}


def brute_force(images: Tensor, texts: dict[str, Tensor], captions: list[str], pictures: list[str]) -> dict[str, float]:
    """Sort whole lists: an image is right with each of its captions, a caption with each of its images."""
    of_picture = {picture: images[at] for at, picture in reversed([*enumerate(pictures)])}
    of_caption = {caption: texts[caption] for caption in captions}
    pairs = {*zip(pictures, captions, strict=True)}
    results = {}
    for way, (asking, asked) in {"i2t": (of_picture, of_caption), "t2i": (of_caption, of_picture)}.items():
        for best in (1, 5):
            hits = []
            for query, feature in asking.items():
                ranked = sorted(asked, key=lambda item: -float(feature @ asked[item]))[:best]
                hits.append(any((query, item) in pairs or (item, query) in pairs for item in ranked))
            results[f"{way}_r{best}"] = round(float(np.mean(hits)), 6)
    return results


def world_of(seed: int) -> tuple[Evaluator, Words, Tensor, list[str], list[str]]:
    """Of 60 rows some share a caption, some a picture."""
    stream = np.random.default_rng(seed)
    captions = [f"text {number}" for number in stream.integers(0, 40, 60)]
    pictures = [f"{number}.jpg" for number in stream.integers(0, 45, 60)]
    draws = torch.Generator().manual_seed(seed)
    texts = {caption: F.normalize(torch.randn(D, generator=draws), dim=0) for caption in sorted({*captions})}
    own = {picture: texts[caption] for picture, caption in zip(pictures, captions, strict=True)}
    noise = {picture: torch.randn(D, generator=draws) for picture in sorted({*pictures})}
    images = torch.stack([F.normalize(own[picture] + 0.4 * noise[picture], dim=0) for picture in pictures])
    paired = EvalSet("pairs", (), (), captions=tuple(captions), pictures=tuple(pictures))
    return Evaluator([paired]), Words(texts), images, captions, pictures


@pytest.mark.parametrize(("cells", "chunk"), [(2**24, 1024), (100, 7), (1, 1)])
def test_it_is_what_a_brute_force_finds_in_parts_of_any_size(
    cells: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "CELLS", cells)
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    evaluator, words, images, captions, pictures = world_of(1)
    expected = brute_force(images, words.features, captions, pictures)
    assert scored(evaluator, words, images) == expected
    assert 0.1 < expected["i2t_r1"] < expected["i2t_r5"] < 1
    assert max(words.calls) <= chunk
    assert sum(words.calls) == len({*captions}), "each distinct caption once"
    assert eval_metric_names(evaluator.eval_sets) == [f"pairs/{name}" for name in expected]


def test_images_that_are_not_seen_ask_nothing() -> None:
    evaluator, words, images, captions, pictures = world_of(2)
    seen = [*range(0, 60, 2)]
    expected = brute_force(images[seen], words.features, captions[::2], pictures[::2])
    assert scored(evaluator, words, images, seen=seen) == expected
    evaluator.prepare(words, (), None)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        nothing = evaluator.compute()
    assert all(np.isnan(float(value)) for value in nothing.values())


def share(draws: int) -> tuple[dict[str, float], tuple[list[str], list[str], list[int]]]:
    """What one of several processes finds, which has every second row, and the last again; and what it draws."""
    evaluator, words, images, _, _ = world_of(1)
    rows = [*range(rank(), 60, world_size()), *([1] if world_size() > 1 else [])]
    retrieval.CHUNK = 7
    own = [f"image {number}." for number in range(9)]
    sampler = CaptionSampler((), (), load_pools("backgrounds"), 0, own)
    mine = [4, 1, 8, 0, 3][rank() :: world_size()]
    return scored(evaluator, words, images, seen=rows), sampler.draw_share([0] * len(mine), draws, mine)


@pytest.mark.slow
def test_two_processes_find_and_draw_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK", 7)
    numbers, (clean, spurious, _) = share(3)
    for which, (found, drawn) in enumerate(together(2, share, tmp_path, 3)):
        assert found == numbers
        assert drawn == (clean[which::2], spurious[which::2], [3, 2])
