"""What a failure of a server means: its message, its models, and why a connection wasn't made."""

import re
import ssl
from typing import Any

from starft.prompting.address import proxy_of

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
    """Return the names in a list of models, whatever form a server gives it; null where it holds none.

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
