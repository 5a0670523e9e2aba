"""A server seen from outside: its address, how long to wait for it, and what its failures mean."""

import math
import os
import random
import re
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # no stub

from starft.errors import PromptError

OPENAI = "https://api.openai.com/v1"
URL = "OPENAI_BASE_URL"
"""The variable that names a server where no option does."""

_PORTS = {"http": 80, "https": 443}


def chosen_url(base_url: str | None) -> str | None:
    """Return the base URL that a command asks; None for OpenAI's own.

    Args:
        base_url: As the command was given it; None takes the environment's.
    """
    return base_url if base_url is not None else os.environ.get(URL, "").strip() or None


def host_of(url: str | None) -> str:
    """Return the host of a base URL; empty for None, which is OpenAI's own.

    Args:
        url: Such as "http://localhost:11434/v1".

    Raises:
        PromptError: It isn't one.
    """
    if url is None:
        return ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise PromptError(
            f"The base URL {without_user(url)!r} isn't one; give it as http://HOST:PORT/v1 or https://HOST/v1."
        )
    return host


def address_of(base_url: str | None) -> str:
    """Return the address that answers are known by: one for each server, however its URL is written.

    Args:
        base_url: As a command was given it; None takes the environment's, or else OpenAI's own.

    Raises:
        PromptError: It isn't one.

    Example:
        >>> address_of("HTTP://me:secret@Localhost:80/v1/?key=secret")
        'http://localhost/v1'
    """
    url = chosen_url(base_url) or OPENAI
    host = host_of(url)
    parts = urlsplit(url)
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def without_user(url: str) -> str:
    """Return a URL without name, password and what stands behind a question mark, which may be a key.

    Args:
        url: Any text.
    """
    url = url.partition("?")[0]
    before, at, behind = url.rpartition("@")
    return f"{before.partition('://')[0]}://{behind}" if at and "://" in before else behind if at else url


def proxy_of(url: str) -> str | None:
    """Return the environment variable and the address of the proxy that a URL is asked through, as NAME=ADDRESS.

    Args:
        url: Of a server.
    """
    parts = urlsplit(url)
    proxies = getproxies_environment()
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], proxies):
        return None
    for kind in (parts.scheme, "all"):
        if proxies.get(kind):
            name = f"{kind}_proxy" if os.environ.get(f"{kind}_proxy") else f"{kind.upper()}_PROXY"
            return f"{name}={without_user(proxies[kind])}"
    return None


FIRST, LONGEST = 0.5, 8.0
"""Seconds before the second try where the server asks for none, doubled with each try up to the other."""


def seconds_to_wait(tries: int, headers: Mapping[str, str], most: float) -> float:
    """Return how many seconds to wait before the next try.

    Args:
        tries: How often it was tried.
        headers: Of the server's answer; empty where there was none.
        most: The bound.
    """
    asked = asked_wait(headers)
    if asked is not None:
        return min(asked, most)
    return min(FIRST * 2.0 ** min(tries - 1, 10) * random.uniform(0.75, 1.0), LONGEST, most)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait for, None where it asks for none that can be.

    Args:
        headers: Of its answer, read without regard to case.

    Example:
        >>> asked_wait({"retry-after": "7"}), asked_wait({"retry-after-ms": "250"}), asked_wait({"retry-after": "soon"})
        (7.0, 0.25, None)
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _until(text)
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()


LIST_MOST = 8
"""So many models are named in a sentence."""

KEY_WORDS = re.compile(r"no connected db|\bapi[ _-]?key|credential|authenticat|unauthori[sz]ed", re.IGNORECASE)
"""What servers say of a wrong key under 400; "No connected db." is LiteLLM's."""


def server_message(body: Any, status: int) -> str:
    """Return a server's own words about a failure, on one line and without the last period.

    Args:
        body: Of its answer.
        status: The HTTP status.
    """
    words = body
    for _ in range(3):  # {"error": {"message": "..."}}, as a rule unwrapped already
        if isinstance(words, dict):
            words = next((words[key] for key in ("message", "detail", "error") if words.get(key)), None)
        elif isinstance(words, list) and words:
            words = words[0]
    line = " ".join(str(words or f"status {status}").split())
    return (line if len(line) <= 300 else line[:297] + "...").rstrip(".")


def model_names(body: Any) -> list[str] | None:
    """Return the names in a list of models, whatever form a server gives it; None where it holds none.

    Args:
        body: Of the answer to ``/v1/models``.

    Example:
        >>> model_names({"data": [{"id": "a"}, {"id": "b"}]}), model_names({"models": ["c"]}), model_names({"data": []})
        (['a', 'b'], ['c'], [])
    """
    rows = body
    if isinstance(body, dict):
        rows = next((body[key] for key in ("data", "models") if key in body), body)
        rows = [] if rows is None else rows
    if not isinstance(rows, list):
        return None
    named = [
        next((row[key] for key in ("id", "name", "model") if row.get(key)), None) if isinstance(row, dict) else row
        for row in rows
    ]
    return list(dict.fromkeys(name for name in named if isinstance(name, str) and name))


def reason_for_no_connection(error: BaseException | None, url: str) -> tuple[str, str, bool]:
    """Return why a server wasn't reached in brackets, what to do, and whether it may go better in a while.

    Args:
        error: What was raised; None where a proxy may have answered in the server's place.
        url: The server's.
    """
    causes, cause = list[BaseException](), error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    first = causes[1] if len(causes) > 1 else error
    why = "" if first is None else f" ({str(first).strip() or type(first).__name__})"
    tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            f" (its certificate isn't trusted: {tls.verify_message})",
            "set SSL_CERT_FILE to your own authority's",
            False,
        )
    if tls is not None and url.startswith("https://"):
        return (
            why,
            f"the server may speak plain http: try --base-url http{url.removeprefix('https').rstrip('/')}",
            False,
        )
    if proxy := proxy_of(url):
        host = url.split("/")[2]
        then = f"it is asked through the proxy {proxy}: unset that variable, or add {host} to NO_PROXY"
        return why, then, True
    if url.startswith("http://") and ":443/" in url:
        return why, f"port 443 speaks https: try --base-url https{url.removeprefix('http').rstrip('/')}", False
    return why, "", True
