"""One phrase to one template: English before and behind the caption, and what is refused."""

import random

import pytest

from starft.captions.pool_files import check_pool
from starft.captions.pools import inject
from starft.prompting.phrases import Unfit, fold, to_template
from starft.prompting.query import list_queries, load_query

QUERIES = [path.stem for path in list_queries()]
NOUN, ADJECTIVE = "{} with {phrase} in the background", "{phrase} {}"


@pytest.mark.parametrize(
    ("phrase", "caption"),
    [
        ("in the forest", "a photo of a duck in the forest."),
        ("In the Forest.", "a photo of a duck in the Forest."),
        ("1. on a lake", "a photo of a duck on a lake."),
        ("- “at dawn”", "a photo of a duck at dawn."),
        (", at dawn,", "a photo of a duck at dawn."),
        ("forest", "a photo of a duck with a forest in the background."),
        ("old barn", "a photo of a duck with an old barn in the background."),
        ("wooden fences", "a photo of a duck with wooden fences in the background."),
        ("dense fog", "a photo of a duck with dense fog in the background."),
        ("the sea", "a photo of a duck with the sea in the background."),
        ("mountains in the distance", "a photo of a duck with mountains in the distance."),
        ("in a open field by an river", "a photo of a duck in an open field by a river."),
        ("a photo of a thing in the rain", "a photo of a duck in the rain."),
        ("A photo of a {} on a hill", "a photo of a duck on a hill."),
        ("{class_name} under a cloudy sky", "a photo of a duck under a cloudy sky."),
        ("[object] near a fence", "a photo of a duck near a fence."),
        ("{0}, at night", "a photo of a duck, at night."),
        ("at night, {}", "at night, a photo of a duck."),
        ("covered in frost", "a photo of a duck covered in frost."),
        ("partially hidden by leaves", "a photo of a duck partially hidden by leaves."),
        ("wearing a hat", "a photo of a duck wearing a hat."),
        ("made of clay", "a photo of a duck made of clay."),
        ("underwater", "a photo of a duck underwater."),
        ("photo taken at night", "a photo of a duck taken at night."),
        ("black and white", "a photo of a duck that is black and white."),
        ("wooden", "a photo of a duck that is wooden."),
        ("Moss-covered", "a photo of a duck that is moss-covered."),
        ("a striped object", "a photo of a duck that is striped."),
        ("painted red", "a photo of a duck that is painted red."),
        ("swimming", "a photo of a duck swimming."),
        ("standing alone", "a photo of a duck standing alone."),
        ("being held by a child", "a photo of a duck being held by a child."),
        ("eating fish", "a photo of a duck eating fish."),
        ("found in kitchens", "a photo of a duck found in kitchens."),
        ("backlit by the sun", "a photo of a duck backlit by the sun."),
        ("lit by candlelight", "a photo of a duck lit by candlelight."),
        ("often near water", "a photo of a duck often near water."),
        ("early in the morning", "a photo of a duck early in the morning."),
        ("full of holes", "a photo of a duck full of holes."),
        ("winter", "a photo of a duck in winter."),
        ("night", "a photo of a duck at night."),
        ("foggy morning", "a photo of a duck on a foggy morning."),
        ("a rainy day", "a photo of a duck on a rainy day."),
        ("golden hour", "a photo of a duck at golden hour."),
        ("nearby trees", "a photo of a duck with nearby trees in the background."),
        ("nearby", "a photo of a duck nearby."),
        ("underground parking garage", "a photo of a duck with an underground parking garage in the background."),
        ("a glass of wine", "a photo of a duck with a glass of wine."),
        ("plate of food", "a photo of a duck with a plate of food."),
        ("person wearing glasses", "a photo of a duck with a person wearing glasses."),
        ("children playing", "a photo of a duck with children playing."),
        ("car parked nearby", "a photo of a duck with a car parked nearby."),
        ("bread", "a photo of a duck with bread in the background."),
        ("lens", "a photo of a duck with a lens in the background."),
        ("somebody", "a photo of a duck with somebody in the background."),
        ("European village", "a photo of a duck with a European village in the background."),
        ("Santa Claus", "a photo of a duck with Santa Claus in the background."),
        ("Wooden Fence", "a photo of a duck with a wooden fence in the background."),
        ("MRI scanner", "a photo of a duck with an MRI scanner in the background."),
        ("a thing in a cave", "a photo of a duck in a cave."),
        ("a photo of a crowded beach", "a photo of a duck with a crowded beach in the background."),
    ],
)
def test_behind_the_caption(phrase: str, caption: str) -> None:
    template = to_template(phrase, NOUN)
    assert template.count("{}") == 1
    assert inject("a photo of a duck.", template) == caption


