"""A pool may be a text file with a phrase a line, and holds nothing that steers a terminal in any form."""

import json
from pathlib import Path

import pytest

from starft.__main__ import main
from starft.captions.pool_files import check_pool, load_pool, load_pools, save_pool
from starft.errors import PoolError

PHRASES = "\ufeff# where it may be\n\non a lake.\n{} in fog\r\nblurry {}\n  drawn in ink  \n"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts/pools").mkdir(parents=True)


def test_a_phrase_a_line_is_a_pool(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text(PHRASES, encoding="utf-8")
    pool = load_pool("mine.txt")
    assert pool.name == "mine"
    assert pool.templates == ("{} on a lake", "{} in fog", "blurry {}", "{} drawn in ink")
    assert pool.provenance == {"source": "curated", "file": "mine.txt"}
    assert len(load_pools(["mine.txt", "style"]).templates) == len(load_pool("style").templates) + 4
    save_pool(pool, "mine.json")
    assert load_pool("mine.json") == pool
    assert main(["prompts", "check", "mine.txt"]) == 0
    assert "mine.txt is in order: 4 templates." in capsys.readouterr().out


def test_a_text_pool_has_a_name_as_others_have(capsys: pytest.CaptureFixture[str]) -> None:
    Path("prompts/pools/places.txt").write_text("on a lake\n")
    assert load_pool("places").templates == ("{} on a lake",)
    assert main(["prompts", "list"]) == 0
    assert "prompts/pools/places.txt" in capsys.readouterr().out
    save_pool(load_pool("style"), "prompts/pools/places.json")
    assert load_pool("places").name == "style", "a pool file goes before a text of its name"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is an empty list"),
        ("# nothing\n\n", "is an empty list"),
        ("on a lake\nOn a  lake\n", "repeats"),
        ("{} and {}\n", "must hold {} exactly once"),
        ("on a\x1b[2J lake\n", "a character that can't be printed"),
        ("on a \u202elake\n", "a character that can't be printed"),
    ],
)
def test_a_text_pool_is_checked_as_others_are(text: str, told: str) -> None:
    Path("mine.txt").write_text(text, encoding="utf-8")
    with pytest.raises(PoolError, match=r"^mine\.txt: ") as caught:
        load_pool("mine.txt")
    assert told in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_text_pool_that_is_not_there_or_no_text() -> None:
    with pytest.raises(PoolError, match=r"mine\.txt does not exist"):
        load_pool("mine.txt")
    Path("mine.txt").write_bytes(b"on a l\xe4ke\n")
    with pytest.raises(PoolError, match=r"mine\.txt is not UTF-8 text"):
        load_pool("mine.txt")


@pytest.mark.parametrize("steer", ["\x1b[2J", "\x07", "\u202e", "\x9b", "\u2028"])
@pytest.mark.parametrize("place", ["name", "description", "class", "template"])
def test_no_part_of_a_pool_steers_a_terminal(capsys: pytest.CaptureFixture[str], steer: str, place: str) -> None:
    parts = {key: f"x{steer}" if key == place else "x" for key in ("name", "description", "class", "template")}
    held = {
        "schema_version": 1, "name": parts["name"], "description": parts["description"],
        "templates": [f"{{}} {parts['template']}"], "per_class": {parts["class"]: ["{} y"]},
        "provenance": {"source": "llm", "model": f"m{steer}"},
    }  # fmt: skip
    assert len(check_pool(held)) == 1
    Path("prompts/pools/odd.json").write_text(json.dumps(held))
    with pytest.raises(PoolError, match=r"can't be printed|steers a terminal"):
        load_pool("odd")
    assert main(["prompts", "list"]) == 0
    out = capsys.readouterr()
    assert steer[0] not in out.out + out.err


def test_the_style_pool_names_its_query() -> None:
    pool = load_pool("style")
    assert len(pool.templates) >= 45
    assert pool.provenance["source"] == "curated"
    assert pool.provenance["query"] == "prompts/queries/style.yaml"
