"""Where the files that come with the package are.

Configs and prompts live at the top of a checkout, and in ``starft/_shipped`` of an installed wheel.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from starft.files.atomic import load_json

PACKAGE = Path(__file__).resolve().parents[1]
CONFIG_OPTIONS = ("-c", "--config", "--data")
_NAME = re.compile(r"[\w-]+(?:/[\w-]+)*(?:\.yaml)?")


def shipped(kind: Literal["lightning_configs", "prompts"]) -> Path:
    """Return the folder of shipped configs or prompts.

    Args:
        kind: Which folder.

    Raises:
        FileNotFoundError: Neither an installed package nor a checkout holds it.
    """
    for folder in (PACKAGE / "_shipped" / kind, PACKAGE.parents[1] / kind):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"{kind} is missing from this installation of starft; install it again.")


def with_shipped_configs(words: Sequence[str]) -> list[str]:
    """Return a command's words with the paths of shipped configs for their names.

    Where no file is called so, the value of ``--config`` or ``--data`` may name a shipped config: ``mini/starft``,
    ``mini/starft.yaml`` or ``lightning_configs/mini/starft.yaml``.

    Args:
        words: A verb and its options.
    """
    results = list(words)
    for at, word in enumerate(words):
        option, given, _ = word.partition("=")
        if option in CONFIG_OPTIONS and given:
            results[at] = f"{option}={_config(word.removeprefix(option + '='))}"
        elif option in CONFIG_OPTIONS and at + 1 < len(words):
            results[at + 1] = _config(words[at + 1])
    return results


def listed_model(model_name: str) -> dict[str, Any] | None:
    """Return how open_clip, or the embedded world, describes a model, without loading either; None of others.

    Args:
        model_name: As `starft.clip.build_clip` takes it.
    """
    if Path(model_name).name != model_name:
        return None
    result = find_spec("open_clip")  # looks for the package without importing it
    folders = [PACKAGE / "mini", *([Path(result.origin).parent / "model_configs"] if result and result.origin else [])]
    file = next((path for folder in folders if (path := folder / f"{model_name}.json").is_file()), None)
    value: dict[str, Any] | None = load_json(file.read_text(encoding="utf-8")) if file is not None else None
    return value


def _config(name: str) -> str:
    if not _NAME.fullmatch(name) or Path(name).is_file():
        return name
    folder = shipped("lightning_configs")
    path = folder / f"{name.removeprefix(f'{folder.name}/').removesuffix('.yaml')}.yaml"
    return str(path) if path.is_file() else name
