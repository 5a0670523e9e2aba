"""What a model needs from outside: the hub, asked once whether it is there, and the extra that reads its files."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import constants, get_session

from starft.errors import ConfigError
from starft.wording import did_you_mean

PATIENCE = 5.0
"""Seconds that the hub has to answer in."""

HUB = "hf-hub:"
LOCAL = "local-dir:"

OFFLINE = (
    "Without a network, give pretrained a local weight file, or model_name a local-dir:PATH, "
    "a folder with config, weights and tokenizer; to try the commands, --model.model_name starft-mini "
    "--model.pretrained mini, which come with the package."
)


def needs_hub(name: str, tag: str | None, config: dict[str, Any]) -> bool:
    """Return whether a model, its weights or its tokenizer may have to be downloaded.

    Args:
        name: As open_clip takes it.
        tag: Tag of the weights; None where they are a file, in a folder or random.
        config: Its model config; empty where that is on the hub itself.
    """
    if name.startswith(HUB) or tag is not None:
        return True
    text = config.get("text_cfg", {})
    keys = ("hf_model_name",) if name.startswith(LOCAL) else ("hf_model_name", "hf_tokenizer_name")
    return any(text.get(key) and not Path(text[key]).is_dir() for key in keys)


@contextmanager
def asked_once(wanted: bool) -> Iterator[None]:
    """Work from the local cache alone if the hub doesn't answer at once.

    The hub's client asks five times for each file, with growing pauses; a model has several files, so that a machine
    without a network would wait for minutes.

    Args:
        wanted: Whether the hub is needed at all.
    """
    if not wanted or constants.HF_HUB_OFFLINE or _answers():
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _answers() -> bool:
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # the client's errors share no base over its versions; each means that nothing came back
        return False
    return True


def why(error: Exception) -> str:
    """Return the heart of what went wrong, as a sentence without its stop; a hub that wasn't reached is named.

    Args:
        error: What open_clip, transformers or the hub's client raised.
    """
    chain: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    if constants.HF_HUB_OFFLINE and any("cache" in item or "offline" in item.lower() for item in chain):
        host = constants.ENDPOINT.partition("://")[2]
        return f"it isn't in the local cache, and the hub ({host}) can't be reached or HF_HUB_OFFLINE is set"
    lines = chain[0].strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:")


def near_hub_names(name: str) -> str:
    """Return a suggestion for an ``hf-hub:`` name from those that open_clip knows; empty for other names.

    Args:
        name: What the person wrote.
    """
    if not name.startswith(HUB):
        return ""
    values = (open_clip.get_pretrained_cfg(model, tag).get("hf_hub", "") for model, tag in open_clip.list_pretrained())
    known = sorted({HUB + path.rpartition("/")[0] for path in values if path})
    return "" if name in known else did_you_mean(name, known)


def check_extra(name: str, config: dict[str, Any]) -> None:
    """Refuse a model whose text tower or tokenizer is one of transformers where that isn't installed.

    Args:
        name: As the person wrote it.
        config: Its model config.

    Raises:
        ConfigError: The extra is missing.
    """
    text = config.get("text_cfg", {})
    if (text.get("hf_model_name") or text.get("hf_tokenizer_name")) and find_spec("transformers") is None:
        raise ConfigError(
            f"The text tower or tokenizer of {name} needs transformers, which isn't installed: "
            "pip install 'starft[hf]'."
        )
