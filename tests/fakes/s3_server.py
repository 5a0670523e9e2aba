"""moto's S3 server on this machine, and files in its buckets."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import fsspec

ACCESS = {"AWS_ACCESS_KEY_ID": "AKIAFAKE", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_EC2_METADATA_DISABLED": "true"}


class Faults:
    """Statuses that the next requests of a method are answered with, and all requests that came.

    Args:
        method: Such as PUT.
        statuses: One a request.
    """

    def __init__(self, method: str, statuses: Sequence[int]) -> None:
        self.method, self.statuses = method, [*statuses]
        self.asked: list[str] = []
        """Method and path of each request."""

    def answer(self, environ: Mapping[str, Any], start: Any) -> list[bytes] | None:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if environ["REQUEST_METHOD"] != self.method or not self.statuses:
            return None
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{self.statuses.pop(0)} Fault", [("Content-Length", "0")])
        return []


@contextmanager
def faulty(method: str = "", statuses: Sequence[int] = ()) -> Iterator[Faults]:
    """Let the server answer requests of a method with statuses during a block."""
    application = import_module("moto.moto_server.werkzeug_app").DomainDispatcherApplication
    faults, usual = Faults(method, statuses), application.__call__

    def call(self: Any, environ: Any, start: Any) -> Any:
        answer = faults.answer(environ, start)
        return usual(self, environ, start) if answer is None else answer

    with patch.object(application, "__call__", call):
        yield faults


@contextmanager
def s3_server() -> Iterator[None]:
    """Run one during a block, which has credentials for it."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415  # brings botocore and flask, which few tests need

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # they keep the address of the server before
    host, port = server.get_host_and_port()
    places = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
    with patch.dict(os.environ, ACCESS | places | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}):
        try:
            yield
        finally:
            server.stop()


def upload(bucket: str, files: Mapping[str, bytes]) -> None:
    """Make a bucket that holds some files."""
    store = fsspec.filesystem("s3", use_listings_cache=False)
    store.mkdir(bucket)
    for name, content in files.items():
        store.pipe_file(f"{bucket}/{name}", content)
