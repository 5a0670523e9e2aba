"""Pool files: found by name, read, checked and written; JSON with provenance, or plain text."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starft.captions.pools import WRONG_SLOTS, Pool, join_pools, normalized_template
from starft.captions.templates import is_template
from starft.captions.text_pools import SUFFIX as TEXT
from starft.captions.text_pools import read_text_pool
from starft.errors import PoolError, PromptError
from starft.files.atomic import is_taken, load_json, replace_file
from starft.files.shipped import shipped
from starft.safe_text import visible
from starft.wording import did_you_mean, quoted

SCHEMA_VERSION = 1
SOURCES = ("llm", "curated")
LOCAL_POOLS = Path("prompts/pools")
"""Where `starft prompts generate` writes, seen from where it runs."""
KEYS = ("schema_version", "name", "description", "templates", "per_class", "provenance")
_YAML = (".yaml", ".yml")
_NEAR = 0.7
"""Likeness of names from which on one is suggested for another."""


def list_pools() -> list[Path]:
    """Return the files of the shipped pools, sorted by name.

    Raises:
        FileNotFoundError: The installation holds no prompts.
    """
    return sorted((shipped("prompts") / "pools").glob("*.json"))


def load_pool(name_or_path: str | Path) -> Pool:
    """Read a pool by its name, or any pool file by its path.

    What ends with ``.json``, or ``.txt`` for a phrase a line, or has a separator is a path. Anything else is the name
    of a pool in ``prompts/pools`` under the current folder, or else of a shipped pool, or else a file: a pool of your
    own wins.

    Args:
        name_or_path: Such as "backgrounds" or "my/pool.json".

    Raises:
        PoolError: No such pool, a file that can't be read or isn't JSON, or a pool with problems (see `check_pool`).
        FileNotFoundError: The installation holds no prompts.
    """
    path = find_pool(name_or_path)
    data = read_json(path)
    _refuse(str(path), data)
    return Pool(
        name=data["name"],
        description=data["description"],
        templates=tuple(data["templates"]),
        per_class={name: tuple(templates) for name, templates in data.get("per_class", {}).items()},
        provenance=data["provenance"],
    )


def load_pools(names: str | Path | Sequence[str | Path]) -> Pool:
    """Read one pool, or several and join them.

    Args:
        names: A name or path as `load_pool` takes it, or a list of them.

    Raises:
        PoolError: The list is empty, or one of the pools can't be used.
    """
    if isinstance(names, str | Path):
        return load_pool(names)
    if not names:
        raise PoolError("The list of pools is empty; name at least one, or give null for none.")
    return join_pools([load_pool(name) for name in names])


def pool_text(pool: Pool) -> str:
    """Return the text of a pool's file; the same pool always gives the same text.

    Args:
        pool: Not checked.

    Raises:
        PoolError: Something in it has no place in JSON.
    """
    try:
        data = {"schema_version": SCHEMA_VERSION, **asdict(pool)}
        text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        text.encode("utf-8")
    except (TypeError, ValueError) as error:
        raise PoolError(f"The pool {quoted(pool.name)} can't be written as JSON: {error}; mend that value.") from error
    return text


def save_pool(pool: Pool, path: str | Path, overwrite: bool = False) -> None:
    """Write a pool so that the file is either whole or untouched; the same pool always gives the same bytes.

    Args:
        pool: Checked first: what `load_pool` would refuse isn't written.
        path: The file to write; its folder must exist.
        overwrite: Replace a file that is there already.

    Raises:
        PoolError: The pool has problems, the file exists and ``overwrite`` is off, or the file can't be written.
    """
    path = Path(path)
    text = pool_text(pool)
    _refuse(f"The pool {quoted(pool.name)} was not saved to {path}", json.loads(text))
    try:
        if path.exists() and not overwrite:
            raise PoolError(f"{path} already exists; choose another path, or allow overwriting it.")
        replace_file(path, text.encode())
    except OSError as error:
        raise PoolError(
            f"The pool file {path} can't be written: {error.strerror}; "
            "check that its folder exists, is writable and has room."
        ) from error


def check_target(target: Path, suffix: str, option: str, overwrite: bool) -> None:
    """Refuse a pool or picture of one that is there already or that can't be written; make its folder.

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


def check_pool(data: object) -> list[str]:
    """Return every problem of a parsed pool file, one sentence each; an empty list means a good pool.

    Args:
        data: What `json.loads` made of the file.
    """
    if not isinstance(data, dict):
        return [f"a pool must be a JSON object with the keys {', '.join(KEYS)}, got {quoted(data)}."]
    problems = [
        f"unknown key {quoted(key)}; the keys of a pool are {', '.join(KEYS)}.{did_you_mean(str(key), KEYS)}"
        for key in data
        if key not in KEYS
    ]
    problems += [f"the key {key!r} is missing; add it." for key in KEYS if key not in data and key != "per_class"]
    version = data.get("schema_version", SCHEMA_VERSION)
    if type(version) is not int or version != SCHEMA_VERSION:
        problems.append(
            f"'schema_version' must be {SCHEMA_VERSION}, got {quoted(version)}; bring the file to this schema, "
            "or update starft if the file is newer."
        )
    for key in ("name", "description"):
        text = data.get(key, "absent")
        if not isinstance(text, str) or not text.strip():
            problems.append(f"{key!r} must be a string that isn't empty, got {quoted(text)}; write one.")
        elif _steers(text):
            problems.append(f"{key!r} holds a character that steers a terminal, got {quoted(text)}; take it out.")
    if "templates" in data:
        problems += _check_templates("templates", data["templates"])
    per_class = data.get("per_class", {})
    if isinstance(per_class, dict):
        for class_name, templates in per_class.items():
            if _steers(class_name):
                problems.append(
                    f"per_class[{quoted(class_name)}] holds a character that steers a terminal; take it out."
                )
            problems += _check_templates(f"per_class[{quoted(class_name)}]", templates, data.get("templates"))
    else:
        problems.append(f"'per_class' must be an object of lists of templates by class name, got {quoted(per_class)}.")
    if "provenance" in data:
        provenance = data["provenance"]
        source = provenance.get("source") if isinstance(provenance, dict) else None
        if source not in SOURCES:
            problems.append(
                f"'provenance' must be an object with a 'source' of {' or '.join(SOURCES)}, got {quoted(provenance)}."
            )
    return problems


