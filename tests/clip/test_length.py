"""How long captions are and what is left of them, for every kind of tokenizer that open_clip has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from architectures import WORDS
from open_clip import SimpleTokenizer
from open_clip.tokenizer import HFTokenizer

from starft.clip import CaptionRuler

CONTEXT = 8
Make = Callable[[Path], Any]


def words(folder: Path, **names: str) -> Path:
    """Write a word tokenizer of transformers with a start and an end, and the special tokens that it is told of."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    ids = {word: number for number, word in enumerate(["<pad>", "<end>", "<unk>", "<start>", "<cls>", *WORDS])}
    made = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", ids["<start>"]), ("<end>", ids["<end>"])]
    )
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **names).save_pretrained(folder)
    return folder


def hugging_face(folder: Path, **given: Any) -> HFTokenizer:
    names = {"pad_token": "<pad>", "eos_token": "<end>", "sep_token": "<end>", "cls_token": "<cls>"}
    names |= {"bos_token": "<start>"} | given.pop("names", {})
    return HFTokenizer(str(words(folder, **names)), context_length=CONTEXT, **given)


KINDS: dict[str, Make] = {
    "clip": lambda folder: SimpleTokenizer(context_length=CONTEXT),
    "masked": lambda folder: SimpleTokenizer(context_length=CONTEXT, reduction_mask="simple"),
    "plain": hugging_face,
    "padded with the end": lambda folder: hugging_face(folder, names={"pad_token": "<end>"}, clean="canonicalize"),
    "last id is 0": lambda folder: hugging_face(folder, strip_sep_token=True),
    "class token": lambda folder: hugging_face(folder, tokenizer_mode="clips"),
}


@pytest.fixture(params=KINDS, scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def ruler(kind: str, tmp_path_factory: pytest.TempPathFactory) -> CaptionRuler:
    return CaptionRuler("some model", KINDS[kind](tmp_path_factory.mktemp("tokens")))


def test_what_fits_and_what_is_cut(kind: str, ruler: CaptionRuler) -> None:
    special = 3 if kind == "class token" else 2
    captions = [" ".join(["duck"] * count) for count in (0, 1, CONTEXT - special, CONTEXT - special + 1, 40)]
    assert ruler.tokens(captions) == [special, special + 1, CONTEXT, CONTEXT + 1, special + 40]
    assert ruler.too_long(captions) == [False, False, False, True, True]


def test_what_remains_is_what_the_row_holds(kind: str, ruler: CaptionRuler) -> None:
    fits = CONTEXT - (3 if kind == "class token" else 2)
    text = "a photo of a duck on the lake in the forest at night"
    kept = " ".join(text.split()[:fits])
    assert ruler.remains(text) == kept
    if kind != "masked":  # which part that one takes is drawn
        assert ruler.rows([text])[0] == ruler.rows([kept + " gull"])[0] == ruler.rows([kept])[0]
    assert ruler.rows(["a duck"])[0] != ruler.rows(["a gull"])[0]


def test_a_tokenizer_that_cuts_at_the_beginning(tmp_path: Path) -> None:
    tokenize = hugging_face(tmp_path)
    tokenize.tokenizer.truncation_side = "left"
    ruler = CaptionRuler("some model", tokenize)
    assert ruler.remains("a photo of a duck on the lake") == "of a duck on the lake"
