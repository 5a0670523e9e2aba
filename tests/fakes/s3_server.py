"""moto's S3 server on this machine, and files in its buckets."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from unittest.mock import patch

import fsspec

ACCESS = {"AWS_ACCESS_KEY_ID": "AKIAFAKE", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_EC2_METADATA_DISABLED": "true"}


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
