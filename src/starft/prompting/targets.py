"""Outputs, looked at before long work starts."""

from pathlib import Path

from starft.errors import PromptError
from starft.files.atomic import is_taken, replace_file


def check_target(target: Path, suffix: str, option: str, overwrite: bool) -> None:
    """Refuse an output that is there already or that can't be written; make its folder.

    Args:
        target: The file to be written later.
        suffix: What its name must end with.
        option: The option that names it.
        overwrite: Whether it may be there.

    Raises:
        PromptError: It can't be written, or exists and may not.
    """
    if target.suffix != suffix:
        raise PromptError(f"--{option} must name a {suffix} file; got {target}.")
    if target.is_dir() or (is_taken(target) and not overwrite):
        raise PromptError(f"{target} exists already; give another --{option}, or --overwrite to replace it.")
    probe = target.with_name(f".{target.name}.writable")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(probe, b"x")
        probe.unlink()
    except OSError as error:
        why = error.strerror
        raise PromptError(f"{target.parent} can't be written to: {why}; give another --{option}.") from error
