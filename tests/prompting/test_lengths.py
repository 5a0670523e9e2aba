"""Tokens are counted as the model's tokenizer counts them, against its context."""

from pathlib import Path
from types import SimpleNamespace

from starft.clip import CaptionRuler
from starft.config.prompts import RunConfig
from starft.prompting.lengths import LengthLimit


def test_counts_are_those_of_the_tokenizer() -> None:
    ruler = CaptionRuler("starft-mini")
    assert ruler.context == 24
    # start + one token a word + end
    assert ruler.tokens(["", "duck", "a photo of a duck"]) == [2, 3, 7]
    assert ruler.tokens(["duck " * 22, "duck " * 23, "duck " * 500]) == [24, 25, 502]


def test_many_captions_keep_their_order() -> None:
    texts = ["duck " * (index % 5) for index in range(5000)]
    assert CaptionRuler("ViT-B-16").tokens(texts) == [2 + index % 5 for index in range(5000)]


def test_the_longest_class_in_the_longest_caption_decides() -> None:
    data = SimpleNamespace(class_names=["duck", "very old bald eagle"], templates=["a {}.", "a photo of a {}."])
    config = RunConfig(Path("some.yaml"), "starft-mini", None, 0, section={})
    vars(config)["data"] = data  # as if it had been built
    limit = LengthLimit(None, config)
    assert limit.class_name == "very old bald eagle"
    # start, a photo of a + 4 words, end, period: 11 tokens; 13 are left
    assert limit.too_long(["{}" + " duck" * 13, "{}" + " duck" * 14]) == [False, True]
