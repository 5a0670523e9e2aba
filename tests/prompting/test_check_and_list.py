"""`starft prompts check`, `list` and the help of each verb."""

import json
from pathlib import Path
from typing import Any

import pytest

from starft.__main__ import main
from starft.captions.pool_files import list_pools

BAD: dict[str, Any] = {
    "description": "d",
    "templates": [
        "{} among ducks", "{} in the woods", "{} in a Wood", "in the {}", "no slot", "{} at dawn.",
        "{} in " + "very " * 22 + "old houses", "{} In the woods", "{} with a ocean",
    ],
    "per_class": {"dack": ["{} at noon", "{} near a wood", "{} in woods", "with an hat"]},
    "provenance": {"source": "llm"},
    "name": "",
    "exta": 1,
}  # fmt: skip


@pytest.mark.parametrize("path", list_pools(), ids=lambda path: path.stem)
def test_shipped_pools_are_in_order(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "check", path.stem]) == 0
    assert "is in order: " in capsys.readouterr().out


def test_everything_wrong_is_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.json").write_text(json.dumps(BAD))
    assert main(["prompts", "check", "bad.json", "--data", "classes.yaml", "--model", "starft-mini"]) == 2
    told = capsys.readouterr()
    parts = (
        "the key 'schema_version' is missing",
        "templates[0] '{} among ducks' names the class 'duck' of the data",
        "templates[2] '{} in a Wood' says the same as templates[1]",
        "templates[3] 'in the {}' doesn't read as English: 'in the a photo of a duck.'",
        "templates[4] 'no slot' must hold {} exactly once",
        "templates[5] '{} at dawn.' ends with a period",
        "is too long for the 24 tokens of starft-mini with the class",
        "templates[7] '{} In the woods' repeats templates[1]",
        "templates[8] '{} with a ocean' has the wrong article; write '{} with an ocean'.",
        "per_class['dack'] is no class of the data; take it out or spell it as there. Did you mean duck?",
        "per_class['dack'][2] '{} in woods' says the same as templates[1]",
        "per_class['dack'][3] 'with an hat' must hold {} exactly once",
        "per_class['dack'][3] 'with an hat' has the wrong article; write 'with a hat'.",
        "'name' must be a string",
        "unknown key 'exta'",
    )
    lines = told.out.splitlines()
    assert len(lines) == len(parts)
    for line, part in zip(lines, parts, strict=True):
        assert part in line, "in the order of the file"
    problems = f"starft: bad.json has {len(parts)} problems, told above; mend the file or generate it again.\n"
    assert told.err == f"Checking bad.json ...\n{problems}"


@pytest.mark.parametrize("name", ["lightning_configs/mini/starft.yaml", "starft.yaml"])
def test_a_config_is_told_from_a_pool(capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert main(["prompts", "check", name]) == 2
    assert f"starft: {name} is a YAML file, as configs and queries are, and no pool" in capsys.readouterr().err


@pytest.mark.parametrize("held", [[], "text", {"templates": "x", "per_class": 3}, {"templates": [1, None]}])
def test_a_file_that_is_no_pool_at_all(capsys: pytest.CaptureFixture[str], held: Any) -> None:
    Path("bad.json").write_text(json.dumps(held))
    assert main(["prompts", "check", "bad.json", "--data", "classes.yaml"]) == 2
    assert "problem" in capsys.readouterr().err


def test_a_pool_that_suits_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "check", "mini_scenes", "--data", "classes.yaml"]) == 0
    assert "It suits the 4 classes of classes.yaml." in capsys.readouterr().out


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("prompts/pools")
    folder.mkdir(parents=True)
    good = {key: value for key, value in BAD.items() if key != "exta"} | {"schema_version": 1, "name": "own"}
    good |= {"templates": ["{} at dawn"], "per_class": {"duck": ["{} at noon", "{} on a lake"]}}
    (folder / "own.json").write_text(json.dumps(good | {"provenance": {"source": "llm", "model": "some-model"}}))
    (folder / "broken.json").write_text("{")
    assert main(["prompts", "list"]) == 0
    out = capsys.readouterr().out
    (own,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["own"]]
    assert own[:7] == ["own", "1", "2", "for", "1", "llm", "some-model"]
    (shipped,) = [line.split() for line in out.splitlines() if line.split()[:1] == ["mini_scenes"]]
    assert shipped[1:4] == ["10", "-", "curated"]
    assert "Not usable: prompts/pools/broken.json is not valid JSON" in out
    assert "per_class" in out, "queries are listed too"


@pytest.mark.parametrize("verb", ["generate", "check", "list", "rank"])
def test_help(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["prompts", verb, "--help"])
    assert stop.value.code == 0
    assert f"usage: starft prompts {verb}" in capsys.readouterr().out


def test_help_of_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts"]) == 0
    out = capsys.readouterr().out
    for verb in ("generate", "check", "list", "rank"):
        assert f"\n  {verb} " in out


def test_an_unknown_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "genrate"]) == 2
    assert (
        "has no verb 'genrate'; its verbs are generate, check, list, rank, server. Did you mean"
        in capsys.readouterr().err
    )
