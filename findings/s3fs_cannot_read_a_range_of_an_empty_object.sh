#!/usr/bin/env bash
# s3fs 2026.9.0 (server: moto 5.2.5): `cat_file` with start and end, which stops at the end of a longer object, raises OSError 22 of an
# object without bytes, where fsspec's own file systems return b"". Readers of a file's first bytes, as those of image formats
# are, fail on the empty placeholders that consoles of object stores make for folders, and with no error that names them.
# Seen: 2026.9.0 two bytes b'ab', memory b'', s3 OSError 22
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3.11 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "s3fs==2026.9.0" "moto[server]==5.2.5"
"$folder/venv/bin/python" - <<'PYTHON' 2> /dev/null
import os

os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")
import fsspec
import s3fs
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
store = s3fs.S3FileSystem(client_kwargs={"endpoint_url": f"http://{host}:{port}"})
memory = fsspec.filesystem("memory")
store.mkdir("bucket")
store.pipe_file("bucket/two", b"ab")
for file_system, path in ((store, "bucket/empty"), (memory, "/empty")):
    file_system.pipe_file(path, b"")
two = store.cat_file("bucket/two", start=0, end=10)
in_memory = memory.cat_file("/empty", start=0, end=10)
try:
    number = None
    store.cat_file("bucket/empty", start=0, end=10)
except OSError as error:
    number = error.errno
server.stop()
print(s3fs.__version__, f"two bytes {two}, memory {in_memory}, s3 OSError {number}")
assert (two, in_memory, number) == (b"ab", b"", 22), "the behaviour has changed"
PYTHON
