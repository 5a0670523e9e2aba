"""`starft prompts server`: what a server can do, told before anything is asked in earnest."""

import json
from typing import Any

import pytest
from chat_server import ChatServer, Reply

from starft.__main__ import main

WORDS = "Hello there, how are you?"
SCHEMA_TEXT = '{"templates": ["hello"]}'


def ask(server: ChatServer, *words: str) -> int:
    return main(["prompts", "server", "--base-url", server.url, *words])


def behaves(**answers: Any) -> Any:
    """Return a behaviour by form: a text, or a status that refuses."""

    def reply(request: dict[str, Any], number: int) -> Reply:
        answer = answers[request.get("response_format", {}).get("type", "text")]
        return answer if isinstance(answer, Reply) else Reply(answer)

    return reply


def row(out: str, form: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.strip().startswith(form))


REFUSED = Reply(status=500, body={"error": {"message": "no grammar"}})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "verdicts", "advice"),
    [
        (
            (SCHEMA_TEXT, '{"a": 1}', WORDS),
            "constrained constrained answered",
            "form json_schema; ask with --form auto",
        ),
        ((WORDS, WORDS, WORDS), "ignored ignored answered", "No form binds the model"),
        ((REFUSED, '{"a": 1}', WORDS), "refused constrained answered", "ask with --form json_object"),
        (('["hello"]', "[]", WORDS), "ignored ignored answered", "No form binds the model"),
        (
            (Reply('{"templates": ["he', finish_reason="length"), Reply('{"a', finish_reason="length"), WORDS),
            "constrained constrained answered",
            "form json_schema",
        ),
        ((Reply(WORDS, finish_reason="length"), "", WORDS), "ignored not answered", "No form"),
    ],
)
def test_each_form_is_constrained_ignored_or_refused(
    server: ChatServer, capsys: pytest.CaptureFixture[str], answers: tuple[Any, ...], verdicts: str, advice: str
) -> None:
    server.behaviour = behaves(json_schema=answers[0], json_object=answers[1], text=answers[2])
    assert ask(server, "--model", "any") == 0
    out = capsys.readouterr().out
    for form, verdict in zip(("json_schema", "json_object", "text"), verdicts.split(), strict=True):
        assert row(out, form)[1] == verdict
    assert advice in out
    assert "The server tells the tokens that are used. It calls the model served-model." in out
    assert len(server.requests) == 3
    assert all(request["max_tokens"] <= 200 for request in server.requests), "a look costs little"


def test_models_are_listed_and_the_only_one_is_tried(server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaviour = behaves(json_schema=SCHEMA_TEXT, json_object="{}", text=WORDS)
    server.models = {"data": [{"id": "only\x1b[2J"}]}
    assert ask(server) == 0
    out = capsys.readouterr().out
    assert "lists 1 model:\n  only\\x1b[2J\n" in out
    assert {request["model"] for request in server.requests} == {"only\x1b[2J"}
    server.models, server.requests = {"data": [{"id": "a"}, {"id": "b"}]}, []
    assert ask(server) == 0
    assert "lists 2 models:\n  a\n  b\nGive one of them as --model to try it.\n" in capsys.readouterr().out
    assert server.requests == []
    assert ask(server, "--model", "bb") == 0
    assert "bb isn't among them. Did you mean b?" in capsys.readouterr().out


def test_parameters_that_are_refused_are_left_out(server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    def only_plain(request: dict[str, Any], number: int) -> Reply:
        if "max_tokens" in request:
            return Reply(status=400, body={"error": {"message": "use max_completion_tokens"}})
        return behaves(json_schema=SCHEMA_TEXT, json_object="{}", text=WORDS)(request, number)

    server.behaviour = only_plain
    assert ask(server, "--model", "any") == 0
    assert row(capsys.readouterr().out, "json_schema")[1] == "constrained"


@pytest.mark.parametrize("words", [(), ("--model", "any")])
def test_a_server_that_answers_nothing_is_one_sentence(
    server: ChatServer, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    server.behaviour = lambda request, number: Reply(status=401, body={"error": {"message": "no"}})
    assert ask(server, *words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("starft: ")
    assert "doesn't take the key in OPENAI_API_KEY: no; set OPENAI_API_KEY" in said[-1]


def test_no_usage_is_told(server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaviour = lambda request, number: Reply(json.dumps({"templates": []}), usage=False)
    assert ask(server, "--model", "any") == 0
    out = capsys.readouterr().out
    assert "The server does not tell the tokens that are used." in out
    assert row(out, "json_schema")[2:4] == ["?", "?"]
