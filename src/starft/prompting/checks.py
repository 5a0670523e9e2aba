"""``starft prompts check``: everything that is wrong with a pool, all at once."""

from collections.abc import Iterator, Sequence
from typing import Any

from starft.english import is_modifier
from starft.errors import PoolError, did_you_mean
from starft.pools import check_pool, find_pool, inject, read_json
from starft.prompting.assemble import NamedClass
from starft.prompting.config_files import read_config
from starft.prompting.lengths import LengthLimit
from starft.prompting.phrases import fold


def check(pool: str, data: str | None = None, model: str | None = None) -> int:
    """Tell everything that is wrong with a pool: its file, its English, and, given data, what doesn't suit them.

    Args:
        pool: Name of a pool or path of a pool file.
        data: A training config, or a file with class_names; phrases may not name a class and must fit with the longest.
        model: The CLIP whose context captions must fit; null takes that of --data, or else ViT-B-16.

    Raises:
        PoolError: There are problems; they have been printed, one a line.
        ConfigError: Data or model can't be used.
    """
    path = find_pool(pool)
    held = read_json(path)
    config = read_config(data) if data is not None else None
    names = config.class_names() if config is not None else ()
    found = list(_templates(held))
    problems = check_pool(held)
    problems += _repeats(found)
    problems += _english(found)
    problems += _classes(held, found, names)
    problems += _lengths(found, LengthLimit(model, config))
    for problem in problems:
        print(problem)
    if problems:
        count = f"{len(problems)} problem" + ("s" if len(problems) > 1 else "")
        raise PoolError(f"{path} has {count}, told above; mend the file or generate it again.")
    against = f" It suits the {len(names)} classes of {data}." if names else ""
    print(f"{path} is in order: {len(found)} templates.{against}")
    return 0


def _templates(held: Any) -> Iterator[tuple[str, str | None, str]]:
    """Yield where each usable template is, its class or null, and the template; others are told by `check_pool`."""
    if not isinstance(held, dict):
        return
    per_class = held.get("per_class")
    lists: list[tuple[str, str | None, object]] = [("templates", None, held.get("templates"))]
    for name, own in per_class.items() if isinstance(per_class, dict) else ():
        lists.append((f"per_class[{name!r}]", name, own))
    for where, name, own in lists:
        for index, template in enumerate(own if isinstance(own, list) else []):
            if isinstance(template, str) and template.count("{}") == 1:
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


def _english(found: Sequence[tuple[str, str | None, str]]) -> Iterator[str]:
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


def _lengths(found: Sequence[tuple[str, str | None, str]], limit: LengthLimit) -> Iterator[str]:
    too_long = limit.too_long([template for _, _, template in found])
    for (where, _, _), is_long in zip(found, too_long, strict=True):
        if is_long:
            yield (
                f"{where} is too long for the {limit.context} tokens of {limit.model_name} with the class "
                f"{limit.class_name!r}; shorten it."
            )