@pytest.mark.parametrize(
    ("phrase", "caption"),
    [
        ("blurry", "a blurry photo of a duck."),
        ("Overexposed", "an overexposed photo of a duck."),
        ("blurry {}", "a blurry photo of a duck."),
        ("a blurry photo of a {}", "a blurry photo of a duck."),
        ("pixelated image", "a pixelated photo of a duck."),
        ("low resolution", "a photo of a duck with low resolution."),
        ("low-resolution", "a low-resolution photo of a duck."),
        ("harsh shadows", "a photo of a duck with harsh shadows."),
        ("low light", "a photo of a duck with low light."),
        ("dimly lit", "a dimly lit photo of a duck."),
        ("black and white", "a black and white photo of a duck."),
        ("badly underexposed", "a badly underexposed photo of a duck."),
        ("dark, blurry", "a dark blurry photo of a duck."),
        ("cropped too tightly", "a photo of a duck, cropped too tightly."),
        ("HDR", "an HDR photo of a duck."),
        ("8-bit", "an 8-bit photo of a duck."),
        ("an overexposed", "an overexposed photo of a duck."),
        ("JPEG-compressed", "a JPEG-compressed photo of a duck."),
        ("heavy motion blur", "a photo of a duck with heavy motion blur."),
        ("lens flares", "a photo of a duck with lens flares."),
        ("a dirty lens", "a photo of a duck with a dirty lens."),
        ("in low light", "a photo of a duck in low light."),
        ("{} blurry", "a blurry photo of a duck."),
    ],
)
def test_before_the_caption(phrase: str, caption: str) -> None:
    assert inject("a photo of a duck.", to_template(phrase, adjective=ADJECTIVE)) == caption


@pytest.mark.parametrize(
    ("query", "phrase", "caption"),
    [
        ("backgrounds", "overcast", "a photo of a duck in overcast surroundings."),
        ("backgrounds", "rainy weather", "a photo of a duck in rainy weather."),
        ("backgrounds", "dense fog", "a photo of a duck in dense fog."),
        ("backgrounds", "morning mist", "a photo of a duck in morning mist."),
        ("backgrounds", "neon lights", "a photo of a duck with neon lights in the background."),
        ("backgrounds", "cloudy sky", "a photo of a duck with a cloudy sky in the background."),
        ("textures", "leather", "a photo of a duck made of leather."),
        ("textures", "marble", "a photo of a duck made of marble."),
        ("textures", "weathered stone", "a photo of a duck made of weathered stone."),
        ("textures", "rusty metal", "a photo of a duck made of rusty metal."),
        ("textures", "fine stippling", "a photo of a duck with fine stippling."),
        ("textures", "deep scratches", "a photo of a duck with deep scratches."),
        ("resolution", "low resolution", "a photo of a duck, an image with low resolution."),
        ("resolution", "low contrast", "a photo of a duck, an image with low contrast."),
        ("resolution", "JPEG artifacts", "a photo of a duck, an image with JPEG artifacts."),
        ("resolution", "shallow depth of field", "a photo of a duck, an image with a shallow depth of field."),
        ("cooccurring", "tourists with cameras", "a photo of a duck next to tourists with cameras."),
        ("cooccurring", "cup of coffee", "a photo of a duck next to a cup of coffee."),
        ("backgrounds", "misty", "a photo of a duck in misty surroundings."),
        ("textures", "metallic", "a photo of a duck that is metallic."),
        ("textures", "rough texture", "a photo of a duck with a rough texture."),
        ("style", "surreal", "a photo of a duck in a surreal style."),
        ("style", "Abstract", "a photo of a duck in an abstract style."),
        ("style", "comic book style", "a photo of a duck in a comic book style."),
        ("style", "oil painting", "a photo of a duck in the style of an oil painting."),
        ("style", "Art Deco", "a photo of a duck in the style of Art Deco."),
        ("style", "Pop Art", "a photo of a duck in the style of pop art."),
        ("style", "cubism", "a photo of a duck in the style of cubism."),
        ("resolution", "motion blur", "a photo of a duck, an image with motion blur."),
        ("resolution", "grainy", "a grainy photo of a duck."),
        ("cooccurring", "an old umbrella", "a photo of a duck next to an old umbrella."),
        ("per_class", "nesting", "a photo of a duck nesting."),
    ],
)
def test_the_shipped_queries_frames(query: str, phrase: str, caption: str) -> None:
    asked = load_query(query)
    assert inject("a photo of a duck.", to_template(phrase, asked.bare, asked.adjective, asked.uncounted)) == caption


