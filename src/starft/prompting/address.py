"""The address of a server, looked at before anything is loaded to speak to it."""

import os
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # no stub

from starft.errors import PromptError

OPENAI = "https://api.openai.com/v1"
URL = "OPENAI_BASE_URL"
"""The variable that names a server where no option does."""

_PORTS = {"http": 80, "https": 443}


def chosen_url(base_url: str | None) -> str | None:
    """Return the base URL that a command asks; null for OpenAI's own.

    Args:
        base_url: As the command was given it; null takes the environment's.
    """
    return base_url if base_url is not None else os.environ.get(URL, "").strip() or None


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
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise PromptError(
            f"The base URL {without_user(url)!r} isn't one; give it as http://HOST:PORT/v1 or https://HOST/v1."
        )
    return host


def address_of(base_url: str | None) -> str:
    """Return the address that answers are known by: one for each server, however its URL is written.

    Args:
        base_url: As a command was given it; null takes the environment's, or else OpenAI's own.

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
