"""Phrases that mean the same, and pools that a model doesn't recognise: by hand."""

import numpy as np
import pytest

from starft.audit.clusters import find_clusters, label_directions, without
from starft.audit.phrases import image_bits, nonsense_phrases, recognised, same_meaning, shown


def test_phrases_that_add_the_same_to_a_caption_are_joined() -> None:
    plain = np.array([1.0, 0.0, 0.0, 0.0])
    added = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0.3, 0], [0, 0, 0, 1]])  # the third is 0.96 like the first
    text = np.concatenate([plain[None], plain + added]).astype(np.float32)
    assert same_meaning(text) == [[0, 2], [1], [3]]
    assert same_meaning(text[:2]) == [[0]]


def test_image_bits_by_hand() -> None:
    """Of three values two images are sure of one, two of another: 1 bit of the log2(3) there could be."""
    scores = np.array([[0.0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    assert image_bits(scores) == pytest.approx(1 / np.log2(3))
    assert image_bits(np.full((4, 3), 1 / 3)) == pytest.approx(0, abs=1e-12)
    assert image_bits(np.tile([0.1, 0.8, 0.1], (5, 1))) == pytest.approx(0, abs=1e-12), "the same for every image"


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("phrases", [4, *(pytest.param(many, marks=pytest.mark.slow) for many in (24, 60))])
def test_a_pool_is_held_against_as_many_phrases_of_random_letters(phrases: int) -> None:
    """Images of eight places; letters lie anywhere, and a known phrase names a place, one in three of a pool."""
    rng = np.random.default_rng(phrases)
    places = np.eye(8, 64)
    rows = unit(places[rng.integers(8, size=400)] + rng.normal(0, 0.1, (400, 64)))

    def text(count: int, known: int = 0) -> np.ndarray:
        added = rng.normal(0, 0.1, (count, 64))
        added[:known] += places[np.arange(known) % 8]
        plain = np.full(64, 0.125)
        return unit(np.concatenate([plain[None], plain + added]))

    nonsense = text(96)
    taken = [recognised(rows, text(phrases), nonsense, 20.0, seed) for seed in range(20)]
    assert sum(taken) <= 4, "5 % of twenty, and their spread"
    assert all(recognised(rows, text(phrases, max(phrases // 3, 2)), nonsense, 20.0, seed) for seed in range(20))


def test_nonsense_is_the_same_for_a_seed_and_phrases_lose_their_braces() -> None:
    assert nonsense_phrases(0) == nonsense_phrases(0) != nonsense_phrases(1)
    assert all(phrase.startswith("{} ") for phrase in nonsense_phrases(0))
    assert shown(["{} on a lake", "blurry {}"]) == ["on a lake", "blurry"]
    assert shown(["{} wet", "wet {}"]) == ["{} wet", "wet {}"], "they would be the same"


@pytest.mark.parametrize("fitted", [200, 100], ids=["all", "some"])
def test_clusters_are_those_that_the_label_does_not_explain(fitted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes along axis 0, two places along axis 1, which go with the classes in 9 of 10 images."""
    monkeypatch.setattr("starft.audit.clusters.FITTED", fitted)
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 200)
    place = np.where(rng.random(200) < 0.9, label, 1 - label)
    rows = rng.normal(0, 0.1, (200, 16))
    rows[:, 0] += 2 * label - 1
    rows[:, 1] += 2 * place - 1
    class_text = np.zeros((2, 16), dtype=np.float32)
    class_text[:, 0] = (1, -1)
    text = np.zeros((3, 16), dtype=np.float32)
    text[1, 1], text[2, 1] = 1, -1
    basis = label_directions(class_text)
    assert np.abs(without(rows.astype(np.float32), basis)[:, 0]).max() < 1e-6
    found = find_clusters(rows.astype(np.float32), class_text, text, ["near", "far"], 0)
    assert found is not None
    assert len(found.names) == 2
    assert np.allclose(found.mean, without(rows.astype(np.float32), basis).mean(axis=0)) == (fitted == 200)
    assert {name.partition("near ")[2] for name in found.names} == {"near and far)", "far and near)"}
    cluster = found.responsibilities(rows.astype(np.float32)).argmax(axis=1)
    agree = np.mean(cluster == place)
    assert max(agree, 1 - agree) > 0.98
    at = int(np.bincount(cluster[place == 1]).argmax())
    assert "near near and" in found.names[at], "what lies at 1 along axis 1"
    assert find_clusters(rows[:49].astype(np.float32), class_text, text, ["near", "far"], 0) is None