def test_a_modifier_goes_behind_the_article_of_any_caption() -> None:
    assert inject("an oil painting of the owl", "dark {}") == "a dark oil painting of the owl"
    assert inject("the duck.", "old {} in a barn") == "the old duck in a barn."
    assert inject("duck", "blurry {}") == "blurry duck"
    assert inject("a duck.", "at night {}") == "at night a duck."


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("...", "is empty"),
        ("{}", "has no words"),
        ("a {}", "says nothing beside the object"),
        ("{} and {}", "holds more than one placeholder"),
        ("in the {", "holds the character '{'"),
        ("a | b", "holds the character '|'"),
        ("in the 🙂", "holds the character '🙂'"),
        ("in the\x00dark", "holds characters that can't be printed"),
        ("\ud800", "holds characters that can't be printed"),
        ("在森林里", "isn't in Latin letters"),
        ("в лесу", "isn't in Latin letters"),
        ("in the forest with {}", "doesn't read as English around the object"),
        ("in a very very very very very very very very very very old house", "has more than 12 words"),
    ],
)
def test_what_is_refused(phrase: str, reason: str) -> None:
    with pytest.raises(Unfit, match="^" + reason.replace("{", r"\{").replace("|", r"\|")):
        to_template(phrase, NOUN)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{} in the forest", "{} In The Forest", True),
        ("{} in the forest", "{} in the forests", True),
        ("{} in the forest", "{} in a forest", True),
        ("{} with snow-capped peaks", "{} with snow capped peak", True),
        ("{} with red and blue lights", "{} with blue and red lights", True),
        ("{} in the leaves", "{} in the leaf", True),
        ("{} in the forest", "{} near the forest", False),
        ("{} on grass", "{} on gras", False),
        ("{} in the city", "{} in the cities", True),
    ],
)
def test_folding(one: str, other: str, same: bool) -> None:
    assert (fold(one) == fold(other)) is same


PIECES = (
    "a|an|the|{}|thing|photo|of|in|with|,|-|'|&|/|%|.|:|(|)|°|+|blurry|wooden|swimming|ing|ed|-ed|ed-|very|and|light|left|"
    "being|upside|down|hour|X-ray|4K|1920s|é|{class}|half|nearby|'s|---|Alone|night|is|ß|don't|Lego"
)


def test_any_words_make_a_good_template_or_are_refused() -> None:
    rng, frames = (
        random.Random(0),
        [(query.bare, query.adjective, query.uncounted) for query in map(load_query, QUERIES)],
    )
    made = 0
    for _ in range(4000):
        phrase = " ".join(rng.choices(PIECES.split("|"), k=rng.randint(1, 6)))
        try:
            template = to_template(phrase, *rng.choice(frames))
        except Unfit:
            continue
        made += 1
        data = {"schema_version": 1, "name": "n", "description": "d", "templates": [template]}
        assert check_pool(data | {"provenance": {"source": "llm"}}) == [], phrase
    assert made > 1000
