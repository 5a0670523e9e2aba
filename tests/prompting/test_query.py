"""Query files: those we ship, and everything that can be wrong with one."""

import re
from pathlib import Path

import pytest
import yaml
from chat_server import ChatServer, Generate

from starft.prompting.query import SCHEMA, Question, check_query, list_queries, load_query

GOOD = {
    "name": "q",
    "description": "d",
    "kind": "general",
    "count": 5,
    "messages": [{"role": "user", "content": "List {count} things as JSON with {}."}],
}


@pytest.mark.parametrize("path", list_queries(), ids=lambda path: path.stem)
def test_shipped_query(path: Path) -> None:
    query = load_query(path.stem)
    assert query.name == path.stem
    questions = query.questions("m", ["duck", "owl"], None)
    assert [q.class_name for q in questions] == (["duck", "owl"] if query.kind == "per_class" else [None])
    text = " ".join(message["content"] for message in questions[0].messages)
    assert str(query.count) in text
    assert "{count}" not in text
    assert "{class_name}" not in text
    assert query.source == f"prompts/queries/{path.name}"


def test_the_promised_queries_are_shipped() -> None:
    promised = {"backgrounds", "textures", "resolution", "style", "cooccurring", "per_class"}
    assert promised <= {path.stem for path in list_queries()}


def test_the_key_depends_on_model_messages_and_parameters() -> None:
    message = ({"role": "user", "content": "JSON"},)
    base = Question("m", message, {"temperature": 0.0})
    assert base.key == Question("m", message, {"temperature": 0.0}, "duck").key
    others = [
        Question("n", message, {"temperature": 0.0}),
        Question("m", ({"role": "user", "content": "json"},), {"temperature": 0.0}),
        Question("m", message, {"temperature": 0.1}),
        Question("m", message, {}),
    ]
    assert len({base.key, *(other.key for other in others)}) == 5
    assert base.content()["schema"] == SCHEMA


def without(key: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name != key}


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (None, "it must hold the keys name, description, kind, count, messages"),
        (without("name"), "the key 'name' is missing"),
        (without("messages"), "the key 'messages' is missing"),
        (GOOD | {"mesages": 1}, "unknown key 'mesages', the keys are .*; did you mean messages"),
        (GOOD | {"name": ""}, "'name' must be a text that isn't empty, got ''"),
        (GOOD | {"name": "a/b"}, "'name' becomes a file name"),
        (GOOD | {"kind": "class"}, "'kind' must be general or per_class, got 'class'"),
        (GOOD | {"count": 0}, "'count' must be a whole number from 1 to 1000, got 0"),
        (GOOD | {"count": "5"}, "'count' must be a whole number from 1 to 1000, got '5'"),
        (GOOD | {"messages": []}, "'messages' must be a list of messages"),
        (GOOD | {"messages": [{"role": "user"}]}, r"messages\[0\] must hold role and content and nothing else"),
        (GOOD | {"messages": [{"role": "x", "content": "JSON"}]}, r"messages\[0\] has the role 'x', roles are system"),
        (GOOD | {"messages": [{"role": "user", "content": " "}]}, r"messages\[0\] has no content"),
        (GOOD | {"messages": [{"role": "user", "content": "hi {}"}]}, "must ask for JSON by that word"),
        (GOOD | {"kind": "per_class", "fallback": ["{}"]}, r"a per_class query must hold \{class_name\}"),
        (
            GOOD | {"messages": [{"role": "user", "content": "JSON of {class_name} with {}"}]},
            r"a general query has no class to put in the place of \{class_name\}",
        ),
        (GOOD | {"messages": [{"role": "user", "content": "JSON"}]}, r"must ask for templates, with \{\} where the"),
        (GOOD | {"bare": "{} with {phrase}"}, "'bare' set phrases into templates in an older version; take it out"),
        (GOOD | {"before": "yes"}, "'before' must be true or false, got 'yes'"),
        (GOOD | {"fallback": ["no slot"]}, r"'fallback' must be a list of templates that hold \{\} once each"),
        (GOOD | {"parameters": 3}, "'parameters' must map names to values"),
        (GOOD | {"parameters": {"model": "x"}}, "'parameters' can't hold model, which starft sets itself"),
        (GOOD | {"parameters": {"temperature": float("nan")}}, "'parameters' can't be sent as JSON"),
    ],
)
def test_each_problem(data: object, problem: str) -> None:
    (found,) = check_query(data)

    assert re.search(problem, found), found


def test_every_problem_is_told_in_one_sentence(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_text(yaml.safe_dump({"name": "q", "kind": "x", "mesages": []}))
    assert generate("bad.yaml") == 2
    said = capsys.readouterr().err
    for part in (
        "bad.yaml can't be used",
        "'description' is missing",
        "'count' is missing",
        "'mesages'",
        "'kind' must",
    ):
        assert part in said
    assert said.count("\n") == 1
    assert server.requests == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["backgronds"], "There is no query 'backgronds'; give backgrounds, .* Did you mean backgrounds"),
        (["nowhere.yaml"], "The query file nowhere.yaml can't be read: No such file or directory"),
        (["broken.yaml"], "The query file broken.yaml isn't valid YAML"),
        (["per_class"], r"'per_class' asks about each class; give --data .*class_names: \[duck, owl\]\."),
        (["per_class", "--data", "empty.yaml"], "empty.yaml has no class names: it needs a 'data' section"),
        (["per_class", "--data", "none.yaml"], "'class_names' of none.yaml must be a list of texts that isn't empty"),
        (["per_class", "--data", "nowhere.yaml"], "The config nowhere.yaml can't be read: No such file"),
        (["per_class", "--data", "wrong.yaml"], "The data section of wrong.yaml can't be used: .*Nonesuch"),
        (["general.yaml", "--clip-model", "nope"], "There is no model 'nope'"),
        (["general.yaml", "--concurrency", "0"], "--concurrency must be at least 1; got 0"),
        (["general.yaml", "--timeout", "0"], "--timeout must be more than 0 seconds; got 0.0"),
        (["general.yaml", "--timeout", "soon"], "timeout.*soon"),
        (["general.yaml", "--retries", "-1"], "--retries must be at least 0; got -1"),
        (["general.yaml", "--parameters", '{"model": "x"}'], "--parameters: 'parameters' can't hold model"),
        (["general.yaml", "--out", "pool.txt"], "--out must name a .json file; got pool.txt"),
        (["general.yaml", "--out", "general.yaml/x.json"], "general.yaml can't be written to: "),
        (["general.yaml", "--modle", "x"], "There is no option --modle. Did you mean --model?"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_asked(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    Path("broken.yaml").write_text("a: [")
    Path("empty.yaml").write_text("model: {model_name: starft-mini}\n")
    Path("none.yaml").write_text("class_names: []\n")
    Path("wrong.yaml").write_text("data: {class_path: starft.mini.Nonesuch}\n")
    assert generate(*words) == 2
    *doing, said = capsys.readouterr().err.splitlines()
    assert all(line.startswith("Loading ") for line in doing)
    assert re.search(told, said), said
    assert said.startswith("starft: ")
    assert server.requests == []
