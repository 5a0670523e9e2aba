"""Asking object stores and web servers by `fsspec`: again after a lost connection, with a sentence where they refuse.

Credentials are `fsspec`'s affair and its packages'; they stand in no message.
"""

import errno
import re
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starft.errors import DataError
from starft.files.addresses import shown
from starft.safe_text import say
from starft.wording import shortened

Result = TypeVar("Result")

WAITS = (0.5, 1.0, 2.0, 4.0)
"""Seconds before a request is tried again."""
STALLED = 30.0
"""Seconds without a byte after which a connection counts as lost."""
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub"}
ACCESS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, or FSSPEC_GS_TOKEN; for a public bucket FSSPEC_GS_TOKEN=anon",
    "http": "~/.netrc",
    "https": "~/.netrc",
    "hf": "HF_TOKEN",
}
"""Where each store's credentials stand."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Of a disk on this machine."""
NO_CREDENTIALS = {
    *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
    *("DefaultCredentialsError", "RefreshError", "TokenRetrievalError", "LocalTokenNotFoundError"),
}
"""Errors of botocore, google-auth and huggingface_hub, which needn't be there."""


class NotThere(DataError):  # noqa: N818  # an answer
    """A remote file that its server doesn't have."""


class Refused(DataError):  # noqa: N818  # an answer
    """A remote file that may not be read; some stores answer so where there is none, if they may not be listed."""


class ConnectionLost(DataError):  # noqa: N818
    """A connection that was lost too often."""


class NotGiven(Exception):  # noqa: N818  # an answer
    """The server does without what was asked for: parts of files, or listings."""


def _store(address: str) -> Any:
    """Return the file system of an address; what a person set by fsspec's own means comes first."""
    scheme = address.partition(":")[0]
    fsspec = import_module("fsspec")
    options: dict[str, Any] = {}
    if scheme.startswith("http"):
        timeout = import_module("aiohttp").ClientTimeout(total=None, sock_connect=STALLED, sock_read=STALLED)
        options = {"client_kwargs": {"timeout": timeout, "trust_env": True}}
    elif scheme == "s3":
        times = {"connect_timeout": STALLED, "read_timeout": STALLED, "retries": {"total_max_attempts": 1}}
        options = {"config_kwargs": times}
    store = fsspec.filesystem(scheme, **options | fsspec.config.conf.get(scheme, {}))
    if scheme == "s3":
        store.retries = 1  # we try again ourselves, and tell
    return store


def answer(address: str, ask: Callable[[Any], Result], writes: bool = False) -> Result:
    """Return a server's answer; a connection that is lost is tried again, and told.

    Args:
        address: As `address_of` returns it.
        ask: Asks the file system of the address.
        writes: Whether it changes what the server has.

    Raises:
        NotThere: The server has no such file.
        Refused: It may not be read, or written, or isn't there.
        ConnectionLost: It was lost too often.
        DataError: It can't be had.
    """
    if "@" in urlsplit(address).netloc and address.startswith("http"):
        raise DataError(f"{shown(address)} was given with a user's name or password; put them into ~/.netrc.")
    for wait in (*WAITS, None):
        try:
            return ask(_store(address))
        except NotGiven:
            raise
        except Exception as error:  # of any package: aiohttp, botocore, google-auth, huggingface_hub, fsspec
            cause = _cause(error, address)
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            refused = _refusal(cause, address, writes)
            if refused is not None:
                raise refused from error
            why = _reason(cause)
            if wait is None:
                raise ConnectionLost(
                    f"{shown(address)} can't be {'written' if writes else 'fetched'}: {why}, {len(WAITS) + 1} times; "
                    "check the network and the server, and run the command again, which goes on with what is there."
                ) from error
            say(f"Note: {shown(address)}: {why}; trying again in {wait:g} s.", file=sys.stderr)
            time.sleep(wait)
    raise AssertionError  # the last wait is None


def _cause(error: BaseException, address: str) -> BaseException:
    """Return what went wrong: fsspec says that there is no file whatever a web server answers to a question."""
    while address.startswith("http") and isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _refusal(error: BaseException, address: str, writes: bool) -> DataError | None:
    """Return the sentence on an error that trying again doesn't mend, or None."""
    scheme, where = address.partition(":")[0], shown(address)
    status, name = getattr(error, "status", None), type(error).__name__
    sentence = None
    if isinstance(error, ImportError):
        needs = f"{where} needs {PACKAGES[scheme]}; install it with `pip install 'starft[remote]'`."
        sentence = f"{'Writing' if writes else 'Reading'} {needs}"
    elif name in NO_CREDENTIALS:
        sentence = f"{where} needs credentials, and there are none; set {ACCESS[scheme]}."
    elif isinstance(error, PermissionError) or status in (401, 403):
        missing = "" if status == 401 else ", or there is none: a store that may not be listed says no more"
        return Refused(
            f"{where} may not be {'written' if writes else 'read'} with these credentials, or without any{missing}; "
            f"check the address, or set {ACCESS[scheme]}."
        )
    elif isinstance(error, FileNotFoundError) or status in (404, 410):
        there = f"bucket {where.split('/')[2]}, as in {where}" if "bucket does" in str(error) else where
        return NotThere(f"There is no {there}; check the address.")
    elif name == "OfflineModeIsEnabled":
        sentence = f"{where} isn't in the cache, and HF_HUB_OFFLINE is set; unset it."
    elif isinstance(error, ValueError | TypeError | NotImplementedError) or (
        status is not None and 400 <= status < 500 and status not in (408, 429)
    ):
        sentence = f"{where} can't be {'written' if writes else 'fetched'} ({_reason(error)}); check the address."
    return DataError(sentence) if sentence is not None else None


def _reason(error: BaseException) -> str:
    """Return what went wrong in a few words, without an address, which may be signed."""
    status = getattr(error, "status", None)
    if status is not None:
        return f"the server answered {status} {getattr(error, 'message', '')}".rstrip()
    if isinstance(error, TimeoutError):
        return f"nothing came for {STALLED:g} s"
    text = re.sub(r"\w+://\S+", "...", " ".join(str(error).split()).rstrip("."))
    return f"the connection was lost ({type(error).__name__}{': ' if text else ''}{shortened(text, 100)})"
