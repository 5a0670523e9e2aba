"""``starft prompts check`` and ``list``: everything that is wrong with a pool, and the pools and queries at hand."""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from starft.captions.english import is_modifier, mend_articles
from starft.captions.pool_files import LOCAL_POOLS, check_pool, find_pool, list_pools, load_pool, read_json
from starft.captions.pools import inject, normalized_template
from starft.captions.templates import is_template
from starft.config.prompts import read_config_or_none
from starft.errors import PoolError
from starft.prompting.assemble import NamedClass
from starft.prompting.query import list_queries, load_query
from starft.prompting.templates import fold
from starft.reporting.console import Console
from starft.safe_text import say, visible
from starft.wording import count_of, did_you_mean

if TYPE_CHECKING:
    from starft.prompting.lengths import LengthLimit

_PLACE = re.compile(r"(?:templates|per_class)(?:\[(?:\d+|'[^']*'|\"[^\"]*\")\])*|(?:unknown key )?'[^']*'")


def check(pool: str, data: str | None = None, model: str | None = None, overrides: tuple[str, ...] = ()) -> int:
    """Tell everything that is wrong with a pool: its file, its English, and, given data, what doesn't suit them.

    Args:
        pool: Name of a pool or path of a pool file.
        data: A training config, or a file with class_names; phrases may not name a class and must fit with the longest.
        model: The CLIP whose context captions must fit; null takes that of --data, or else ViT-B-16.
        overrides: Options that change the config, as ``--data.init_args.NAME=VALUE``.

    Raises:
        PoolError: There are problems; they have been printed, one a line.
        ConfigError: Data or model can't be used.
    """
    path = find_pool(pool)
    content = read_json(path)
    config = read_config_or_none(data, overrides)
    say(f"Checking {path} ...", file=sys.stderr)
    names = config.class_names() if config is not None else ()
    results = list(_templates(content))
    problems = check_pool(content)
    problems += _repeats(results)
    problems += _english(content, results)
    problems += _classes(content, results, names)
    limit = import_module("starft.prompting.lengths").LengthLimit(model, config)
    problems += [*_lengths(results, limit), *_same_tokens(results, limit)]
    for problem in _in_order(problems, content):
        say(problem)
    if config is not None:
        of_classes = import_module("starft.clip.token_checks").class_problems(limit.ruler, names, config.templates())
        for problem in of_classes:
            say(f"Note: in {data}, {problem.text}.", file=sys.stderr)
    if problems:
        raise PoolError(
            f"{path} has {count_of(len(problems), 'problem')}, told above; mend the file or generate it again."
        )
    against = f" It suits the {len(names)} class{'es' if len(names) != 1 else ''} of {data}." if names else ""
    say(f"{path} is in order: {count_of(len(results), 'template')}.{against}")
    return 0


def _in_order(problems: Sequence[str], content: Any) -> list[str]:
    """Return problems in the order of the file; what is about the file as a whole comes first."""
    places: dict[str, int] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        for place in (key, repr(key), f"unknown key {key!r}"):
            places[place] = len(places)
        for name, own in value.items() if key == "per_class" and isinstance(value, dict) else ():
            places[f"{key}[{name!r}]"] = len(places)
            for index in range(len(own) if isinstance(own, list) else 0):
                places[f"{key}[{name!r}][{index}]"] = len(places)
        for index in range(len(value) if key == "templates" and isinstance(value, list) else 0):
            places[f"{key}[{index}]"] = len(places)

    def place_of(problem: str) -> int:
        match = _PLACE.match(problem)
        return places.get(match[0], -1) if match else -1

    return sorted(problems, key=place_of)


def _templates(content: Any) -> Iterator[tuple[str, str | None, str]]:
    """Yield where each usable template is, its class or None, and the template; others are told by `check_pool`."""
    for where, name, template in _texts(content):
        if is_template(template):
            yield where, name, template


def _texts(content: Any) -> Iterator[tuple[str, str | None, str]]:
    """Yield where each text is that should be a template, its class or None, and the text."""
    if not isinstance(content, dict):
        return
    per_class = content.get("per_class")
    lists: list[tuple[str, str | None, object]] = [("templates", None, content.get("templates"))]
    for name, own in per_class.items() if isinstance(per_class, dict) else ():
        lists.append((f"per_class[{name!r}]", name, own))
    for where, name, own in lists:
        for index, template in enumerate(own if isinstance(own, list) else []):
            if isinstance(template, str):
                yield f"{where}[{index}] {template!r}", name, template


