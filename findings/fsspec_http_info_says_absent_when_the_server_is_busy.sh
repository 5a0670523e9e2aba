#!/usr/bin/env bash
# fsspec 2026.9.0: `info` of a file over HTTP raises FileNotFoundError whatever the server answered. A file that is there, on a
# server that is busy for a moment (503) or wants a password (401), can't be told from one that isn't (404) by the kind of the
# error, and code that skips absent files skips it.
# Seen: 2026.9.0 {404: 'FileNotFoundError', 401: 'FileNotFoundError', 503: 'FileNotFoundError'}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "fsspec==2026.9.0" "aiohttp==3.14.5"
"$folder/venv/bin/python" - <<'PYTHON'
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
threading.Thread(target=server.serve_forever, daemon=True).start()
kinds = {}
for status in (404, 401, 503):
    try:
        fsspec.filesystem("http", skip_instance_cache=True).info(f"http://127.0.0.1:{server.server_port}/{status}")
    except Exception as error:
        kinds[status] = type(error).__name__
print(fsspec.__version__, kinds)
assert kinds == dict.fromkeys((404, 401, 503), "FileNotFoundError"), "the behaviour has changed"
PYTHON
