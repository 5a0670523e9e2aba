"""The address of a server, looked at before anything is loaded to speak to it."""

from urllib.parse import urlsplit

from starft.errors import PromptError


def host_of(url: str | None) -> str:
    """Return the host of a base URL; empty for null, which is OpenAI's own.

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
    if parts.scheme not in ("http", "https") or not host:
        raise PromptError(
            f"The base URL {without_user(url)!r} isn't one; give it as http://HOST:PORT/v1 or https://HOST/v1."
        )
    return host


def without_user(url: str) -> str:
    """Return a URL without name and password.

    Args:
        url: Any text.
    """
    before, at, behind = url.rpartition("@")
    return f"{before.partition('://')[0]}://{behind}" if at and "://" in before else behind if at else url
