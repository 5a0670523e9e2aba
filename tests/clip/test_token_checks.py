"""Captions that differ as text and are the same to the model are refused by name; what is cut is told."""

import csv
import unicodedata
from pathlib import Path

import pytest

from fakes.own_images import write_captions, write_jpeg
from starft import load
from starft.__main__ import main
from starft.captions.pools import Pool
from starft.clip import CaptionRuler
from starft.clip.token_checks import alike_captions, class_problems, own_caption_problems, pool_problems
from starft.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "lightning_configs"
LONG = "a bird with a long tail and " * 12
PAIRS = {
    "apostrophe": ("Grévy's zebra", "Grévy’s zebra"),
    "normal form": (unicodedata.normalize("NFC", "Grévy"), unicodedata.normalize("NFD", "Grévy")),
    "entity": ("salt &amp; pepper", "salt & pepper"),
    "quotes": ('a "duck"', "a “duck”"),
    "ligature": ("ﬁnch", "finch"),
    "width": ("ＤＵＣＫ", "duck"),
    "case": ("Duck", "duck"),
    "spaces": ("sea  gull", "sea gull"),
    "behind the context": (f"{LONG} red", f"{LONG} blue"),
}
"""Names that differ, and whose captions are the same tokens to CLIP's own tokenizer."""
TEMPLATES = ("a photo of a {}.", "art of the {}.")


@pytest.fixture(scope="module")
def ruler() -> CaptionRuler:
    return CaptionRuler("starft-mini")


@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS)
def test_names_that_no_token_tells_apart(ruler: CaptionRuler, names: tuple[str, str]) -> None:
    problems = [problem for problem in class_problems(ruler, [*names, "horse"], TEMPLATES) if problem.stops]
    assert [problem.names for problem in problems] == [names]
    assert f"are the same tokens to {ruler.model_name} in every caption" in problems[0].text
    if len(names[0]) < 99:  # the eye must be able to tell them apart in the sentence
        quoted = ascii if len({unicodedata.normalize("NFKC", name) for name in names}) == 1 else repr
        assert " and ".join(map(quoted, names)) in problems[0].text
    else:
        assert " red'" in problems[0].text
        assert " blue'" in problems[0].text
        assert f"cut at {ruler.context} tokens" in problems[0].text


def test_names_that_differ_in_one_template_pass(ruler: CaptionRuler) -> None:
    far = "a photo that was taken a long time ago by a friend of mine in a park of some city, it shows a {}."
    problems = class_problems(ruler, ["duck", "gull"], [far, "a {}."])
    assert [problem.stops for problem in problems] == [False]
    assert f"with the template {far!r}, 'duck' and 'gull' are the same to it" in problems[0].text


def test_equal_texts_are_left_to_the_check_of_the_data(ruler: CaptionRuler) -> None:
    """ImageNet has two classes "missile" and two "sunglasses"."""
    assert class_problems(ruler, ["missile", "gull", "missile"], TEMPLATES) == []
    (problem,) = class_problems(ruler, ["missile", "gull", "missile", "Missile"], TEMPLATES)
    assert problem.stops
    assert "'missile' and 'Missile' are" in problem.text


def test_what_is_cut_is_told_with_what_remains(ruler: CaptionRuler) -> None:
    (problem,) = class_problems(ruler, [LONG, "gull"], TEMPLATES)
    assert not problem.stops
    assert "captions of 1 of 2 classes are longer than the 24 tokens of starft-mini and are cut" in problem.text
    kept = ruler.remains(f"a photo of a {LONG}.")
    assert kept.startswith("a photo of a a bird")
    assert f"is read as {kept!r}" in problem.text


def test_templates_that_say_the_same(ruler: CaptionRuler) -> None:
    (problem,) = class_problems(ruler, ["duck", "gull"], ["a {}.", "the {}.", "A  {}.", "the {}"])
    assert problem.text == "templates are the same tokens to starft-mini and count twice: 'a {}.' and 'A  {}.'"
    assert class_problems(ruler, ["duck"], []) == [], "told by the check of the data"


def pool(*templates: str, **per_class: tuple[str, ...]) -> Pool:
    return Pool("mine", "", templates, per_class, {"source": "curated"})


def test_phrases_that_say_the_same_or_nothing(ruler: CaptionRuler) -> None:
    names, far = (
        ["duck", "gull"],
        "a photo of a {} that somebody took in a park of some old city in the north, a lake there",
    )
    assert pool_problems(ruler, pool("{} on a lake", "{} in a city", gull=("{} at night",)), names, TEMPLATES) == []
    (same,) = pool_problems(ruler, pool("{} on a lake", "{} On a  Lake"), names, TEMPLATES)
    assert "are the same tokens to starft-mini: '{} on a lake' and '{} On a  Lake'" in same.text
    assert not same.stops
    (some,) = pool_problems(ruler, pool("{} on a lake", "{}, blue"), names, [far, "a {}."])
    assert "of 2 phrases of the pool mine, 2 don't fit whole into the 24 tokens" in some.text
    assert "and 2 leave nothing there" in some.text
    assert not some.stops, "with the other template they are read"
    (all_of_them,) = pool_problems(ruler, pool("{} on a lake", "{}, blue"), names, [far])
    assert all_of_them.stops


