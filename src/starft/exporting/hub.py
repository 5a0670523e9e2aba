"""Sending an export to the hub of models. The token is the hub client's own affair: HF_TOKEN, or `hf auth login`."""

import re
from pathlib import Path

from huggingface_hub import HfApi, constants

from starft.errors import ConfigError, WeightsError

NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_name(name: str) -> None:
    """Refuse what can't be a name on the hub.

    Args:
        name: As the person wrote it.

    Raises:
        ConfigError: It isn't ORG/NAME.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--push-to-hub takes ORG/NAME, such as me/birds; got {name!r}.")


def push(folder: Path, name: str, private: bool) -> str:
    """Send a folder to a repository of the hub, made if it isn't there.

    Args:
        folder: An export.
        name: ORG/NAME.
        private: Make the repository private, if it is made.

    Returns:
        Its address.

    Raises:
        WeightsError: The hub refused, or wasn't reached.
    """
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="Add the export of a starft run")
    except Exception as error:  # the client's errors share no base; what they say may hold headers, so it isn't shown
        answer = getattr(error, "response", None)
        code = f", status {answer.status_code}" if answer is not None else ""
        raise WeightsError(
            f"{folder} is written, but the hub didn't take it as {name} ({type(error).__name__}{code}); "
            f"check network and login, then `hf upload {name} {folder}`."
        ) from None
    return f"{constants.ENDPOINT}/{name}"
