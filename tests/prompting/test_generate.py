"""`starft prompts generate` over real HTTP: what is sent, what is written, and what is asked again."""

import json
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chat_server import KEY, ChatServer, Generate, Reply, by_class, phrases

from starft.__main__ import main
from starft.captions.pool_files import load_pool
from starft.prompting.query import SCHEMA

POOL = Path("prompts/pools/mine.json")
CACHE = Path("prompts/cache/mine")


def answers() -> list[Path]:
    return sorted(path for path in CACHE.glob("*.json") if not path.name.endswith(".rejected.json"))


def test_one_request_makes_a_pool(generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate() == 0
    pool = load_pool(POOL)
    assert pool.templates == ("{} at dawn", "{} in the forest", "{} on a lake")
    assert pool.provenance["source"] == "llm"
    assert pool.provenance["model"] == "gpt-4o-mini"
    assert pool.provenance["query"] == "general.yaml"
    assert pool.provenance["created"] == "2025-10-09T00:00:00Z"
    assert pool.provenance["dropped"] == []
    out = capsys.readouterr().out
    assert "1 of 1 question answered: 10 tokens in, 5 tokens out." in out
    assert "Wrote prompts/pools/mine.json: 3 templates from 3 of the 5 asked for; 0 dropped.\n" in out
    assert "shipped" not in out


def test_a_pool_with_the_name_of_a_shipped_one_is_told_apart(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: phrases("in the forest", "{} and {}")
    assert generate("backgrounds") == 0
    out = capsys.readouterr().out
    assert (
        "Wrote prompts/pools/backgrounds.json: 1 template from 2 of the 60 asked for; "
        "1 dropped: 1 makes no template, listed in its provenance.\n"
    ) in out
    mine = "prompts/pools/backgrounds.json"
    assert f"Run from here, model.pool: backgrounds means {mine}, not the shipped pool." in out
    assert load_pool("backgrounds") == load_pool(mine)
    assert main(["prompts", "check", "backgrounds"]) == 0
    assert f"{mine} is in order: 1 template." in capsys.readouterr().out
    assert generate("backgrounds", "--out", "backgrounds.json") == 0
    out = capsys.readouterr().out
    assert "means the shipped pool; for this one give backgrounds.json." in out
    assert "answered" not in out, "the answer was there"


def test_the_result_line_counts_what_came_and_what_was_dropped(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    many = ["in room 1", "in room 2", "in room 3", "in room 4", "in room 5", "in room 6", "in room 7", "in room 8"]
    server.behaviour = lambda request, number: phrases("beside a duck", "near owls", *many, "in the room 1", "{}")
    assert generate("general.yaml", "--data", "classes.yaml") == 0
    told = "5 templates from 12, 5 asked for; 7 dropped: 3 beyond the number asked for, 2 name a class, "
    out = capsys.readouterr().out
    assert f"{told}1 makes no template, 1 repeats another, listed in its provenance." in out
    assert generate("per_class.yaml", "--overwrite") == 0
    out = capsys.readouterr().out
    assert "4 of 4 questions answered: 40 tokens in, 20 tokens out." in out
    assert "1 template for all classes, 20 for single ones from 48, 20 asked for; 28 dropped: " in out


def test_what_it_does_is_said_on_stderr(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("per_class.yaml") == 0
    err = capsys.readouterr().err
    assert err.endswith(f"\nAsking 4 questions of gpt-4o-mini at {server.url}/ ...\n")
    answers()[0].unlink()
    assert generate("per_class.yaml", "--overwrite") == 0
    told = capsys.readouterr()
    assert "\nAsking 1 question of gpt-4o-mini" in told.err
    assert "1 of 1 question answered: 10 tokens in, 5 tokens out; 3 more from prompts/cache/mine." in told.out
    assert generate("per_class.yaml", "--overwrite") == 0
    told = capsys.readouterr()
    assert "Asking" not in told.err
    assert "answered" not in told.out


def test_a_clock_that_is_not_set_is_not_believed(generate: Generate, server: ChatServer) -> None:
    body = json.loads(phrases("at dawn").bytes())
    server.behaviour = lambda request, number: Reply(body=body | {"created": 1})
    before = datetime.now(UTC)
    assert generate() == 0
    days = {moment.strftime("%Y-%m-%dT00:00:00Z") for moment in (before, datetime.now(UTC))}
    assert load_pool(POOL).provenance["created"] in days


def test_what_is_sent(generate: Generate, server: ChatServer) -> None:
    assert generate("per_class.yaml", "--model", "some-model", "--parameters", '{"temperature": 0.5, "top_k": 3}') == 0
    assert server.paths == ["/v1/chat/completions"] * 4
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    first = min(server.requests, key=lambda request: request["messages"][0]["content"])
    assert first == {
        "model": "some-model",
        "messages": [{"role": "user", "content": 'Answer in JSON, with {} in each: with what does "crow" appear?'}],
        "temperature": 0.5,
        "top_k": 3,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "templates", "strict": True, "schema": SCHEMA},
        },
    }


def test_azure_gets_its_own_key_over_its_v1_url(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    look_up = socket.getaddrinfo

    def everything_is_here(host: Any, *more: Any, **options: Any) -> Any:
        return look_up("127.0.0.1", *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", everything_is_here)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-123456789")
    url = server.url.replace("127.0.0.1", "me.openai.azure.com").replace("/v1", "/openai/v1")
    assert generate("general.yaml", "--base-url", url, "--model", "my-deployment") == 0
    assert server.paths == ["/openai/v1/chat/completions"]
    assert server.requests[0]["model"] == "my-deployment"
    assert server.headers[0]["authorization"] == "Bearer azure-key-123456789"
    server.behaviour = lambda request, number: Reply(status=401, body={"error": {"message": "no"}})
    assert generate("general.yaml", "--base-url", url, "--model", "other", "--overwrite") == 2
    said = capsys.readouterr().err
    assert "doesn't take the key in AZURE_OPENAI_API_KEY: no; set AZURE_OPENAI_API_KEY to a valid key of this" in said
    assert generate("general.yaml", "--model", "a third", "--overwrite") == 2
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}", "no other host gets the Azure key"


def test_a_server_that_refuses_schemas_is_asked_in_json_mode_then_in_plain_text(
    generate: Generate, server: ChatServer
) -> None:
    def only(*kinds: str | None) -> Any:
        def reply(request: dict[str, Any], number: int) -> Reply:
            kind = request.get("response_format", {}).get("type")
            if kind in kinds:
                plain = Reply("Sure!\n1. {} in the forest\n2) {} on a lake\n- {} at dawn")
                return plain if kind is None else by_class(request, 0)
            return Reply(status=400, body={"error": {"message": f"response_format {kind} is not supported"}})

        return reply

    server.behaviour = only("json_object", None)
    assert generate("general.yaml", "--out", "a.json") == 0
    assert [request["response_format"]["type"] for request in server.requests] == ["json_schema", "json_object"]
    server.behaviour, server.requests = only(None), []
    assert generate("general.yaml", "--out", "b.json", "--refresh") == 0
    assert len(server.requests) == 3
    assert load_pool("a.json").templates == load_pool("b.json").templates
    server.requests = []
    assert generate("per_class.yaml", "--concurrency", "1") == 0
    assert len(server.requests) == 2 + 4, "a refused mode isn't tried again"


def test_requests_run_concurrently_up_to_the_limit(generate: Generate, server: ChatServer) -> None:
    Path("classes.yaml").write_text(json.dumps({"class_names": [f"thing{index}" for index in range(24)]}))
    server.behaviour = lambda request, number: Reply(by_class(request, number).content, delay=0.05)
    assert generate("per_class.yaml", "--concurrency", "6") == 0
    assert server.most_at_once == 6
    assert len(server.requests) == 24


def test_every_answer_is_cached_with_raw_text_and_usage(generate: Generate) -> None:
    assert generate() == 0
    (path,) = answers()
    held = json.loads(path.read_text())
    assert json.loads(held["answer"]["text"]) == {"templates": ["{} in the forest", "{} on a lake", "{} at dawn"]}
    assert held["answer"]["prompt_tokens"] == 10
    assert held["answer"]["completion_tokens"] == 5
    assert held["question"]["model"] == "gpt-4o-mini"
    assert held["question"]["schema"] == SCHEMA
    assert path.stem not in path.read_text(), "the key is the file's name"


def test_a_second_run_asks_nothing_and_writes_the_same_bytes(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert generate("per_class.yaml") == 0
    first = POOL.read_bytes()
    monkeypatch.delenv("OPENAI_API_KEY")
    assert generate("per_class.yaml", "--overwrite") == 0
    assert len(server.requests) == 4
    assert POOL.read_bytes() == first


@pytest.mark.parametrize(
    "words",
    [["--model", "other"], ["--parameters", '{"temperature": 1}'], ["--parameters", '{"seed": 1}']],
)
def test_other_model_or_parameters_are_another_question(
    generate: Generate, server: ChatServer, words: list[str]
) -> None:
    assert generate() == 0
    assert generate("general.yaml", "--overwrite", *words) == 0
    assert len(server.requests) == 2
    assert len(answers()) == 2


def test_only_what_is_missing_is_asked(generate: Generate, server: ChatServer) -> None:
    assert generate("per_class.yaml") == 0
    first = POOL.read_bytes()
    answers()[2].unlink()
    answers()[0].write_text("{ half")
    assert generate("per_class.yaml", "--overwrite") == 0
    assert len(server.requests) == 6
    assert POOL.read_bytes() == first


def test_offline_opens_no_socket(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("per_class.yaml") == 0
    first = POOL.read_bytes()

    def no_socket(*args: Any, **options: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    monkeypatch.delenv("OPENAI_API_KEY")
    assert generate("per_class.yaml", "--offline", "--overwrite") == 0
    assert POOL.read_bytes() == first
    answers()[0].unlink()
    answers()[0].unlink()
    assert generate("per_class.yaml", "--offline", "--overwrite") == 2
    said = capsys.readouterr().err
    assert "Offline, 2 of 4 answers of gpt-4o-mini are missing from prompts/cache/mine: '" in said
    assert sum(f"'{name}'" in said for name in ("duck", "owl", "robin", "crow")) == 2
    assert POOL.read_bytes() == first


def test_refresh_asks_again_and_keeps_the_old_until_the_new_is_in(generate: Generate, server: ChatServer) -> None:
    assert generate() == 0
    old = answers()[0].read_bytes()
    server.behaviour = lambda request, number: Reply(status=500, body={"error": {"message": "out of order"}})
    assert generate("general.yaml", "--refresh", "--overwrite") == 2
    assert answers()[0].read_bytes() == old
    assert generate("general.yaml", "--overwrite") == 0, "the old answer still serves"
    server.behaviour = lambda request, number: phrases("in the snow")
    assert generate("general.yaml", "--refresh", "--overwrite") == 0
    assert load_pool(POOL).templates == ("{} in the snow",)
    assert len(answers()) == 1


def test_two_runs_at_once_ask_each_question_once(generate: Generate, server: ChatServer) -> None:
    server.behaviour = lambda request, number: Reply(by_class(request, number).content, delay=0.05)
    status: dict[str, int] = {}

    def go(out: str) -> None:
        status[out] = generate("per_class.yaml", "--out", out)

    threads = [threading.Thread(target=go, args=(out,)) for out in ("a.json", "b.json")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert status == {"a.json": 0, "b.json": 0}
    assert len(server.requests) == 4
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()


def test_dry_run_prints_the_messages_and_asks_nothing(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert generate("per_class.yaml", "--dry-run") == 0
    out = capsys.readouterr().out
    for name in ("duck", "owl", "robin", "crow"):
        assert f'Answer in JSON, with {{}} in each: with what does "{name}" appear?' in out
    assert out.endswith("4 requests; 0 answers in prompts/cache/mine already.\n")
    assert server.requests == []
    assert not Path("prompts").exists()


def test_dry_run_prints_what_is_then_sent(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("per_class", "--data", "classes.yaml")
    assert generate(*words, "--dry-run") == 0
    out = capsys.readouterr().out
    assert generate(*words) == 0
    assert len(server.requests) == 4
    for request in server.requests:
        for message in request["messages"]:
            assert f"{message['role']}:\n{message['content']}\n" in out


def test_the_class_names_come_from_the_data_of_a_training_config(generate: Generate, server: ChatServer) -> None:
    Path("config.yaml").write_text(
        "seed_everything: 3\nmodel: {model_name: starft-mini, pretrained: null}\n"
        "data: {class_path: starft.mini.MiniWorld, init_args: {train_size: 24}}\n"
    )
    assert generate("per_class.yaml", "--data", "config.yaml") == 0
    pool = load_pool(POOL)
    assert len(server.requests) == 12
    assert {"duck", "woodpecker"} <= set(pool.per_class)
    assert pool.provenance["clip_model"] == "starft-mini"
    assert pool.templates == ("{} where it is",)


def test_phrases_that_name_a_class_or_do_not_fit_the_model_are_dropped_with_their_reasons(
    generate: Generate, server: ChatServer
) -> None:
    long = "in " + "very " * 9 + "old houses"
    Path("classes.yaml").write_text(
        "class_names: [duck, 'night owl']\nmodel: {model_name: starft-mini}\n",
    )
    server.behaviour = lambda request, number: phrases("among ducks", "beside a Night Owl", "at night", long)
    assert generate("general.yaml", "--data", "classes.yaml") == 0
    pool = load_pool(POOL)
    assert pool.templates == ("{} at night", f"{{}} {long}")
    assert pool.provenance["dropped"] == [
        {"text": "{} among ducks", "reason": "names the class 'duck'"},
        {"text": "{} beside a Night Owl", "reason": "names the class 'night owl'"},
    ]
    Path("classes.yaml").write_text(
        f"class_names: [duck, '{'woodpecker ' * 8}']\nmodel: {{model_name: starft-mini}}\n",
    )
    assert generate("general.yaml", "--data", "classes.yaml", "--overwrite") == 0
    reasons = {drop["text"]: drop["reason"] for drop in load_pool(POOL).provenance["dropped"]}
    assert reasons[f"{{}} {long}"] == "is too long for the model's context with the longest class name"


def test_an_existing_pool_is_refused_before_anything_is_asked(
    generate: Generate, server: ChatServer, capsys: pytest.CaptureFixture[str]
) -> None:
    POOL.parent.mkdir(parents=True)
    POOL.write_text("mine")
    assert generate() == 2
    assert "prompts/pools/mine.json exists already; give another --out, or --overwrite to" in capsys.readouterr().err
    assert POOL.read_text() == "mine"
    assert server.requests == []
    assert generate("general.yaml", "--overwrite") == 0
    assert load_pool(POOL).name == "mine"


def test_offline_and_refresh_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "generate", "general.yaml", "--offline", "--refresh"]) == 2
    assert "--offline and --refresh exclude each other" in capsys.readouterr().err


def test_without_openai_one_sentence_says_how_to_install_it(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "starft.prompting.client", raising=False)
    assert generate() == 2
    said = capsys.readouterr().err
    assert said == "starft: Asking a language model needs the openai package; run `pip install 'starft[llm]'`.\n"
    assert generate("general.yaml", "--dry-run") == 0, "what asks nothing needs no client"
