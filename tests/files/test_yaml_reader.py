"""One reader of YAML: bounded, each key once, texts as they were written, and the same in a file as in an option."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from starft.__main__ import main
from starft.captions.pool_files import read_json
from starft.captions.pools import PoolError
from starft.config.data import data_of
from starft.config.parser import prepare_parser
from starft.config.prompts import read_config
from starft.data.datamodules import CSV
from starft.errors import ConfigError, PromptError
from starft.files import yaml_reader as yaml_files
from starft.files.atomic import load_json
from starft.files.yaml_reader import NotTaken, dump_yaml, load_yaml, read_yaml, seed_of
from starft.prompting.query import load_query
from starft.runs.continuing import check_same

DEEP = "[" * 8 + "]" * 8
GROWING = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n"
ENDLESS = "a: &a [b, *a]\n"
BOMBS = {"deep": f"data: {DEEP}\n", "growing": GROWING, "endless": ENDLESS, "twice": "model: 1\ndata: 2\nmodel: 3\n"}


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a harmless file goes beyond."""
    monkeypatch.setattr(yaml_files, "DEEPEST", 6)
    monkeypatch.setattr(yaml_files, "LARGEST", 120)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMBS["deep"], "is nested more than 6 levels deep, at line 1"),
        ("a: '" + "[" * 8 + "'", "is nested more than 6 levels deep, at line 1"),
        (BOMBS["growing"], "holds more than 120 characters, aliases written out, at line 4"),
        ("a: &a {b: {<<: *a}}", "has the alias *a inside of what it names, at line 1"),
        (BOMBS["endless"], "has the alias *a inside of what it names, at line 1"),
        ("a: 1\nb: {c: 1}\n'a': 2", "has the key 'a' twice, in lines 1 and 3; keep one"),
        ("on: 1\non: 2", "has the key 'on' twice, in lines 1 and 2"),
        ("a: {b: 1, b: 1}", "has the key 'b' twice, in line 1"),
        ("a: !!set {b}", "holds the type tag:yaml.org,2002:set at line 1"),
        ("a: !mine b", "holds the type !mine at line 1"),
        (f"a: {'9' * 5000}", "holds a value that can't be read"),
        ("a: '\ud800'", "holds a value that can't be read"),
    ],
)
def test_what_cant_be_meant_is_refused(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_files, "DEEPEST", 6)
    monkeypatch.setattr(yaml_files, "LARGEST", 120 if "*c" in text else 10_000)
    with pytest.raises(NotTaken, match=why.replace("*", r"\*")):
        load_yaml(text)


