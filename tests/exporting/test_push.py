"""Sending an export to the hub: tokens are never shown or saved."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from starft.__main__ import main
from starft.exporting import hub

SECRET = "hf_verysecrettoken0123456789"


def test_an_export_is_sent_whole(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, Any]] = []

    class Api:
        def __init__(self, endpoint: str) -> None:
            calls.append(("endpoint", endpoint))

        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            calls.append(("create", (name, private, exist_ok)))

        def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> None:
            calls.append(("upload", (repo_id, sorted(path.name for path in Path(folder_path).iterdir()))))

    monkeypatch.setattr(hub, "HfApi", Api)
    words = [
        "export",
        str(checkpoint),
        f"--to={tmp_path / 'out'}",
        "--format=head",
        "--push-to-hub=me/birds",
        "--private",
    ]
    assert main(words) == 0
    assert calls[1:] == [
        ("create", ("me/birds", True, True)),
        ("upload", ("me/birds", ["README.md", "SHA256SUMS", "head.safetensors", "starft.json"])),
    ]
    assert f"Sent to {constants.ENDPOINT}/me/birds\n" in capsys.readouterr().out
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "# me/birds\n" in text
    assert 'folder = snapshot_download("me/birds")' in text


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str]]]:
    """A hub that answers 401 to everything, with the headers in its answer; yields its address and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.append(self.headers.get("Authorization", ""))
            body = json.dumps({"error": f"bad token {self.headers.get('Authorization')}"}).encode()
            self.send_response(401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_hub_that_refuses_is_told_without_the_token(
    refusing: tuple[str, list[str]],
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address, told = refusing
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    out = tmp_path / "out"
    assert main(["export", str(checkpoint), f"--to={out}", "--format=head", "--push-to-hub=me/birds"]) == 2
    assert told[:1] == [f"Bearer {SECRET}"], "the client's own token goes to the hub"
    said = capsys.readouterr()
    assert f"starft: {out} is written, but the hub didn't take it as me/birds (" in said.err
    assert "status 401" in said.err
    assert said.err.count("\n") == 1
    assert SECRET not in said.err + said.out
    assert all(SECRET.encode() not in path.read_bytes() for path in out.iterdir())


@pytest.mark.parametrize("name", ["birds", "a/b/c", "", "a b/c"])
def test_a_name_that_can_t_be_is_told_first(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(checkpoint), f"--to={tmp_path / 'out'}", f"--push-to-hub={name}"]) == 2
    assert capsys.readouterr().err == f"starft: --push-to-hub takes ORG/NAME, such as me/birds; got {name!r}.\n"
    assert not (tmp_path / "out").exists()