# Where it is told: in every verb, before long work


def table(folder: Path, names: tuple[str, str]) -> Path:
    rows = [("path", "label", "split")]
    for number in range(12):
        write_jpeg(folder / f"{number}.jpg", number)
        rows.append((f"{number}.jpg", names[number % 2], ("train", "val", "test")[number // 4]))
    with (folder / "birds.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder / "birds.csv"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["data check", "fit", "validate", "test", "predict"])
def test_every_verb_refuses_them(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path, PAIRS["apostrophe"])
    words = [*verb.split(), "--config", str(CONFIGS / "csv" / "flyp.yaml"), "--data.init_args.file", str(file)]
    words += ["--model.model_name", "starft-mini", "--model.pretrained", "mini"]
    words += ["--trainer.default_root_dir", str(tmp_path / "run"), "--trainer.precision=32-true"]
    assert main(words) == 2
    out, err = capsys.readouterr()
    told = " ".join((out if verb == "data check" else err).split())
    assert "\"Grévy's zebra\" and 'Grévy’s zebra' are the same tokens to starft-mini" in told
    assert not (tmp_path / "run").exists()


def test_descriptions_that_are_cut_are_told_by_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = table(tmp_path, ("duck", LONG))
    words = ["data", "check", "--config", str(CONFIGS / "csv" / "flyp.yaml"), f"--data.init_args.file={file}"]
    assert main([*words, "--model.model_name", "starft-mini"]) == 0
    assert "longer than the 24 tokens of starft-mini and are cut" in capsys.readouterr().out
    assert main(words) == 0
    assert "longer than the 77 tokens of ViT-B-16" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("names", [PAIRS["apostrophe"], PAIRS["case"]], ids=["apostrophe", "case"])
def test_other_classes_of_a_loaded_model(checkpoint: Path, tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="are the same tokens to the model"):
        load(checkpoint).with_classes(names)


def test_a_pool_is_checked_with_the_models_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(
        '{"schema_version": 1, "name": "mine", "description": "d", "templates": '
        '["{} by Monet\'s pond", "{} by Monet’s pond", "{} with a ﬁr"],'
        '"per_class": {}, "provenance": {"source": "curated"}}',
        encoding="utf-8",
    )
    assert main(["prompts", "check", str(path), "--model", "starft-mini"]) == 2
    assert "is the same tokens to starft-mini as templates[0]" in capsys.readouterr().out


@pytest.mark.parametrize("names", PAIRS.values(), ids=PAIRS)
def test_captions_of_images_that_no_token_tells_apart(ruler: CaptionRuler, names: tuple[str, str]) -> None:
    captions = [*(f"a photo of {name}" for name in names), "a photo of a horse", "a photo of a horse"]
    (problem,) = alike_captions(ruler, captions)
    assert not problem.stops
    assert problem.text.startswith("2 captions of images that differ as text are 1 to starft-mini: ")
    assert alike_captions(ruler, captions[1:]) == []


def test_pairs_whose_captions_are_one_to_the_model_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_captions(tmp_path, 24, labels=False)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:-1], lines[-1].replace("a boot", "A  Boot").replace("a sandal", "A  Sandal")]))
    config = f"--config={CONFIGS / 'csv' / 'pairs.yaml'}"
    tiny = ["--model.model_name=starft-mini", "--model.pretrained=mini"]
    assert main(["data", "check", config, f"--data.init_args.file={file}", *tiny]) == 0
    assert "note: CSV, " in (said := capsys.readouterr().out)
    assert "2 captions of images that differ as text are 1 to starft-mini" in said


def test_captions_of_images_that_are_cut_are_counted(ruler: CaptionRuler) -> None:
    """Equal ones count once; a phrase of the pool may be what is too much."""
    fits = "a duck " * 10
    pool = Pool("one", "One.", ("{} at sea", "{} behind a long fence of dry wood and wire"), {}, {"source": "curated"})
    captions = [f"{LONG}red.", f"{LONG}red.", f"{LONG}a rose.", f"{fits}.", "an owl."]
    (cut,) = own_caption_problems(ruler, captions)
    assert not cut.stops
    assert cut.text.startswith("2 of 4 captions of images are longer than the 24 tokens of starft-mini and are cut: ")
    assert cut.text.endswith("; shorten captions")
    _, with_phrase = own_caption_problems(ruler, captions, pool)
    assert with_phrase.text.startswith("3 of 4 captions of images with the phrase '{} behind a long fence of dry wood ")
    assert own_caption_problems(ruler, ["an owl."], pool) == []
