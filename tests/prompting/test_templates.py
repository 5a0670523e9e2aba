"""One answer's text to one template: what is mended, what is refused, and how many of 200 answers come through."""

import doctest
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from starft.captions.pool_files import check_pool
from starft.captions.pools import inject
from starft.prompting import templates
from starft.prompting.query import load_query
from starft.prompting.templates import Unfit, fold, to_template

ANSWERS = json.loads(Path(__file__).with_name("answers_200.json").read_text(encoding="utf-8"))
"""What a language model would answer to the shipped queries, by hand: ``phrase`` as older versions asked for it, with
the template that their grammar made of it, and ``answer`` as it is asked for now; ``reads`` says whether the template
reads as English, judged by eye."""


def test_examples() -> None:
    result = doctest.testmod(templates)
    assert result.attempted >= 2
    assert result.failed == 0


def test_of_200_answers_as_many_read_as_english_as_a_grammar_of_our_own_made() -> None:
    made, dropped = [], Counter[str]()
    for row in ANSWERS:
        try:
            template = to_template(row["answer"], load_query(row["query"]).before)
        except Unfit as why:
            dropped[str(why)] += 1
            continue
        assert template == row["template"], "what was judged by eye"
        made.append(row["reads"])
    assert (len(ANSWERS), len(made), sum(made)) == (200, 198, 197)
    assert dropped == {
        "holds no {}, where the caption goes": 1,
        "has words before {}, where its query takes none": 1,
    }
    assert sum(row["old_reads"] for row in ANSWERS) == 189


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("{} in the forest", "a photo of a duck in the forest."),
        ("{} in the Forest.", "a photo of a duck in the Forest."),
        ("1. {} on a lake", "a photo of a duck on a lake."),
        ("- “{} at dawn”", "a photo of a duck at dawn."),
        ("**{} at dawn**", "a photo of a duck at dawn."),
        ("{} in a open field by an river", "a photo of a duck in an open field by a river."),
        ("A photo of a {} on a hill", "a photo of a duck on a hill."),
        ("a photo of {} on a hill", "a photo of a duck on a hill."),
        ("a {} at dawn", "a photo of a duck at dawn."),
        ("{class_name} under a cloudy sky", "a photo of a duck under a cloudy sky."),
        ("[object] near a fence", "a photo of a duck near a fence."),
        ("{0}, at night", "a photo of a duck, at night."),
        ("at night, {}", "at night, a photo of a duck."),
        ("{} ON A HILL", "a photo of a duck on a hill."),
        ("{} at 5:30", "a photo of a duck at 5:30."),
        ("{} in the thin air", "a photo of a duck in the thin air."),
        ("{} with a list of names", "a photo of a duck with a list of names."),
        ("{} underwater", "a photo of a duck underwater."),
        ("{} in your hand", "a photo of a duck in your hand."),
        ("{} looking at you", "a photo of a duck looking at you."),
        ("blurry {}", "a blurry photo of a duck."),
        ("a dimly lit {}", "a dimly lit photo of a duck."),
        ("an overexposed photo of a {}", "an overexposed photo of a duck."),
        ("HDR {}", "an HDR photo of a duck."),
        ("8-bit {}", "an 8-bit photo of a duck."),
        ("black and white {}", "a black and white photo of a duck."),
    ],
)
def test_what_stands_around_the_caption(text: str, caption: str) -> None:
    assert inject("a photo of a duck.", to_template(text)) == caption


def test_a_modifier_goes_behind_the_article_of_any_caption() -> None:
    assert inject("an oil painting of the owl", "dark {}") == "a dark oil painting of the owl"
    assert inject("the duck.", "old {} in a barn") == "the old duck in a barn."
    assert inject("duck", "blurry {}") == "blurry duck"
    assert inject("a duck.", "at night {}") == "at night a duck."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("...", "is empty"),
        ("in the forest", "holds no {}"),
        ("Let me know if you need more.", "holds no {}"),
        ("**Backgrounds:**", "holds no {}"),
        ("{}", "says nothing beside the caption"),
        ("a {}", "says nothing beside the caption"),
        ("a photo of a {}", "says nothing beside the caption"),
        ("{} and {}", "holds {} more than once"),
        ("{} in the {", "holds the character '{'"),
        ("{} | b", "holds the character '|'"),
        ("{} in the 🙂", "holds the character '🙂'"),
        ("{} in the\x00dark", "holds characters that can't be printed"),
        ("\ud800", "holds characters that can't be printed"),
        ("{} 在森林里", "isn't in Latin letters"),
        ("{} в лесу", "isn't in Latin letters"),
        ("in the forest with {}", "doesn't read as English around {}"),
        ("under a {} sky", "doesn't read as English around {}"),
        ("a picture with {}", "doesn't read as English around {}"),
        ("{} is in the forest", "is a sentence and no caption"),
        ("{}s in a row", "joins something to {}"),
        ("non-{} in a row", "joins something to {}"),
        ("I can't help with {}", "is a remark"),
        ("These templates hold {} once each", "is a remark"),
        ("{} fits your use case", "is a remark"),
        ("Note the {} in each", "is a remark"),
        ("{} in the snow (rejected)", "holds an explanation"),
        ("{} in the snow: cold and white", "holds an explanation"),
        ("{} in the snow – no, too common", "holds an explanation"),
        ("{} at dawn -- soft light", "holds an explanation"),
        ("{} in a very very very very very very very very very very old house", "has more than 12 words"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Unfit) as caught:
        to_template(text)
    assert str(caught.value).startswith(reason)


def test_words_before_the_caption_are_for_queries_that_take_them() -> None:
    assert to_template("a blurry photo of a {}", load_query("resolution").before) == "blurry {}"
    with pytest.raises(Unfit, match="takes none"):
        to_template("wooden {}", load_query("textures").before)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{} in the forest", "{} In The Forest", True),
        ("{} in the forest", "{} in a forest", True),
        ("{} with snow-capped peaks", "{} with snow capped peak", True),
        ("{} with red and blue lights", "{} with blue and red lights", True),
        ("{} in the leaves", "{} in the leaf", True),
        ("{} in the city", "{} in the cities", True),
        ("{} in the forest", "{} near the forest", False),
        ("{} on grass", "{} on gras", False),
    ],
)
def test_folding(one: str, other: str, same: bool) -> None:
    assert (fold(one) == fold(other)) is same


PIECES = (
    "a|an|the|{}|thing|photo|of|in|with|,|-|'|&|/|%|.|:|(|)|°|+|blurry|wooden|swimming|ing|ed|-ed|ed-|very|and|light|left|"
    "being|upside|down|hour|X-ray|4K|1920s|é|{class}|half|nearby|'s|---|Alone|night|is|ß|don't|Lego"
)


def test_any_words_make_a_good_template_or_are_refused() -> None:
    rng, made = random.Random(0), 0
    for _ in range(4000):
        pieces = ["{}", *rng.choices(PIECES.split("|"), k=rng.randint(1, 4))]
        text = " ".join(rng.sample(pieces, k=len(pieces)) if rng.random() < 0.5 else pieces)
        try:
            template = to_template(text, rng.random() < 0.5)
        except Unfit:
            continue
        made += 1
        data = {"schema_version": 1, "name": "n", "description": "d", "templates": [template]}
        assert check_pool(data | {"provenance": {"source": "llm"}}) == [], text
    assert made > 1000
