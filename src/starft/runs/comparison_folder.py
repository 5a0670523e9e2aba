"""The folder of a comparison: what was run in it, and how, so that nothing is run twice and nothing is mixed up."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from starft import __version__
from starft.errors import RunFolderError
from starft.files.atomic import files_in, load_json, replace_file
from starft.files.yaml_reader import leaves
from starft.runs.folder import check_writable

METHOD = "method.json"
"""In the folder of a config: what its runs were made with."""


def open_comparison(out: Path, state: str, what: str, may_hold: Sequence[str] = ()) -> float:
    """Make the folder or take up an earlier one; return the seconds that were spent on it.

    Args:
        out: The folder.
        state: Name of the file that marks it.
        what: What messages call it.
        may_hold: Names of files that may be there already.

    Raises:
        RunFolderError: It holds something else, or can't be written to.
    """
    check_writable(out)
    path = out / state
    # Another process may make the folder right now: it writes what marks it first, so that is looked for last.
    others = [path.name for path in files_in(out, [*may_hold, state])]
    if path.is_file():
        try:
            value = load_json(path.read_text(encoding="utf-8"))
            _, seconds = value["version"], float(value["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{path} is damaged; give another --out or move {out} away.") from error
        return seconds
    if others:
        raise RunFolderError(
            f"{out} holds something else ({others[0]}), no {what}; give another --out or move it away."
        )
    save_seconds(path, 0.0)
    return 0.0


def save_seconds(path: Path, seconds: float) -> None:
    """Write what marks the folder.

    Args:
        path: The file.
        seconds: Spent so far.
    """
    state = {"version": __version__, "seconds": round(seconds, 1)}
    replace_file(path, (json.dumps(state, indent=2) + "\n").encode())


def claim_runs(folder: Path, content: Mapping[str, Any], options: Sequence[str], runs: str = "seed-*") -> bool:
    """Note what the runs of one config are made with, or refuse those that were made with something else.

    Args:
        folder: That of the config, with a folder in it for each seed.
        content: Of the config.
        options: Of the command line.
        runs: Pattern of the folders of runs in it.

    Returns:
        Whether something else was noted before, of which nothing ran.

    Raises:
        RunFolderError: The folder holds runs of another config, other options or another version.
    """
    with FileLock(folder.parent / f".{folder.name}.claim"):  # several processes may start in one folder
        return _claim(folder, content, options, runs)


def _claim(folder: Path, content: Mapping[str, Any], options: Sequence[str], runs: str) -> bool:
    path = folder / METHOD
    method = {"version": __version__, "config": content, "options": sorted(options, key=_name)}
    now = json.loads(json.dumps(method, default=str))  # as it will be read back, so that the two can be compared
    if path.is_file():
        try:
            value = load_json(path.read_text(encoding="utf-8"))
            before = {key: value[key] for key in now}
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{path} is damaged; give another --out or move {folder} away.") from error
        if before == now and _tried(before) == _tried(now):
            return False
        if any(folder.glob(runs)):
            raise RunFolderError(
                f"{folder} was run with {_other(before, now)}; "
                f"give another --out, or move {folder} away to run it anew."
            )
    elif files_in(folder):
        raise RunFolderError(f"{folder} holds something else; give another --out or move it away.")
    anew = path.is_file()
    folder.mkdir(exist_ok=True)
    replace_file(path, (json.dumps(now, indent=2, ensure_ascii=False) + "\n").encode())
    return anew


def _other(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return in what two ways to run a config differ first."""
    if before["config"] != now["config"]:
        then, today = dict(leaves(before["config"])), dict(leaves(now["config"]))
        key = next(key for key in {**today, **then} if then.get(key, ...) != today.get(key, ...))  # null isn't left out
        messages = [json.dumps(values[key]) if key in values else "left out" for values in (then, today)]
        return f"another config ({key} was {messages[0]}, is {messages[1]})"
    if before["options"] != now["options"]:
        messages = [" ".join(options) or "none" for options in (before["options"], now["options"])]
        return f"other options ({messages[0]}; now {messages[1]})"
    if _tried(before) != _tried(now):
        messages = [", ".join(_tried(item)) for item in (before, now)]
        return f"keys in another order, which numbers its trials ({messages[0]}; now {messages[1]})"
    return f"another version ({before['version']}; this is {now['version']})"


def _name(option: str) -> str:
    """Return what options are sorted by: of one that is given twice the last counts."""
    return option.partition("=")[0]


def _tried(method: Mapping[str, Any]) -> list[str]:
    """Return the keys of a search in their order, which its trials are numbered by."""
    return [*(method["config"].get("tried") or ())]