def _repeats(found: Sequence[tuple[str, str | None, str]]) -> Iterator[str]:
    """Yield templates that say the same in another case, number or order; letter by letter is `check_pool`'s."""
    seen: dict[tuple[str | None, tuple[str, ...]], tuple[str, str]] = {}
    for where, name, template in found:
        key = fold(template)
        first = seen.get((None, key)) or seen.get((name, key))
        if first is not None and normalized_template(first[1]) != normalized_template(template):
            yield f"{where} says the same as {first[0]} (plural, articles and order don't count); take one of them out."
        seen.setdefault((name, key), (where, template))


def _english(content: Any, found: Sequence[tuple[str, str | None, str]]) -> Iterator[str]:
    for where, _, text in _texts(content):
        if (mended := mend_articles(text)) != text:
            yield f"{where} has the wrong article; write {mended!r}."
    for where, _, template in found:
        before = template.partition("{}")[0].strip()
        if before and not before.endswith(",") and not is_modifier(before):
            caption = inject("a photo of a duck.", template)
            yield f"{where} doesn't read as English: {caption!r}; put {before!r} behind the {{}}, or a comma after it."


def _classes(content: Any, found: Sequence[tuple[str, str | None, str]], names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    per_class = content.get("per_class") if isinstance(content, dict) else None
    for name in per_class if isinstance(per_class, dict) else {}:
        if name not in names:
            near = did_you_mean(str(name), names)
            yield f"per_class[{name!r}] is no class of the data; take it out or spell it as there.{near}"
    named = NamedClass(names)
    for where, _, template in found:
        if (name := named(template)) is not None:
            yield f"{where} names the class {name!r} of the data; take it out."


def _lengths(found: Sequence[tuple[str, str | None, str]], limit: "LengthLimit") -> Iterator[str]:
    too_long = limit.too_long([template for _, _, template in found])
    for (where, _, _), is_long in zip(found, too_long, strict=True):
        if is_long:
            yield (
                f"{where} is too long for the {limit.context} tokens of {limit.model_name} with the class "
                f"{limit.class_name!r}; shorten it."
            )


def _same_tokens(found: Sequence[tuple[str, str | None, str]], limit: "LengthLimit") -> Iterator[str]:
    """Yield templates that differ only in what the model's tokenizer drops; those that are cut are told already."""
    fits = [not long for long in limit.too_long([template for _, _, template in found])]
    whole = [item for item, is_whole in zip(found, fits, strict=True) if is_whole]
    folded = [fold(template) for _, _, template in whole]
    for at, first in enumerate(limit.same_tokens([template for _, _, template in whole])):
        if first is not None and folded[first] != folded[at] and whole[first][1] in (None, whole[at][1]):
            yield (
                f"{whole[at][0]} is the same tokens to {limit.model_name} as {whole[first][0]}; take one of them out."
            )


def list_at_hand(folder: str = str(LOCAL_POOLS)) -> int:
    """List the shipped pools and those of a folder, with their size and where they come from, and the queries.

    Args:
        folder: Where pools of your own are.
    """
    own = [path for kind in ("*.json", "*.txt") for path in Path(folder).glob(kind)]
    files = {path.resolve(): path for path in (*sorted(own), *list_pools())}
    console = Console(160)
    table = Table("pool", "templates", "classes", "source", "model", "query", "created", "file", box=None)
    broken = []
    for path in sorted(files.values(), key=lambda path: (path.stem, str(path))):
        try:
            pool = load_pool(path.as_posix())
        except PoolError as error:
            broken.append(str(error))
            continue
        provenance = pool.provenance
        size = sum(map(len, pool.per_class.values()))
        table.add_row(
            pool.name,
            str(len(pool.templates)),
            f"{size} for {len(pool.per_class)}" if pool.per_class else "-",
            *(visible(str(provenance.get(key) or "-")) for key in ("source", "model", "query")),
            str(provenance.get("created") or "-")[:10],
            str(path) if path.parent == Path(folder) else "shipped",
        )
    console.print(table)
    for problem in broken:
        say(f"Not usable: {problem}")
    queries = Table("query", "kind", "phrases", "about", box=None)
    for path in list_queries():
        query = load_query(path.stem)
        queries.add_row(query.name, query.kind, str(query.count), query.description)
    console.print()
    console.print(queries)
    return 0
