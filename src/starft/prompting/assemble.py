"""From answers to a pool: what is dropped and why, what is the same, and who wrote it in which form."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from starft.captions.english import words
from starft.captions.pools import Pool
from starft.prompting.answers import Reading
from starft.prompting.cache import Answer
from starft.prompting.completion import IGNORED
from starft.prompting.query import Query
from starft.prompting.templates import Unfit, fold, to_template
from starft.safe_text import visible
from starft.wording import count_of

TooLong = Callable[[Sequence[str]], Sequence[bool]]
"""Tells of templates whether they are too long for the model with the longest class name."""


_SHORT = (
    ("comes after", "beyond the number asked for", "beyond the number asked for"),
    ("names the class", "names a class", "name a class"),
    ("repeats", "repeats another", "repeat another"),
    ("is too long", "is too long", "are too long"),
    ("stands outside", "stands outside the list", "stand outside the list"),
    ("holds no {}", "holds no {}", "hold no {}"),
    ("", "makes no template", "make no template"),
)
"""How a reason begins, and what one drop and more are called on one line."""


def count_drops(dropped: Sequence[dict[str, str]]) -> str:
    """Return how many texts were dropped and why, on one line.

    Args:
        dropped: As the provenance lists them.

    Example:
        >>> count_drops([{"reason": "repeats '{} at dawn'"}, {"reason": "is empty"}, {"reason": "has no words"}])
        '3 dropped: 2 make no template, 1 repeats another'
    """
    counts = Counter(next(short for short in _SHORT if drop["reason"].startswith(short[0])) for drop in dropped)
    why = ", ".join(f"{count} {single if count == 1 else many}" for (_, single, many), count in counts.most_common())
    return f"{len(dropped)} dropped" + (f": {why}" if why else "")


class NamedClass:
    """Finds class names in phrases, whole words, singular or plural.

    Args:
        class_names: Classes of the data set.
    """

    def __init__(self, class_names: Iterable[str]) -> None:
        self._by_first: dict[str, list[tuple[list[str], str]]] = {}
        for name in dict.fromkeys(class_names):
            if parts := words(name):
                self._by_first.setdefault(parts[0], []).append((parts, name))

    def __call__(self, text: str) -> str | None:
        """Return a class that the text names, or None."""
        result = words(text)
        for at, word in enumerate(result):
            for parts, name in self._by_first.get(word, ()):
                if result[at : at + len(parts)] == parts:
                    return name
        return None


def build_pool(
    query: Query,
    readings: Sequence[tuple[str | None, Reading]],
    class_names: Sequence[str],
    too_long: TooLong,
    provenance: dict[str, Any],
) -> Pool:
    """Return the pool of some answers; it depends on nothing but the arguments.

    Args:
        query: What was asked.
        readings: The class of each question in its order, None for all, and what its answer holds.
        class_names: Classes of the data set, which templates may not name; may be empty.
        too_long: Measures templates.
        provenance: What else is known; drops are added to it.
    """
    named = NamedClass(class_names)
    dropped = [_drop(line, why, name) for name, reading in readings for line, why in reading.left_out]
    candidates: list[list[tuple[str, str]]] = []
    for name, reading in readings:
        kept = []
        for text in reading.texts:
            template, why = _template(text, query, named)
            kept.append((text, template)) if not why else dropped.append(_drop(text, why, name))
        candidates.append(kept)
    distinct = list(dict.fromkeys(template for kept in candidates for _, template in kept))
    long = {template for template, is_long in zip(distinct, too_long(distinct), strict=True) if is_long}
    lists: dict[str | None, list[str]] = {}
    for (name, _), kept in zip(readings, candidates, strict=True):
        seen, lists[name] = {fold(template): template for template in query.fallback}, []
        for text, template in kept:
            if why := _refusal(template, long, seen, query.count - len(lists[name]), query.count):
                dropped.append(_drop(text, why, name))
            else:
                seen[fold(template)] = template
                lists[name].append(template)
    general = [*query.fallback, *lists.pop(None, [])]
    return Pool(
        name=query.name,
        description=query.description,
        templates=tuple(sorted(set(general))),
        per_class={str(name): tuple(sorted(kept)) for name, kept in lists.items() if kept},
        provenance=provenance | {"dropped": dropped},
    )


def _drop(text: str, reason: str, class_name: str | None) -> dict[str, str]:
    """Return what the provenance tells of a text that didn't make it into the pool."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    shown = shown if len(shown) <= 200 else shown[:197] + "..."
    return {"text": shown, "reason": reason, **({} if class_name is None else {"class": class_name})}


def _template(text: str, query: Query, named: NamedClass) -> tuple[str, str]:
    """Return the template in a text and an empty reason, or nothing and why there is none."""
    try:
        template = to_template(text, query.before)
    except Unfit as why:
        return "", str(why)
    name = named(template)
    return template, "" if name is None else f"names the class {name!r}"


def _refusal(template: str, long: set[str], seen: dict[tuple[str, ...], str], left: int, most: int) -> str:
    """Return why a template isn't taken; empty where it is."""
    if template in long:
        return "is too long for the model's context with the longest class name"
    if (first := seen.get(fold(template))) is not None:
        return f"repeats {first!r}"
    return "" if left else f"comes after the {most} that were asked for"


def answers_digest(texts: Iterable[str]) -> str:
    """Return a SHA-256 over raw answers.

    Args:
        texts: In the order of the questions.
    """
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def count_served(answers: Sequence[Answer]) -> dict[str, int]:
    """Return how many answers each model gave, by the name that the server says.

    Args:
        answers: Of one pool.
    """
    return dict(sorted(Counter(visible(answer.served_model) for answer in answers if answer.served_model).items()))


def notes_on_answers(provenance: dict[str, Any]) -> list[str]:
    """Return what is odd about who answered and how, a sentence each.

    Args:
        provenance: Of a pool that was generated.
    """
    asked, served, forms = str(provenance["model"]), provenance["served_models"], provenance["forms"]
    notes = []
    if len(served) > 1:
        by = ", ".join(f"{name} {count}" for name, count in served.items())
        notes.append(f"Note: {len(served)} models wrote the answers, as {provenance['address']} names them: {by}.")
    elif served and not _same_model(asked, next(iter(served))):
        notes.append(f"Note: asked for {asked}, {provenance['address']} says that {next(iter(served))} wrote.")
    if ignored := forms.get(IGNORED):
        notes.append(
            f"Note: {provenance['address']} took a form for its answers and ignored it in "
            f"{count_of(ignored, 'answer')}; the pool's provenance says so."
        )
    return notes


def _same_model(asked: str, served: str) -> bool:
    """Return whether a served name is the one asked for, maybe with a date, a folder or an ending of a file."""
    a, b = asked.casefold().rpartition("/")[2], served.casefold().rpartition("/")[2]
    return a.startswith(b) or b.startswith(a)