def _check_templates(where: str, templates: object, general: object = None) -> Iterator[str]:
    """Yield the problems of one list; repeats are looked for in the list and in the general templates."""
    if not isinstance(templates, list):
        yield f"{where} must be a list of templates, got {quoted(templates)}."
        return
    if not templates:
        yield f"{where} is an empty list; give at least one template, such as '{{}} on a lake'."
    others = general if isinstance(general, list) else []
    seen = {
        normalized_template(other): f"templates[{index}]"
        for index, other in enumerate(others)
        if isinstance(other, str)
    }
    for index, template in enumerate(templates):
        here = f"{where}[{index}] {quoted(template)}"
        if not isinstance(template, str) or not template.strip():
            yield f"{here} must be a string that isn't empty; write a template such as '{{}} on a lake'."
            continue
        if not is_template(template):
            yield f"{here} {WRONG_SLOTS}"
        if template != template.strip() or not template.isprintable():
            yield f"{here} has outer spaces, a line break or a character that can't be printed; take it out."
        if template.endswith("."):
            yield f"{here} ends with a period; take it away, the caption brings its own."
        if first := seen.get(normalized_template(template)):
            yield f"{here} repeats {first} (case and spaces don't count); take one of them out."
        seen.setdefault(normalized_template(template), f"{where}[{index}]")


def _steers(text: str) -> bool:
    """Return whether a text holds more than it shows; line breaks and tabs are harmless."""
    plain = text.replace("\n", " ").replace("\t", " ")
    return visible(plain) != plain


def _refuse(where: str, data: object) -> None:
    if problems := check_pool(data):
        more = len(problems) - 1
        rest = f" ... and {more} more problem{'s' if more > 1 else ''}." if more else ""
        raise PoolError(f"{where}: {problems[0]}{rest}")


def find_pool(name_or_path: str | Path) -> Path:
    """Return the file of a pool, by the rules of `load_pool`.

    Args:
        name_or_path: Such as "backgrounds" or "my/pool.json".

    Raises:
        PoolError: No pool has this name.
    """
    name = str(name_or_path)
    path = Path(name)
    if path.suffix in (".json", TEXT, *_YAML) or path.name != name:
        return path
    known = {file.stem: file for file in list_pools()}
    local = {file.stem: file for kind in (TEXT, ".json") for file in sorted(LOCAL_POOLS.glob(f"*{kind}"))}
    if result := local.get(name, known.get(name)):
        return result
    if path.is_file():
        return path
    own = ", ".join(sorted(local.keys() - known.keys()))
    raise PoolError(
        f"No pool is called {name!r}; the shipped ones are {', '.join(known)}"
        + (f", those in {LOCAL_POOLS} {own}" if own else f", and {LOCAL_POOLS} holds no others")
        + "; give one of these names or the path of a .json file."
        + did_you_mean(name, {**known, **local}, 3, _NEAR)
    )


def read_json(path: Path) -> Any:
    """Return what a pool file holds, without checking that it is a pool.

    Args:
        path: The file.

    Raises:
        PoolError: It can't be read, isn't UTF-8 or isn't JSON.
    """

    def refuse_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise PoolError(f"{path}: the key {quoted(key)} is written {count} times in one object; keep one.")
        return dict(pairs)

    if path.suffix in _YAML:
        raise PoolError(f"{path} is a YAML file, as configs and queries are, and no pool; name a pool or a .json file.")
    try:
        text = path.read_bytes().decode("utf-8-sig")  # editors on Windows put a byte order mark in front
        if path.suffix == TEXT:
            return read_text_pool(text, path)
        return load_json(text, object_pairs_hook=refuse_repeats)
    except FileNotFoundError:
        near = did_you_mean(path.name, (file.name for file in path.parent.glob(f"*{path.suffix}")), 3, _NEAR)
        raise PoolError(f"The pool file {path} does not exist; check its path.{near}") from None
    except IsADirectoryError:
        raise PoolError(f"{path} is a folder, not a pool file; name a .json file in it.") from None
    except OSError as error:
        raise PoolError(f"The pool file {path} can't be read: {error.strerror}; make it readable for you.") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise PoolError(f"{path} is not UTF-8 text (line {line}); save it again as UTF-8.") from error
    except json.JSONDecodeError as error:
        raise PoolError(
            f"{path} is not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); mend that place."
        ) from error
    except PoolError:
        raise
    except ValueError as error:
        raise PoolError(f"{path} can't be read: {error}; mend it.") from error
