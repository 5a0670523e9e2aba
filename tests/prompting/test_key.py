"""The key is in the environment and in the request's header, and nowhere else."""

import logging
import traceback
from pathlib import Path

import pytest
from chat_server import KEY, ChatServer, Generate, Reply, files_with_key, holds_key, phrases

from starft.captions.pool_files import load_pool
from starft.errors import PromptError

ECHO = {"error": {"message": f"Incorrect API key provided: {KEY}"}}


FAULTS = {
    "401": Reply(status=401, body=ECHO),
    "400": Reply(status=400, body=ECHO),
    "404": Reply(status=404, body=ECHO),
    "429": Reply(status=429, body=ECHO),
    "500": Reply(status=500, body=ECHO),
    "text": Reply(body=f"your key is {KEY}".encode(), content_type="text/plain"),
    "broken": Reply(body=f'{{"choices": "{KEY}'.encode()),
    "refusal": Reply(None, refusal=f"I know your key {KEY}"),
    "prose": Reply(f"your key is {KEY}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_server_that_echoes_the_key(
    generate: Generate,
    server: ChatServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    fault: Reply,
    debug: bool,
) -> None:
    server.behaviour = lambda request, number: fault
    caplog.set_level(logging.DEBUG)
    told = ""
    if debug:
        monkeypatch.setenv("STARFT_DEBUG", "1")
        with pytest.raises(PromptError) as caught:
            generate()
        told = "".join(traceback.format_exception(caught.value))
        assert "Traceback" in told
    else:
        assert generate() == 2
    out = capsys.readouterr()
    assert server.headers[0]["authorization"] == f"Bearer {KEY}", "it was sent"
    for text in (out.out, out.err, caplog.text, told):
        assert not holds_key(text.encode())
    assert files_with_key(tmp_path) == []


def test_a_model_that_echoes_the_key_in_its_phrases(generate: Generate, server: ChatServer, tmp_path: Path) -> None:
    server.behaviour = lambda request, number: phrases(f"next to {KEY}", "at dawn")
    assert generate() == 0
    assert load_pool("prompts/pools/mine.json").templates == ("{} at dawn",)
    assert files_with_key(tmp_path) == []


def test_the_search_finds_a_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text(f"Bearer {KEY}")
    assert files_with_key(tmp_path) == [tmp_path / "file"]


def test_a_key_that_cannot_be_a_header_is_not_shown(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY[:20] + "\n" + KEY[20:])
    assert generate() == 2
    said = capsys.readouterr().err
    assert "OPENAI_API_KEY holds characters that a key can't have; set it again." in said
    assert not holds_key(said.encode())


def test_a_newline_behind_the_key_does_no_harm(
    generate: Generate, server: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY + "\n")
    assert generate() == 0
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_password_in_the_url_is_not_shown(
    generate: Generate, server: ChatServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.behaviour = lambda request, number: Reply(status=500, body={"error": {"message": "no"}})
    assert generate("general.yaml", "--base-url", server.url.replace("//", f"//me:{KEY}@")) == 2
    assert not holds_key(capsys.readouterr().err.encode())
    assert files_with_key(tmp_path) == []
