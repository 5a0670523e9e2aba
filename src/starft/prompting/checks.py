"""``starft prompts check``: everything that is wrong with a pool, all at once."""

import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from starft.captions.english import is_modifier, mend_articles
from starft.captions.pool_files import check_pool, find_pool, read_json
from starft.captions.pools import inject
from starft.captions.templates import is_template
from starft.config.prompts import read_config_or_none
from starft.errors import PoolError
from starft.prompting.assemble import NamedClass
from starft.prompting.phrases import fold
from starft.safe_text import say
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
    held = read_json(path)
    config = read_config_or_none(data, overrides)
    say(f"Checking {path} ...", file=sys.stderr)
    names = config.class_names() if config is not None else ()
    found = list(_templates(held))
    problems = check_pool(held)
    problems += _repeats(found)
    problems += _english(held, found)
    problems += _classes(held, found, names)
    limit = import_module("starft.prompting.lengths").LengthLimit(model, config)
    problems += [*_lengths(found, limit), *_same_tokens(found, limit)]
    for problem in _in_order(problems, held):
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
    say(f"{path} is in order: {count_of(len(found), 'template')}.{against}")
    return 0


def _in_order(problems: Sequence[str], held: Any) -> list[str]:
    """Return problems in the order of the file; what is about the file as a whole comes first."""
    places: dict[str, int] = {}
    for key, value in held.items() if isinstance(held, dict) else ():
        for place in (key, repr(key), f"unknown key {key!r}"):
            places[place] = len(places)
        for name, own in value.items() if key == "per_class" and isinstance(value, dict) else ():
            places[f"{key}[{name!r}]"] = len(places)
            for index in range(len(own) if isinstance(own, list) else 0):
                places[f"{key}[{name!r}][{index}]"] = len(places)
        for index in range(len(value) if key == "templates" and isinstance(value, list) else 0):
            places[f"{key}[{index}]"] = len(places)

    def place_of(problem: str) -> int:
        found = _PLACE.match(problem)
        return places.get(found[0], -1) if found else -1

    return sorted(problems, key=place_of)


def _templates(held: Any) -> Iterator[tuple[str, str | None, str]]:
    """Yield where each usable template is, its class or null, and the template; others are told by `check_pool`."""
    for where, name, template in _texts(held):
        if is_template(template):
            yield where, name, template


def _texts(held: Any) -> Iterator[tuple[str, str | None, str]]:
    """Yield where each text is that should be a template, its class or null, and the text."""
    if not isinstance(held, dict):
        return
    per_class = held.get("per_class")
    lists: list[tuple[str, str | None, object]] = [("templates", None, held.get("templates"))]
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
        if first is not None and _plain(first[1]) != _plain(template):
            yield f"{where} says the same as {first[0]} (plural, articles and order don't count); take one of them out."
        seen.setdefault((name, key), (where, template))


def _plain(template: str) -> str:
    return " ".join(template.casefold().split())


def _english(held: Any, found: Sequence[tuple[str, str | None, str]]) -> Iterator[str]:
    for where, _, text in _texts(held):
        if (mended := mend_articles(text)) != text:
            yield f"{where} has the wrong article; write {mended!r}."
    for where, _, template in found:
        before = template.partition("{}")[0].strip()
        if before and not before.endswith(",") and not is_modifier(before):
            caption = inject("a photo of a duck.", template)
            yield f"{where} doesn't read as English: {caption!r}; put {before!r} behind the {{}}, or a comma after it."


def _classes(held: Any, found: Sequence[tuple[str, str | None, str]], names: Sequence[str]) -> Iterator[str]:
    if not names:
        return
    per_class = held.get("per_class") if isinstance(held, dict) else None
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
    whole = [one for one, is_whole in zip(found, fits, strict=True) if is_whole]
    folded = [fold(template) for _, _, template in whole]
    for at, first in enumerate(limit.same_tokens([template for _, _, template in whole])):
        if first is not None and folded[first] != folded[at] and whole[first][1] in (None, whole[at][1]):
            yield (
                f"{whole[at][0]} is the same tokens to {limit.model_name} as {whole[first][0]}; take one of them out."
            )
