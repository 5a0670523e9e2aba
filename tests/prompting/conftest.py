"""A server, a key, a folder of one's own, and `starft prompts generate` as a person calls it."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import KEY, ChatServer, Generate

from starft.__main__ import main

QUERY = """\
name: mine
description: Things.
kind: {kind}
count: 5
messages:
  - role: user
    content: 'Answer in JSON, with {{}} in each: with what does "{{class_name}}" appear?'
{more}
"""
GENERAL = QUERY.format(kind="general", more="").replace('does "{class_name}"', "do things")
PER_CLASS = QUERY.format(kind="per_class", more="fallback: ['{} where it is']")


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, URL or proxy of the machine reaches a test, and relative paths lie in a folder of its own."""
    for name in list(os.environ):
        if name.upper().startswith("OPENAI_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("STARFT_DEBUG", raising=False)
    # Each client reads the authorities of the world's certificates, a third of a command's time; no test needs them.
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **options: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general.yaml").write_text(GENERAL)
    (tmp_path / "per_class.yaml").write_text(PER_CLASS)
    (tmp_path / "classes.yaml").write_text("class_names: [duck, owl, robin, crow]\n")


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with ChatServer() as running:
        yield running


@pytest.fixture
def generate(server: ChatServer) -> Generate:
    """Return a caller of the command against the server; retries are off unless given."""

    def call(query: str = "general.yaml", *words: str) -> int:
        given = " ".join(words)
        more = [] if "--retries" in given else ["--retries", "0"]
        more += [] if "--base-url" in given else ["--base-url", server.url]
        more += [] if "--model" in given else ["--model", "gpt-4o-mini"]
        if query == "per_class.yaml" and "--data" not in given:
            more += ["--data", "classes.yaml"]
        return main(["prompts", "generate", query, *more, *words])

    return call
