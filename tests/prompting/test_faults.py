"""Everything that can go wrong between us and a server: no answer that arrived is lost, nothing is half-written."""

import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from chat_server import Behaviour, ChatServer, Generate, Reply, asked_class, by_class, phrases

from starft.captions.pool_files import check_pool, load_pool
from starft.prompting import asking
from starft.prompting.asking import GIVE_UP

POOL = Path("prompts/pools/mine.json")
CACHE = Path("prompts/cache/mine")
LIMIT = {"error": {"message": "Rate limit reached"}}
BROKEN = {"error": {"message": "the server is on fire"}}


def answered() -> int:
    return len([path for path in CACHE.glob("*.json") if not path.name.endswith(".rejected.json")])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one line of complaint, which is the last; what comes before says what is being done."""
    *doing, said = capsys.readouterr().err.strip().splitlines()
    assert said.startswith("starft: ")
    assert all(line.startswith(("Loading ", "Asking ")) and line.endswith(" ...") for line in doing)
    return said


def only_for_owl(fault: Reply) -> Behaviour:
    """Every class gets its answer but one."""
    return lambda request, number: fault if asked_class(request) == "owl" else by_class(request, number)


def once(fault: Reply) -> Behaviour:
    return lambda request, number: fault if number == 1 else by_class(request, number)


FAULTS: dict[str, tuple[Reply, str]] = {
    "500": (Reply(status=500, body=BROKEN), r"answered 500 to the question about 'owl': the server is on fire; 1 of 4"),
    "truncated JSON": (
        Reply('{"templates": ["in the forest", "on a la'),
        r"The answer to the question about 'owl' breaks off: ",
    ),
    "truncated by tokens": (
        Reply('{"templates": ["in the forest", "on a la', finish_reason="length"),
        r"^starft: The answer to the question about 'owl' breaks off at the limit of tokens: .*la'; it has 5 tokens: "
        r"raise it with --parameters '\{\"max_tokens\": 10\}', or lower the query's count; it is kept in "
        r"prompts/cache/mine/[0-9a-f]{64}\.rejected\.json; 1 of 4 questions has no answer yet, the others are kept in",
    ),
    "truncated body": (
        Reply(body=b'{"id": "1", "choices": [{"index": 0, "mess'),
        r"sent no readable completion for the question about 'owl'",
    ),
    "wrong schema": (Reply('{"items": ["in the forest"]}'), r"isn't of the form \{\"templates\": .* but .*items"),
    "phrases of another type": (Reply('{"templates": ["at dawn", 3]}'), r"isn't of the form"),
    "empty list": (Reply('{"templates": []}'), r"The answer to the question about 'owl' is an empty list; it is kept"),
    "empty text": (Reply(""), r"about 'owl' is empty; it is kept"),
    "no text": (Reply(None), r"about 'owl' is empty; it is kept"),
    "refusal": (
        Reply(None, refusal="I can't help with owls."),
        r"The model gpt-4o-mini declined the question about 'owl': \"I can't help with owls",
    ),
    "refusal in prose": (Reply("I'm sorry, I can't do that."), r"is neither JSON nor a list but \"I'm sorry"),
    "content filter": (Reply("", finish_reason="content_filter"), r"held back by the server's content filter"),
    "no choices": (Reply(body={"id": "1", "choices": []}), r"sent no completion for the question about 'owl'"),
    "bad request": (
        Reply(status=400, body={"error": {"message": "this prompt was flagged"}}),
        r"refused the question about 'owl': this prompt was flagged; 1 of 4",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS.keys())
def test_one_bad_answer_among_good_ones(
    generate: Generate,
    server: ChatServer,
    capsys: pytest.CaptureFixture[str],
    fault: Reply,
    told: str,
) -> None:
    server.behaviour = only_for_owl(fault)
    assert generate("per_class.yaml", "--timeout", "5") == 2
    said = sentence(capsys)
    assert "1 of 4 questions has no answer yet, the others are kept in prompts/cache/mine: run the same" in said
    assert re.search(told, said), said
    assert answered() == 3
    assert not POOL.exists()
    assert not list(Path().rglob("*.tmp"))
    server.behaviour, server.requests = by_class, []
    assert generate("per_class.yaml") == 0
    assert [asked_class(request) for request in server.requests] == ["owl"]
    assert set(load_pool(POOL).per_class) == {"duck", "owl", "robin", "crow"}


def test_a_bad_answer_is_kept_for_people_to_read(generate: Generate, server: ChatServer) -> None:
    server.behaviour = only_for_owl(Reply('{"items": ["in the forest"]}'))
    assert generate("per_class.yaml") == 2
    (rejected,) = CACHE.glob("*.rejected.json")
    held = json.loads(rejected.read_text())
    assert held["answer"]["text"] == '{"items": ["in the forest"]}'
    assert "isn't of the form" in held["reason"]


def test_partial_goes_on_without_and_says_so(generate: Generate, server: ChatServer) -> None:
    server.behaviour = only_for_owl(Reply("no"))
    assert generate("per_class.yaml", "--partial") == 0
    pool = load_pool(POOL)
    assert set(pool.per_class) == {"duck", "robin", "crow"}
    assert pool.provenance["unanswered"] == ["owl"]
    assert pool.templates_for("owl") == ("{} where it is",)


# What passes: the client asks again


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=429, body=LIMIT, headers={"Retry-After": "1"}),
        Reply(status=500, body=BROKEN, headers={"Retry-After-Ms": "10"}),
        Reply(delay=0.6, content="{}"),
        Reply('{"templates": ["{} at dawn"]}', drop=True),
    ],
    ids=["429", "500", "timeout", "dropped"],
)
def test_a_passing_fault_is_survived(generate: Generate, server: ChatServer, fault: Reply) -> None:
    server.behaviour = once(fault)
    start = time.monotonic()
    assert generate("general.yaml", "--retries", "2", "--timeout", "0.3") == 0
    assert len(server.requests) == 2
    assert load_pool(POOL).templates == ("{} at dawn", "{} in the forest", "{} on a lake")
    if fault.status == 429:
        assert time.monotonic() - start >= 1, "Retry-After is honoured"


# What doesn't pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (
            Reply(status=429, body=LIMIT),
            "still says 429, too many requests: Rate limit reached; wait, lower --concurrency",
        ),
        (
            Reply(status=401, body={"error": {"message": "bad key"}}),
            "take the key in OPENAI_API_KEY: bad key; set OPENAI_API_KEY to",
        ),
        (Reply(status=403, body={"error": {"message": "not here"}}), "answered 403 to the question about"),
        (Reply('{"templates": ["{} at dawn"]}', drop=True), "can't be reached or dropped the connection"),
    ],
    ids=["429", "401", "403", "dropped"],
)
def test_a_lasting_fault_ends_the_asking_and_keeps_what_came(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], fault: Reply, told: str
) -> None:
    Path("classes.yaml").write_text(json.dumps({"class_names": [f"thing{index}" for index in range(40)]}))
    server.behaviour = lambda request, number: by_class(request, number) if number <= 12 else fault
    assert generate("per_class.yaml", "--concurrency", "4") == 2
    said = sentence(capsys)
    assert told in said
    assert server.url in said
    assert "28 of 40 questions have no answer yet" in said
    assert answered() == 12
    assert len(server.requests) <= 12 + 4, "the rest isn't tried"
    server.behaviour, server.requests = by_class, []
    assert generate("per_class.yaml") == 0
    assert len(server.requests) == 28


def test_a_server_that_never_answers(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply("{}", delay=0.5)
    assert generate("general.yaml", "--timeout", "0.1") == 2
    assert f"{server.url}/ gave no answer to the question within 0.1 s; raise --timeout." in sentence(capsys)
    assert answered() == 0


def test_many_failures_in_a_row_end_the_asking(generate: Generate, server: ChatServer) -> None:
    Path("classes.yaml").write_text(json.dumps({"class_names": [f"thing{index}" for index in range(60)]}))
    server.behaviour = lambda request, number: Reply("no")
    assert generate("per_class.yaml", "--concurrency", "2") == 2
    assert GIVE_UP <= len(server.requests) <= GIVE_UP + 2
    server.requests = []
    assert generate("per_class.yaml", "--concurrency", "2", "--partial") == 2, "partial isn't for a server that is down"


def test_nobody_listens(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    assert generate("general.yaml", "--base-url", url) == 2
    assert f"{url}/ can't be reached or dropped the connection" in sentence(capsys)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "nonsense"])
def test_what_is_no_url(generate: Generate, capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert generate("general.yaml", "--base-url", url) == 2
    assert f"The base URL '{url}' isn't one; give it as http://HOST:PORT/v1" in sentence(capsys)


def test_a_url_that_serves_something_else(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply(body=b"<html>Welcome</html>", content_type="text/html")
    assert generate() == 2
    said = sentence(capsys)
    assert f"{server.url}/ sent no completion for the question but '<html>Welcome</html>'; check --base-url" in said


def test_a_wrong_path_and_an_unknown_model_are_404(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply(status=404, body={"detail": "Not Found"})
    assert generate() == 2
    assert f"{server.url}/ answered 404 when asked for the model 'gpt-4o-mini': Not Found; check --model" in sentence(
        capsys
    )
    missing = {"error": {"message": "The model `gtp` does not exist", "code": "model_not_found"}}
    server.behaviour = lambda request, number: Reply(status=404, body=missing)
    assert generate("general.yaml", "--model", "gtp") == 2
    said = sentence(capsys)
    assert "asked for the model 'gtp': The model `gtp` does not exist; check --model and --base-url, which" in said


@pytest.mark.parametrize("key", ["", "  ", None])
def test_no_key(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str | None
) -> None:
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY")
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    assert generate() == 2
    assert "There is no key: set the environment variable OPENAI_API_KEY; for a server that" in sentence(capsys)


# Phrases of every kind


def test_strange_phrases(generate: Generate, server: ChatServer) -> None:
    strange = [
        "in the {}", "{0} on a lake", "a {class} at dawn", "{} and {}", "{", "in the rain}", "在森林里", "в лесу",
        "in the\u0007 snow", "at\u200bnight", "\ud800", "", "   ", "in the\nfog", "ON A HILL.", "on a hill",
        "on hills", "on a green hill", "on a hill green", "...", "🙂", "x" * 5000,
        "in a " + "very " * 200 + "old house", "%s %d \\1", "<b>bold</b>", "in the rain",
    ]  # fmt: skip
    server.behaviour = lambda request, number: phrases(*strange)
    Path("general.yaml").write_text(Path("general.yaml").read_text().replace("count: 5", "count: 50"))
    assert generate() == 0
    pool = load_pool(POOL)
    assert check_pool(json.loads(POOL.read_text())) == []
    assert set(pool.templates) == {
        "{} on a lake", "{} at dawn", "{} in the fog", "{} on a hill", "{} on a green hill",
        "{} in the rain",
    }  # fmt: skip
    reasons = [drop["reason"] for drop in pool.provenance["dropped"]]
    assert len(reasons) == len(strange) - 6
    for reason in (
        "holds {} more than once",
        "isn't in Latin letters",
        "says nothing beside the caption",
        "has more than 12 words",
        "holds characters that can't be printed",
        "repeats '{} on a hill'",
        "repeats '{} on a green hill'",
    ):
        assert reason in reasons


@pytest.mark.slow
def test_ten_thousand_phrases(generate: Generate, server: ChatServer) -> None:
    server.behaviour = lambda request, number: phrases(*[f"in room {index} of the house" for index in range(10_000)])
    start = time.monotonic()
    assert generate() == 0
    assert time.monotonic() - start < 20
    pool = load_pool(POOL)
    assert len(pool.templates) == 5, "as many as were asked for"
    assert len(pool.provenance["dropped"]) == 9995
    assert pool.provenance["dropped"][-1] == {
        "text": "{} in room 9999 of the house",
        "reason": "comes after the 5 that were asked for",
    }


def test_nothing_usable_at_all(generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaviour = lambda request, number: phrases("在森林里", "{}")
    assert generate() == 2
    assert "No template came of 2 texts (the first, '{} 在森林里', isn't in Latin letters)" in sentence(capsys)
    assert not POOL.exists()


def test_a_cache_that_cannot_be_written_to(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert generate("general.yaml", "--cache", "file") == 2
    assert "The cache folder file/mine can't be written to: " in sentence(capsys)
    assert server.requests == []


def test_an_interrupted_run_keeps_what_came(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("classes.yaml").write_text(json.dumps({"class_names": [f"thing{index}" for index in range(12)]}))
    keep: Any = asking._keep

    def interrupted(*args: Any) -> None:
        keep(*args)
        if answered() == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(asking, "_keep", interrupted)
    assert generate("per_class.yaml", "--concurrency", "1") == 130
    assert answered() == 3
    assert (
        "Interrupted with 3 of 12 answers kept in prompts/cache/mine; run the same command again for the rest."
        in sentence(capsys)
    )


def test_a_limit_that_was_set_is_named(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply('{"templates": ["at d', finish_reason="length", tokens=50)
    assert generate("general.yaml", "--parameters", '{"temperature": 1, "max_completion_tokens": 50}') == 2
    told = capsys.readouterr()
    assert "the limit was 50, by max_completion_tokens: raise it with --parameters" in told.err
    assert '\'{"temperature": 1, "max_completion_tokens": 100}\'' in told.err
    assert "0 of 1 question answered: 10 tokens in, 50 tokens out." in told.out, "what was paid is told"


def test_no_tokens_are_told_where_nothing_was_answered(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply(status=500, body=BROKEN)
    assert generate() == 2
    assert capsys.readouterr().out == ""
