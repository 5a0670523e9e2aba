"""Caption draws: what they depend on, what they can reach, and how the spurious phrase goes in."""

from collections import Counter

import pytest

from starft.captions.pools import Pool
from starft.captions.sampler import CaptionSampler

NAMES = ("duck", "owl", "crow")
TEMPLATES = ("a photo of a {}.", "a blurry photo of a {}.", "{}")
PHRASES = ("{} on a lake", "{} in the forest", "at night, {}")
LABELS = [0, 1, 2, 0, 1, 2, 0, 0] * 4


def pool(per_class: dict[str, tuple[str, ...]] | None = None) -> Pool:
    return Pool("scenes", "Where it may be.", PHRASES, per_class or {}, {"source": "curated"})


def sampler(seed: int = 0, held: Pool | None = None, templates: tuple[str, ...] = TEMPLATES) -> CaptionSampler:
    return CaptionSampler(NAMES, templates, held, seed)


def spurious_of(clean: str, phrase: str) -> str:
    """Put a phrase in by hand."""
    return phrase.replace("{}", clean[:-1]) + "." if clean.endswith(".") else phrase.replace("{}", clean)


def test_the_same_seed_and_step_draw_the_same() -> None:
    first = sampler(3, pool())
    drawn = first.draw(LABELS, step=5)
    for step in (0, 6, 5):
        first.draw(LABELS, step)  # what was drawn before doesn't matter
    assert first.draw(LABELS, step=5) == drawn
    assert sampler(3, pool()).draw(LABELS, step=5) == drawn


def test_another_seed_or_step_draws_something_else() -> None:
    draws = [
        sampler(seed, pool()).draw(LABELS, step) for seed, step in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (0, 2)]
    ]
    for which in (0, 1):
        assert len({tuple(draw[which]) for draw in draws}) == len(draws)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_together_draw_what_one_draws(processes: int) -> None:
    """Each takes the rows it was dealt; phrases of a class alone don't shift the others' draws."""
    held = pool({"duck": ("{} on a pond", "{} in the reeds")})
    clean, spurious = sampler(0, held).draw(LABELS, 7)
    for which in range(processes):
        rows = range(which, len(LABELS), processes)
        drawn = sampler(0, held).draw(LABELS, 7, rows)
        assert drawn == ([clean[row] for row in rows], [spurious[row] for row in rows])


def test_captions_name_their_class_and_spurious_ones_hold_them() -> None:
    for step in range(20):
        clean, spurious = sampler(0, pool()).draw(LABELS, step)
        assert len(clean) == len(spurious) == len(LABELS)
        for label, caption, other in zip(LABELS, clean, spurious, strict=True):
            assert caption in {template.replace("{}", NAMES[label]) for template in TEMPLATES}
            assert other in {spurious_of(caption, phrase) for phrase in PHRASES}
            assert other.endswith(".") == caption.endswith(".")


def test_a_period_goes_back_to_the_end() -> None:
    held = Pool("one", "One.", ("{} on a lake",), {}, {"source": "curated"})
    assert sampler(0, held, ("a photo of a {}.",)).draw([0], 0) == (
        ["a photo of a duck."],
        ["a photo of a duck on a lake."],
    )
    assert sampler(0, held, ("a {}",)).draw([1], 0) == (["a owl"], ["a owl on a lake"])


def test_every_template_and_phrase_is_drawn_about_equally_often() -> None:
    """3200 draws from three: 1067 expected, sqrt(3200 * 2 / 9) = 26.7 the deviation; 107 is four of them."""
    clean, spurious = [], []
    for step in range(100):
        one, other = sampler(0, pool(), TEMPLATES).draw([0] * 32, step)
        clean += one
        spurious += other
    templates = Counter(clean)
    phrases = Counter(next(p for p in PHRASES if spurious_of(c, p) == s) for c, s in zip(clean, spurious, strict=True))
    assert templates.keys() == {template.replace("{}", "duck") for template in TEMPLATES}
    assert phrases.keys() == set(PHRASES)
    assert all(abs(count - 1067) <= 107 for count in (*templates.values(), *phrases.values()))
    pairs = Counter(zip(clean, spurious, strict=True))
    assert len(pairs) == 9, "the phrase must not follow from the template"
    assert all(abs(count - 356) <= 72 for count in pairs.values())  # sqrt(3200 * 8 / 81) = 17.8


