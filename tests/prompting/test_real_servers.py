"""What real servers were seen to do, played by the local one: forms, names, limits, waits and hints."""

import json
import re
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer, Generate, Reply, by_class, phrases

from starft.__main__ import main
from starft.captions.pool_files import load_pool
from starft.prompting.connection import address_of, asked_wait, seconds_to_wait

POOL = Path("prompts/pools/mine.json")
CACHE = Path("prompts/cache/mine")
BROKEN = {"error": {"message": "failed to build a grammar"}}


def kept(rejected: bool = False) -> list[dict[str, Any]]:
    """Return the answers in the cache."""
    paths = [path for path in sorted(CACHE.glob("*.json")) if path.name.endswith(".rejected.json") == rejected]
    return [json.loads(path.read_text()) for path in paths]


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("starft: ")
    return said


def form_of(request: dict[str, Any]) -> str:
    return str(request.get("response_format", {}).get("type", "text"))


def takes_only(*forms: str, status: int) -> Any:
    """Return the behaviour of a server that answers other forms with a status."""

    def reply(request: dict[str, Any], number: int) -> Reply:
        return by_class(request, number) if form_of(request) in forms else Reply(status=status, body=BROKEN)

    return reply


# Forms


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "taken"), [(400, "json_object"), (422, "text"), (500, "json_object"), (500, "text"), (503, "text")]
)
def test_a_form_that_is_refused_with_any_status_gives_way_to_the_next(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], status: int, taken: str
) -> None:
    server.behaviour = takes_only(taken, status=status)
    assert generate("per_class.yaml", "--retries", "4", "--concurrency", "1") == 0
    assert "Asking again" not in capsys.readouterr().err, "it isn't waited for a refusal to pass"
    assert {answer["answer"]["mode"] for answer in kept()} == {taken}
    refused = [form_of(request) for request in server.requests].count("json_schema")
    assert refused == (1 if status < 500 else 2), "a form that fails again isn't tried a third time"
    assert load_pool(POOL).provenance["forms"] == {taken: 4}


def test_after_the_first_answer_a_server_error_is_waited_for(generate: Generate, server: ChatServer) -> None:
    fault = Reply(status=500, body=BROKEN, headers={"Retry-After-Ms": "10"})
    server.behaviour = lambda request, number: fault if number == 2 else by_class(request, number)
    assert generate("per_class.yaml", "--retries", "1", "--concurrency", "1") == 0
    assert {form_of(request) for request in server.requests} == {"json_schema"}


