"""What is told of captions without a tokenizer is what the tokenizer tells."""

import pytest

from starft.captions.plain import are_plain
from starft.clip import CaptionRuler
from starft.clip.token_checks import class_problems

PHOTO = ("a photo of a {}.",)


@pytest.mark.parametrize("model_name", ["ViT-B-32", "RN50"])
@pytest.mark.parametrize(
    ("class_names", "templates"),
    [
        (["duck", "gull", "tree frog (green)"], PHOTO),
        (["1a", "a1", "St. John's wort"], ("{}", "a photo of the {}, a kind of bird.")),
    ],
)
def test_plain_captions_have_no_problem(model_name: str, class_names: list[str], templates: tuple[str, ...]) -> None:
    assert are_plain(model_name, class_names, templates)
    assert class_problems(CaptionRuler(model_name), class_names, templates) == []


@pytest.mark.parametrize(
    ("class_names", "templates"),
    [
        (["duck"], PHOTO),
        (["tree frog", "Tree  frog"], PHOTO),
        (["1 2", "12"], PHOTO),
        (["caf\u00e9", "duck"], PHOTO),
        (["salt &amp; pepper", "duck"], PHOTO),
        (["<end_of_text>", "duck"], PHOTO),
        (["duck", "gull " * 20], PHOTO),
        (["duck", "gull"], ("a {}.", "A {}.")),
    ],
)
def test_what_may_be_mixed_up_or_cut_is_left_to_the_tokenizer(
    class_names: list[str], templates: tuple[str, ...]
) -> None:
    assert not are_plain("ViT-B-32", class_names, templates)


def test_the_embedded_worlds_model_takes_fewer_tokens() -> None:
    assert are_plain("starft-mini", ["duck", "gull"], PHOTO)
    assert not are_plain("starft-mini", ["duck", "tree frog"], PHOTO), "25 bytes, and it takes 24 tokens"


@pytest.mark.parametrize("model_name", ["ViT-B-16-SigLIP", "roberta-ViT-B-32", "hf-hub:a/b", "no-such", "a/RN50"])
def test_other_tokenizers_are_asked(model_name: str) -> None:
    assert not are_plain(model_name, ["duck", "gull"], PHOTO)
