"""The prompt stage against real servers: llama.cpp's own and transformers', each with a tiny random model.

`make test-servers` runs it: it needs an environment of its own, named by STARFT_SERVERS. A random model writes no
sensible phrases; what is tested is what passes between us and the server. Where a server can't be installed, its tests
are skipped and say so.
"""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from starft.__main__ import main
from starft.prompting.completion import begins_in_form

HERE = Path(__file__).parent
PYTHON = os.environ.get("STARFT_SERVERS", "")
CONTEXT = 4096
QUERY = """\
name: mine
description: Things.
kind: general
count: 2
messages:
  - {role: user, content: 'List {count} places, each as a template with {} in it. Answer in JSON.'}
parameters: {max_tokens: 60, temperature: 0.0}
"""


def needs(module: str) -> None:
    """Skip what a server's package is missing for, and say so."""
    if not PYTHON:
        pytest.skip("STARFT_SERVERS names no Python; run `make test-servers`")
    done = subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"{module} isn't installed in {PYTHON}: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    needs("xllamacpp, gguf")
    command = [PYTHON, str(HERE / "llama_server.py"), str(tmp_path_factory.mktemp("llama")), str(CONTEXT)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        log = []
        for line in process.stdout:
            log.append(line)
            if line.startswith("ADDRESS "):
                break
        else:
            pytest.fail(f"the server ended: {''.join(log)}")
        yield log[-1].split()[1] + "/v1"
        process.kill()


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    needs("transformers, fastapi, uvicorn, accelerate")
    folder = tmp_path_factory.mktemp("transformers") / "tiny-random"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [PYTHON, str(HERE / "tiny_chat_model.py"), str(folder), str(CONTEXT)], check=True, timeout=300, env=environment
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [PYTHON, "-c", code, "serve", str(folder), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(command, env=environment) as process:
        for _ in range(240):
            assert process.poll() is None, "the server ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1 {folder}"
        process.kill()


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("OPENAI_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(QUERY)


def generate(url: str, model: str, *words: str) -> int:
    asked = ["prompts", "generate", "mine.yaml", "--base-url", url, "--model", model, "--retries", "1"]
    return main([*asked, "--clip-model", "starft-mini", "--overwrite", *words])


def kept() -> list[dict[str, Any]]:
    return [json.loads(path.read_text())["answer"] for path in sorted(Path("prompts/cache/mine").glob("*.json"))]


def verdicts(out: str) -> dict[str, str]:
    return dict(re.findall(r"^\s*(json_schema|json_object|text)\s+(\w+)", out, re.MULTILINE))


def test_llama_constrains_both_forms(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "server", "--base-url", llama]) == 0
    out = capsys.readouterr().out
    print(out)
    assert verdicts(out) == {"json_schema": "constrained", "json_object": "constrained", "text": "answered"}
    assert "tiny-random" in out
    assert "The server tells the tokens that are used." in out


def test_llama_answers_in_the_form_and_every_answer_is_kept(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    generate(llama, "tiny-random")
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    (answer,) = kept()
    assert answer["asked_form"] == "json_schema"
    assert begins_in_form(answer["text"], "json_schema")
    assert answer["completion_tokens"] > 0
    assert "tiny-random" in answer["served_model"]


def test_llama_with_a_full_context_says_so(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(llama, "tiny-random", "--form", "text", "--parameters", '{"max_tokens": 20000}') == 2
    said = capsys.readouterr().err
    (answer,) = kept()
    if answer["finish_reason"] == "length":  # a random model may stop before
        assert "the model's context is full" in said


def test_transformers_ignores_a_schema_and_that_is_noted(transformers: str, capsys: pytest.CaptureFixture[str]) -> None:
    url, folder = transformers.split()
    assert main(["prompts", "server", "--base-url", url, "--model", folder, "--timeout", "120"]) == 0
    out = capsys.readouterr().out
    print(out)
    assert verdicts(out)["text"] == "answered"
    assert verdicts(out)["json_schema"] in ("ignored", "refused")


def test_transformers_answers_and_every_answer_is_kept(transformers: str, capsys: pytest.CaptureFixture[str]) -> None:
    url, folder = transformers.split()
    generate(url, folder, "--timeout", "120")
    assert "Traceback" not in capsys.readouterr().err
    assert kept()


def test_transformers_has_no_such_model(transformers: str, capsys: pytest.CaptureFixture[str]) -> None:
    url, _ = transformers.split()
    assert generate(url, "no-such-model", "--timeout", "120") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    print(said)
    assert said.startswith("starft: ")


def test_nobody_listens_over_https(llama: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(llama.replace("http:", "https:"), "tiny-random") == 2
    assert f"the server may speak plain http: try --base-url {llama}." in capsys.readouterr().err