@pytest.mark.parametrize("form", ["json_schema", "json_object", "text"])
def test_a_form_can_be_chosen(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    assert generate("general.yaml", "--form", form) == 0
    assert [form_of(request) for request in server.requests] == [form]
    server.behaviour = takes_only(status=400)
    assert generate("general.yaml", "--form", form, "--refresh", "--overwrite") == 2
    assert {form_of(request) for request in server.requests} == {form}
    assert generate("general.yaml", "--form", "yaml", "--overwrite") == 2
    assert "json_schema" in complaint(capsys)


@pytest.mark.parametrize(
    "text",
    [
        "1. {} in the forest\n2. {} at dawn",
        '```json\n{"templates": ["{} in the forest", "{} at dawn"]}\n```',
        'Sure: {"templates": ["{} in the forest", "{} at dawn"]}',
        '["{} in the forest", "{} at dawn"]',
        '<think>hm</think>{"templates": ["{} in the forest", "{} at dawn"]}',
        '{"templates": ["{} in the forest", "{} at dawn"], "note": "x"}',
    ],
)
def test_a_form_that_was_taken_and_ignored_is_noted(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    server.behaviour = lambda request, number: Reply(text)
    assert generate() == 0
    assert load_pool(POOL).templates == ("{} at dawn", "{} in the forest")
    assert [(answer["answer"]["mode"], answer["answer"]["asked_form"]) for answer in kept()] == [
        ("ignored", "json_schema")
    ]
    assert load_pool(POOL).provenance["forms"] == {"ignored": 1}
    assert "took a form for its answers and ignored it in 1 answer" in capsys.readouterr().out


# Who answered?


def test_a_server_of_ones_own_is_not_asked_for_a_model_that_nobody_named(
    server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prompts", "generate", "general.yaml"]
    assert main([*words, "--base-url", server.url]) == 2
    assert f"--model is missing: {server.url} serves models of its own; `starft prompts server" in complaint(capsys)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert main(words) == 2
    assert "--model is missing" in complaint(capsys)
    assert server.requests == []


def test_an_answer_of_one_server_is_not_taken_for_anothers(generate: Generate, server: ChatServer) -> None:
    server.behaviour = lambda request, number: Reply(phrases("at dawn").content, model="llama.gguf")
    assert generate() == 0
    made = load_pool(POOL).provenance
    assert made["address"] == server.url
    assert made["served_models"] == {"llama.gguf": 1}
    with ChatServer(lambda request, number: phrases("at dusk")) as other:
        assert generate("general.yaml", "--base-url", other.url, "--overwrite") == 0
        assert len(other.requests) == 1
    assert load_pool(POOL).templates == ("{} at dusk",)
    for same in (f"{server.url}/", server.url.replace("http", "HTTP"), server.url.replace("//", "//me:pw@")):
        assert generate("general.yaml", "--base-url", same, "--overwrite") == 0
    assert len(server.requests) == 1, "one server, however its URL is written"


def test_an_answer_of_an_older_version_is_told_and_left_there(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate() == 0
    (path,) = CACHE.glob("*.json")
    held = json.loads(path.read_text())
    held["question"]["schema"] = json.loads(json.dumps(held["question"]["schema"]).replace("templates", "phrases"))
    held["answer"]["text"] = '{"phrases": ["in the forest"]}'
    old = CACHE / "old.json"
    old.write_text(json.dumps(held))
    path.unlink()
    capsys.readouterr()
    note = (
        "Note: 1 answer in prompts/cache/mine of an older version can't be used, since they hold phrases where "
        "templates with {} are asked for now; they are left there."
    )
    assert generate("general.yaml", "--offline", "--overwrite") == 2
    told = capsys.readouterr()
    assert note in told.out
    assert "Offline, 1 of 1 answer of gpt-4o-mini is missing from prompts/cache/mine" in told.err
    assert generate("general.yaml", "--overwrite") == 0
    assert note in capsys.readouterr().out
    assert old.is_file()
    assert generate("general.yaml", "--overwrite") == 0
    assert "older version" not in capsys.readouterr().out, "nothing is missing"
    for key, value in (("text", None), ("text", ["a"]), ("finish_reason", 3), ("prompt_tokens", "many")):
        spoilt = json.loads(path.read_text())
        spoilt["answer"][key] = value
        path.write_text(json.dumps(spoilt))
        asked = len(server.requests)
        assert generate("general.yaml", "--overwrite") == 0
        assert len(server.requests) == asked + 1, "it is asked for again"


def test_a_pool_of_answers_from_several_models_says_so(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("big", "big", "small", "small")
    server.behaviour = lambda request, number: Reply(by_class(request, number).content, model=names[number - 1])
    assert generate("per_class.yaml", "--model", "big") == 0
    assert load_pool(POOL).provenance["served_models"] == {"big": 2, "small": 2}
    assert "Note: 2 models wrote the answers, as http://127.0.0.1:" in capsys.readouterr().out


def test_another_name_than_the_one_asked_for_is_told(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate() == 0
    assert f"Note: asked for gpt-4o-mini, {server.url} says that served-model wrote." in capsys.readouterr().out
    server.behaviour = lambda request, number: Reply(phrases("at dawn").content, model="gpt-4o-mini-2024-07-18")
    assert generate("general.yaml", "--refresh", "--overwrite") == 0
    assert "Note" not in capsys.readouterr().out


def test_the_address_holds_no_secret() -> None:
    assert address_of("https://me:secret@Host.example:443/v1/?api-key=secret") == "https://host.example/v1"
    assert address_of(None) == "https://api.openai.com/v1"
    assert address_of("http://[::1]:8000/v1") == "http://[::1]:8000/v1"


# Limits and thought


def test_a_full_context_is_named(generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    server.behaviour = lambda request, number: Reply('{"templates": ["at d', finish_reason="length", tokens=500)
    assert generate("general.yaml", "--parameters", '{"max_tokens": 4000}') == 2
    said = complaint(capsys)
    assert "below the limit of 4000 that was sent, so the model's context is full, with 510 tokens" in said
    assert "raise it with --parameters" not in said
    assert generate("general.yaml", "--parameters", '{"max_tokens": 500}') == 2
    assert "raise it with --parameters '{\"max_tokens\": 1000}'" in complaint(capsys)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thought_is_kept_and_its_tokens_are_told(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], field: str
) -> None:
    thought = {field: 'A draft: {"templates": ["on a draft"]}'}
    server.behaviour = lambda request, number: Reply(
        phrases("at dawn").content, tokens=90, message=thought, details={"reasoning_tokens": 80}
    )
    assert generate() == 0
    assert load_pool(POOL).templates == ("{} at dawn",)
    assert "90 tokens out, 80 of them on thought." in capsys.readouterr().out
    (answer,) = kept()
    assert answer["answer"]["thought"] == thought[field]
    assert answer["answer"]["thought_tokens"] == 80
    server.behaviour = lambda request, number: Reply(
        "", tokens=90, message=thought, finish_reason="length", details={"reasoning_tokens": 90}
    )
    assert generate("general.yaml", "--refresh", "--overwrite") == 2
    assert "is empty (90 of its 90 tokens were spent on thought)" in complaint(capsys)


# Every form a reply takes: what was paid for is kept

CALL = {"tool_calls": [{"type": "function", "function": {"name": "tell", "arguments": '["{} at dawn"]'}}]}
TWO = {"message": {"content": '{"templates": ["a"]}'}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(None, message=CALL), "with a call of the tool 'tell' and no text"),
        (Reply(None, message={"function_call": {"name": "old"}}), "with a call of the tool 'old' and no text"),
        (Reply([{"type": "image_url", "image_url": {}}]), "with 'image_url' and no text"),
        (Reply(None, message={"audio": {"id": "a"}}), "with 'audio' and no text"),
        (Reply([{"type": "refusal", "refusal": "No."}]), "declined the question: 'No.'"),
        (Reply(None, refusal="No."), "declined the question: 'No.'"),
        (Reply(None, message={"reasoning_content": "1. on a draft"}), "is empty (the model only thought)"),
        (Reply([{"type": "thinking", "thinking": [{"type": "text", "text": "1. a"}]}]), "is empty (the model only"),
        (Reply(body={"choices": [TWO, TWO]}), "with 2 texts where one was asked for"),
        (Reply(body={"choices": [{"text": "1. a"}]}), "sent no completion for the question"),
        (Reply(body={"error": {"message": "quota"}}), "answered the question with an error and status 200: 'quota'"),
        (Reply(body={"error": "quota", "choices": []}), "with an error and status 200: 'quota'"),
        (Reply({"templates": ["{} at dawn"]}), "with 'an object with templates' and no text"),
        (Reply(5), "with 'int' and no text"),
        (Reply(body=b'{"choices": [{"mess'), "sent no readable completion for the question"),
        (Reply(body=b'data: {"choices": []}\n\n', content_type="text/event-stream"), "sent no completion"),
        (Reply(body=b'{"choices": [], "n": ' + b"9" * 5000 + b"}"), "sent no completion for the question"),
        (Reply(body=b"[" * 3000), "sent no readable completion for the question: 'it is nested too deeply'"),
        (Reply("I'd rather not."), "is neither JSON nor a list"),
    ],
)
def test_a_reply_that_holds_no_text_is_named_and_kept_raw(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], reply: Reply, told: str
) -> None:
    server.behaviour = lambda request, number: reply
    assert generate() == 2
    said = complaint(capsys)
    assert told in said
    assert "; it is kept in prompts/cache/mine/" in said
    (file,) = kept(rejected=True)
    assert file["answer"]["reply"] == reply.bytes().decode()
    assert not POOL.exists()


def test_no_paid_reply_replaces_another(generate: Generate, server: ChatServer) -> None:
    server.behaviour = lambda request, number: Reply(f"No {number}.")
    assert generate() == 2
    assert generate() == 2
    assert [file["answer"]["text"] for file in kept(rejected=True)] == ["No 2.", "No 1."]


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": '{"templates": ["{} at dawn"]}'}],
        [{"type": "thinking", "thinking": "1. on a draft"}, {"type": "text", "text": '{"templates": ["{} at dawn"]}'}],
        [{"type": "text", "text": '{"templates": '}, {"type": "output_text", "text": '["{} at dawn"]}'}],
        ['{"templates": ["{} at dawn"]}'],
        {"type": "text", "text": '{"templates": ["{} at dawn"]}'},
    ],
)
def test_content_may_be_a_list_of_parts(generate: Generate, server: ChatServer, content: Any) -> None:
    server.behaviour = lambda request, number: Reply(content)
    assert generate() == 0
    assert load_pool(POOL).templates == ("{} at dawn",)


def test_numbers_of_thousands_of_digits_in_a_reply(generate: Generate, server: ChatServer) -> None:
    body = phrases("at dawn").bytes().replace(b'"completion_tokens": 5', b'"completion_tokens": ' + b"9" * 5000)
    server.behaviour = lambda request, number: Reply(body=body)
    assert generate() == 0
    assert kept()[0]["answer"]["completion_tokens"] == 0


# Waiting


def test_tries_and_waits_are_told_and_their_number_is_true(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply("{}", delay=0.3)
    assert generate("general.yaml", "--timeout", "0.1", "--retries", "2", "--max-wait", "0.05") == 2
    assert len(server.requests) == 3
    *doing, said = capsys.readouterr().err.strip().splitlines()
    assert "gave no answer to the question within 0.1 s (3 requests); raise --timeout." in said
    again = [line for line in doing if line.startswith("Asking again in 0.05 s, try ")]
    assert [re.findall(r"try (\d of \d)", line)[0] for line in again] == ["2 of 3", "3 of 3"]


@pytest.mark.parametrize(("header", "status"), [({"Retry-After": "100"}, 429), ({"Retry-After-Ms": "100000"}, 503)])
def test_a_server_cannot_make_us_wait_longer_than_the_bound(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], header: dict[str, str], status: int
) -> None:
    fault = Reply(status=status, body=BROKEN, headers=header)
    server.behaviour = lambda request, number: fault
    start = time.monotonic()
    assert generate("general.yaml", "--retries", "1", "--max-wait", "0.2") == 2
    assert 0.2 <= time.monotonic() - start < 20
    assert "Asking again in 0.2 s (the server asks for 100 s), try 2 of 2, for " in capsys.readouterr().err


def test_what_servers_ask_to_wait_for() -> None:
    assert asked_wait({"retry-after": "7"}) == 7
    assert asked_wait({"retry-after": "Fri, 01 Jan 2100 00:00:00 GMT"}) > 1e8  # type: ignore[operator]
    for nonsense in ("", "soon", "-1", "nan", "inf", "9" * 400, "Fri, 01 Jan 2000 00:00:00 GMT"):
        assert asked_wait({"retry-after": nonsense}) is None
    assert seconds_to_wait(1000, {}, 60.0) <= 8
    assert seconds_to_wait(1, {"retry-after": "100"}, 3.0) == 3


def test_a_host_that_never_lets_us_in_is_given_up_soon(generate: Generate, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as held:
        deaf = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # fill the queue of connections that nobody accepts
            caller = held.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        time.sleep(0.1)
        start = time.monotonic()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        assert generate("general.yaml", "--base-url", url, "--connect-timeout", "0.3", "--timeout", "60") == 2
        assert time.monotonic() - start < 20
    assert "can't be reached within 0.3 s; check --base-url or raise --connect-timeout." in complaint(capsys)


def test_https_to_a_plain_server_suggests_http(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    url = server.url.replace("http", "https")
    assert generate("general.yaml", "--base-url", url, "--retries", "4") == 2
    said = capsys.readouterr().err
    assert f"the server may speak plain http: try --base-url {server.url}." in said
    assert "Asking again" not in said


# Hints


@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_unknown_model_is_answered_with_those_there_are(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    server.behaviour = lambda request, number: Reply(status=status, body=b"Internal Server Error")
    server.models = {"data": [{"id": "llama-3"}, {"id": "qwen\x1b[2J"}]}
    assert generate("general.yaml", "--model", "lama-3", "--retries", "4") == 2
    said = capsys.readouterr().err
    assert "Asking again" not in said
    assert r"its models are llama-3, qwen\x1b[2J (not llama-3): give one as --model." in said
    assert "\x1b" not in said


@pytest.mark.parametrize("models", [None, {}, [], "no", {"data": None}, {"data": [1, {"x": 2}]}, b"<html>", b"{"])
def test_a_list_of_models_may_be_missing_empty_or_odd(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], models: Any
) -> None:
    server.behaviour = lambda request, number: Reply(status=404, body={"detail": "Not Found"})
    server.models = models
    assert generate() == 2
    assert "answered 404 when asked for the model 'gpt-4o-mini': Not Found; check --model and" in complaint(capsys)


@pytest.mark.parametrize("words", ["No connected db.", "API key not valid. Please pass a valid API key."])
def test_a_wrong_key_under_another_status(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    server.behaviour = lambda request, number: Reply(status=400, body={"error": {"message": words}})
    assert generate() == 2
    assert f": {words.rstrip('.')}; check the key in OPENAI_API_KEY, which this may mean." in complaint(capsys)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "all_proxy"])
def test_a_dead_proxy_is_named(
    generate: Generate,
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv(name, f"http://me:secret@127.0.0.1:{free.getsockname()[1]}")
    assert generate() == 2
    said = complaint(capsys)
    assert f"it is asked through the proxy {name}=http://127.0.0.1:" in said
    assert "unset that variable, or add 127.0.0.1:" in said
    assert "secret" not in said
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert generate() == 0


@pytest.mark.parametrize("proxy", ["ftp://nowhere", "socks5://127.0.0.1:9"])
def test_a_proxy_that_cannot_be_used_is_one_sentence(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    assert generate() == 2
    assert re.search("proxy", complaint(capsys))


# Control characters


def test_what_a_server_says_does_not_steer_the_terminal(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    steer = "\x1b]0;title\x07\x1b[2J\u202e"
    body = {"error": {"message": steer}}
    faults = [
        *[Reply(status=status, body=body) for status in (400, 401, 404, 429, 500)],
        Reply(steer), Reply(None, refusal=steer), Reply(body=body), Reply(body=steer.encode()),
        Reply('{"templates": ["at d', finish_reason=steer),
        Reply(None, message={"tool_calls": [{"function": {"name": steer}}]}),
        Reply(json.dumps({"templates": ["{} at dawn", f"{{}} on a {steer} lake"]}), model=steer),
    ]  # fmt: skip
    for fault in faults:
        server.behaviour = lambda request, number, fault=fault: fault  # type: ignore[misc]
        generate("general.yaml", "--overwrite")
        told = capsys.readouterr()
        assert not set(steer) & {"\x1b", "\x07", "\u202e"} & set(told.out + told.err)
    assert load_pool(POOL).templates == ("{} at dawn",)
    assert not {"\x1b", "\x07", "\u202e"} & set(POOL.read_text())