def test_anchors_and_merges_of_a_finite_document_are_resolved() -> None:
    text = "base: &b {lr: 1.0e-5, on: no}\nmine: {<<: *b, lr: 2}\nlist: [*b, *b]"
    base = {"lr": 1e-5, "on": "no"}
    assert load_yaml(text) == {"base": base, "mine": {"lr": 2, "on": "no"}, "list": [base, base]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("007", "007"),
        ("0123", "0123"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("=", "="),
        ("true", True),
        ("~", None),
        ("", None),
        ("7", 7),
        ("-7", -7),
        ("1e-5", 1e-5),
        ("1.0E+3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
    ],
)
def test_a_value_is_what_it_looks_like_and_a_key_is_its_text(text: str, value: Any) -> None:
    assert load_yaml(f"a: {text}") == {"a": value}
    assert load_yaml(f"[{text}]") == ([value] if text else [])
    if text:
        assert load_yaml(f"{{{text}: 1}}") == {text: 1}


@pytest.mark.parametrize("text", ["1e3", "on", "007", "0o7", "1_000", "null", "12:30", "7", "1.5", "2024-01-01", "="])
def test_texts_survive_writing_and_reading(text: str) -> None:
    data = {text: [text, {text: text}]}
    assert load_yaml(dump_yaml(data)) == data
    assert yaml.safe_load(dump_yaml(data)) == data, "other readers"


def test_class_names_stay_what_was_written_or_are_refused(tmp_path: Path) -> None:
    def names(given: str) -> Any:
        section = load_yaml(f"class_path: starft.data.CSV\ninit_args: {{file: a.csv, class_names: {given}}}")
        data = data_of(section, 0, "mine.yaml")
        assert isinstance(data, CSV)
        return data.source.given_names

    assert names("{on: a, yes: b, 007: c, 1e3: d, 5: e, null: f}") == dict(
        zip(["on", "yes", "007", "1e3", "5", "null"], "abcdef", strict=True)
    )
    assert names("[on, 007, no]") == ["on", "007", "no"]
    for unquoted in ("[1e3]", "{a: 7}", "[true]", "[7, 8]"):
        with pytest.raises(ConfigError, match="Put it in quotes, if it is meant as a text"):
            names(unquoted)


@pytest.mark.parametrize(("number", "value"), [("0123", 123), ("08", 8), ("1_0", 10)])
def test_a_number_is_the_same_in_a_file_and_in_an_option(number: str, value: int) -> None:
    def batch_size(section: str, *options: str) -> int:
        section = f"class_path: starft.data.CSV\ninit_args: {{file: a.csv{section}}}"
        return data_of(load_yaml(section), 0, "mine.yaml", options).batch_size

    assert batch_size(f", batch_size: {number}") == value
    assert batch_size("", f"--data.init_args.batch_size={number}") == value
    assert seed_of(load_yaml(f"seed_everything: {number}")) in (value, 0)


def refusal_of_continuing(path: Path) -> None:
    """A damaged config is no reason to stop, and none to hang."""
    (path.parent / "checkpoints").mkdir()
    path.rename(path.parent / "config.yaml")
    check_same(path.parent / "checkpoints" / "last.ckpt", {})
    raise ConfigError("mend")


READERS: dict[str, Callable[[Path], object]] = {
    "config": read_yaml,
    "fit": lambda path: main(["fit", "--config", str(path)]),
    "data": lambda path: main(["data", "check", "--config", str(path)]),
    "compare": lambda path: main(["compare", "--configs", str(path)]),
    "rank": lambda path: main(["prompts", "rank", "backgrounds", "--config", str(path)]),
    "prompts": lambda path: read_config(str(path)),
    "query": lambda path: load_query(str(path)),
    "section": lambda path: main(["fit", "--config", "mini/ce", "--model", str(path)]),
    "continuing": refusal_of_continuing,
}


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_in_one_sentence(
    reader: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_files, "LARGEST", 100_000 if kind != "growing" and reader == "section" else 120)
    path = tmp_path / "mine.yaml"
    path.write_text(BOMBS[kind], encoding="utf-8")
    try:
        status = READERS[reader](path)
    except (ConfigError, PromptError) as error:
        sentence = str(error)
    else:
        assert status == 2
        (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("starft: ")]
    assert sentence.endswith((".", "mend"))
    assert "\n" not in sentence


@pytest.mark.usefixtures("low")
@pytest.mark.parametrize("option", ["--model.lr", "--data.init_args.templates", "--trainer.callbacks"])
def test_an_option_is_as_bounded_as_a_file(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    yaml_files.LARGEST = 100_000
    assert main(["fit", "--config", "mini/ce", f"{option}={DEEP}"]) == 2
    assert f"The value of {option} is nested more than 6 levels deep" in capsys.readouterr().err
    assert main(["fit", "--config", "mini/ce", option, "{a: 1, a: 2}"]) == 2
    assert "has the key 'a' twice" in capsys.readouterr().err


def test_a_pipe_is_no_config(tmp_path: Path) -> None:
    """It would be waited for."""
    path = tmp_path / "pipe.yaml"
    __import__("os").mkfifo(path)
    with pytest.raises(ConfigError, match=f"The config {path} isn't a regular file; give a YAML file."):
        read_yaml(path)


def test_a_large_file_is_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_files, "LARGEST", 10)
    path = tmp_path / "large.yaml"
    path.write_text("a: 1234567890", encoding="utf-8")
    with pytest.raises(ConfigError, match="is larger than 10 bytes"):
        read_yaml(path)


def test_json_that_is_nested_too_deeply_is_an_ordinary_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def too_deep(text: str, **given: Any) -> Any:
        raise RecursionError

    path = tmp_path / "pool.json"
    path.write_text("{}", encoding="utf-8")
    monkeypatch.setattr(json, "loads", too_deep)
    with pytest.raises(ValueError, match="nested too deeply"):
        load_json("{}")
    with pytest.raises(PoolError, match=r"can't be read: it is nested too deeply; mend it\."):
        read_json(path)


def test_the_parser_of_options_reads_by_the_same_reader() -> None:
    prepare_parser()
    from jsonargparse import ArgumentParser, Namespace  # noqa: PLC0415

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--names", type=dict[str, str])
    parsed = parser.parse_args(["--names={on: 007}"])
    assert parsed == Namespace(names={"on": "007"})
    assert parser.dump(parsed) == "names:\n  'on': '007'\n"
