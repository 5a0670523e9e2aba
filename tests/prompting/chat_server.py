"""A small local server that speaks chat completions over real HTTP, and can misbehave in every way we know of."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

KEY = "sk-test-0123456789-abcdefghij"
"""The key that tests search for."""


def key_forms(key: str) -> list[bytes]:
    """Return the key, and what parts or encodings of it would give it away."""
    return [key.encode(), key[3:].encode(), base64.b64encode(key.encode()), key[:20].encode()]


def holds_key(content: bytes, key: str = KEY) -> bool:
    return any(form in content for form in key_forms(key))


def files_with_key(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and holds_key(path.read_bytes())]


Generate = Callable[..., int]
"""Calls `starft prompts generate QUERY` with more words, returns its exit status."""

CREATED = 1_760_000_000
"""The server's clock: 2025-10-09."""


@dataclass
class Reply:
    """What one request gets.

    Args:
        content: Of the completion, a text as a rule; null where ``body`` says it all.
        status: HTTP status.
        body: Sent as it is instead of a completion.
        headers: Beside the usual ones.
        delay: Seconds to wait first.
        drop: Close the connection in the middle of the body.
        finish_reason: Of the completion.
        refusal: Of the completion.
        usage: Whether tokens are told.
        content_type: Of the body.
        tokens: Written, as the usage tells.
        message: Of the completion, beside role and content.
        model: The name of the model that served, as the completion tells.
        details: Of the tokens written, as the usage tells.
    """

    content: Any = None
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: bool = True
    content_type: str = "application/json"
    tokens: int = 5
    message: dict[str, Any] = field(default_factory=dict)
    model: str = "served-model"
    details: dict[str, Any] = field(default_factory=dict)

    def bytes(self) -> bytes:
        if self.body is not None:
            return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        message = {"role": "assistant", "content": self.content, "refusal": self.refusal, **self.message}
        completion: dict[str, Any] = {
            "id": "chat-1", "object": "chat.completion", "created": CREATED, "model": self.model,
            "choices": [{"index": 0, "finish_reason": self.finish_reason, "message": message}],
        }  # fmt: skip
        if self.usage:
            usage = {"prompt_tokens": 10, "completion_tokens": self.tokens, "total_tokens": 10 + self.tokens}
            completion["usage"] = usage | {"completion_tokens_details": self.details}
        return json.dumps(completion).encode()


Behaviour = Callable[[dict[str, Any], int], Reply]


def phrases(*texts: str) -> Reply:
    """Return an answer with a template for each phrase; texts with a brace stay as they are."""
    return Reply(json.dumps({"templates": [text if "{" in text else f"{{}} {text}" for text in texts]}))


def asked_class(request: dict[str, Any]) -> str | None:
    """Return the class that a request of the shipped per_class query, or of the tests' own, is about."""
    found = re.search(r'"([^"]+)" (?:usually )?appear', request["messages"][-1]["content"])
    return found[1] if found else None


def by_class(request: dict[str, Any], number: int) -> Reply:
    """Answer with phrases that depend on the class and on nothing else."""
    name = asked_class(request)
    if name is None:
        return phrases("in the forest", "on a lake", "at dawn")
    size = sum(map(ord, name)) % 7
    return phrases(*[f"next to {name[::-1]} item {letter}" for letter in "abcdefg"[: size + 1]], "on a lake")


class ChatServer:
    """Serves on 127.0.0.1 in threads of this process; notes every request.

    Args:
        behaviour: Request and its number, from 1, to reply.
        models: What a question for the list of models gets; null for 404.
    """

    def __init__(self, behaviour: Behaviour = by_class) -> None:
        self.behaviour = behaviour
        self.models: Any = None
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                reply = outer._note(request, dict(self.headers), self.path)
                time.sleep(reply.delay)
                with outer._lock:
                    outer._at_once -= 1
                body = reply.bytes()
                self.send_response(reply.status)
                for name, value in {"Content-Type": reply.content_type, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if reply.drop else body)
                if reply.drop:
                    self.close_connection = True

            def do_GET(self) -> None:
                if outer.models is None or self.path != "/v1/models":
                    self.send_error(404)
                    return
                body = Reply(body=outer.models).bytes()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that was killed

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def _note(self, request: dict[str, Any], headers: dict[str, str], path: str) -> Reply:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers)
            self.paths.append(path)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            number = len(self.requests)
        return self.behaviour(request, number)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
