"""A web server of files on this machine: with ranges or without, and with faults for the next answers."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

STALL = 1.0
"""Seconds that a stalled answer hangs; tests wait for less."""


class FileServer(ThreadingHTTPServer):
    """Serves ``files``, by path; each of ``faults`` befalls one answer: a status, ``stall``, ``reset``, or None."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[int | str | None] = []
        self.ranges = True
        self.asked: list[str] = []
        """Method, path and range of each request."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients go away while an answer stalls."""


class _Handler(BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer()

    def _answer(self, with_body: bool = True) -> None:
        server, path, given = self.server, urlsplit(self.path).path, self.headers.get("Range", "")
        server.asked.append(f"{self.command} {path} {given}".strip())
        fault = server.faults.pop(0) if server.faults else None
        content = server.files.get(path)
        if isinstance(fault, int) or content is None:
            self.send_response(fault if isinstance(fault, int) else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        whole, tag = len(content), f'"{hash(content)}"'
        if given and server.ranges:
            start, _, end = given.removeprefix("bytes=").partition("-")
            last = min(int(end or whole - 1), whole - 1)
            content = content[int(start) : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{last}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", tag)
        self.end_headers()
        if with_body:
            self._send(content, fault)

    def _send(self, content: bytes, fault: object) -> None:
        if fault is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        time.sleep(STALL if fault == "stall" else 0)
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run one during a block."""
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
