"""Where the files that come with the package are.

Configs and prompts live at the top of a checkout, and in ``starft/_shipped`` of an installed wheel.
"""

from pathlib import Path
from typing import Literal

PACKAGE = Path(__file__).resolve().parent


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