def test_without_a_pool_there_are_no_spurious_captions_and_the_same_clean_ones() -> None:
    """So that two methods which differ in the regularizer alone see the same captions."""
    clean, spurious = sampler(4).draw(LABELS, 9)
    assert spurious == []
    assert clean == sampler(4, pool()).draw(LABELS, 9)[0]


def test_templates_of_a_class_serve_that_class_alone() -> None:
    held = pool({"duck": ("{} on a pond", "{} in the reeds")})
    seen: dict[int, set[str]] = {0: set(), 1: set(), 2: set()}
    for step in range(40):
        _, spurious = sampler(0, held, ("a {}.",)).draw(LABELS, step)
        for label, caption in zip(LABELS, spurious, strict=True):
            seen[label].add(caption)
    general = {label: {spurious_of(f"a {NAMES[label]}.", phrase) for phrase in PHRASES} for label in seen}
    assert seen[1] == general[1]
    assert seen[2] == general[2]
    assert seen[0] == general[0] | {"a duck on a pond.", "a duck in the reeds."}


def test_an_empty_batch() -> None:
    assert sampler(0, pool()).draw([], 0) == ([], [])


def test_the_first_draws_are_pinned() -> None:
    """A change of the stream would change every run: it must not come unseen."""
    assert sampler(0, pool()).draw([0, 1, 2], 0) == (
        ["duck", "a blurry photo of a owl.", "a blurry photo of a crow."],
        ["duck on a lake", "a blurry photo of a owl on a lake.", "a blurry photo of a crow on a lake."],
    )


@pytest.mark.parametrize("label", [-4, 3])
def test_a_label_without_a_class_is_not_passed_over(label: int) -> None:
    with pytest.raises(IndexError):
        sampler(0, pool()).draw([label], 0)


OWN = ("Two ducks.", "an owl", "A {} {} duck.", "Two ducks.")


def test_captions_of_their_own_go_by_place_and_take_phrases_in() -> None:
    """Templates are left alone; a phrase goes before the final period, where there is one; braces stay."""
    held = Pool("one", "One.", ("{} on a lake",), {}, {"source": "curated"})
    drawn = CaptionSampler(NAMES, TEMPLATES, held, 0, OWN).draw([0, 1, 0], 4, index=[3, 2, 1])
    assert drawn == (
        ["Two ducks.", "A {} {} duck.", "an owl"],
        ["Two ducks on a lake.", "A {} {} duck on a lake.", "an owl on a lake"],
    )
    without_classes = CaptionSampler((), TEMPLATES, held, 0, OWN)
    assert without_classes.draw([7, 1, 2], 4, index=[3, 2, 1]) == drawn, "labels stand for equal captions there"
    assert without_classes.draw([7, 1, 2], 4, [2], [3, 2, 1]) == (["an owl"], ["an owl on a lake"])


def test_a_class_has_its_own_phrases_with_captions_too() -> None:
    held = Pool("one", "One.", ("{} on a lake",), {"owl": ("{} in a tree",)}, {"source": "curated"})
    sampler = CaptionSampler(NAMES, TEMPLATES, held, 0, OWN)
    seen = {tuple(sampler.draw([0, 1], step, index=[0, 1])[1]) for step in range(20)}
    assert seen == {("Two ducks on a lake.", f"an owl {place}") for place in ("on a lake", "in a tree")}


def test_what_may_be_remembered_of_captions_of_their_own() -> None:
    """Each distinct one with each phrase, while they are few; of phrases of one class nobody knows whose they are."""
    some = CaptionSampler(NAMES, TEMPLATES, pool(), 0, OWN).all_spurious(9)
    assert some == [spurious_of(clean, phrase) for clean in dict.fromkeys(OWN) for phrase in PHRASES]
    assert CaptionSampler(NAMES, TEMPLATES, pool(), 0, OWN).all_spurious(8) == []
    assert CaptionSampler(NAMES, TEMPLATES, pool({"owl": ("{} up",)}), 0, OWN).all_spurious(99) == []
