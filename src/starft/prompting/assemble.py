"""From answers to a pool: what is dropped and why, what is the same, and in which order it is written."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from starft.captions.pools import Pool
from starft.prompting.lexicon import words
from starft.prompting.phrases import Unfit, fold, to_template
from starft.prompting.query import Query

TooLong = Callable[[Sequence[str]], Sequence[bool]]
"""Tells of templates whether they are too long for the model with the longest class name."""


@dataclass(frozen=True)
class Phrases:
    """What one answer holds.

    Args:
        class_name: The class that was asked about; null for all.
        phrases: In the answer's order.
        left_out: Lines of the answer that are no phrases, each with the reason.
    """

    class_name: str | None
    phrases: list[str]
    left_out: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Drop:
    """A phrase that didn't make it into the pool.

    Args:
        phrase: As the model wrote it.
        reason: Why.
        class_name: The class that was asked about; null for all.
    """

    phrase: str
    reason: str
    class_name: str | None

    def told(self) -> dict[str, str]:
        """Return it as the provenance lists it."""
        shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in self.phrase)
        shown = shown if len(shown) <= 200 else shown[:197] + "..."
        of = {} if self.class_name is None else {"class": self.class_name}
        return {"phrase": shown, "reason": self.reason, **of}


_SHORT = (
    ("comes after", "beyond the number asked for", "beyond the number asked for"),
    ("names the class", "names a class", "name a class"),
    ("repeats", "repeats another", "repeat another"),
    ("is too long", "is too long", "are too long"),
    ("stands outside", "stands outside the list", "stand outside the list"),
    ("", "makes no template", "make no template"),
)
"""How a reason begins, and how one drop and more are told on one line."""


def count_drops(dropped: Sequence[dict[str, str]]) -> str:
    """Return how many phrases were dropped and why, on one line.

    Args:
        dropped: As the provenance lists them.

    Example:
        >>> count_drops([{"reason": "repeats '{} at dawn'"}, {"reason": "is empty"}, {"reason": "has no words"}])
        '3 dropped: 2 make no template, 1 repeats another'
    """
    counts = Counter(next(told for told in _SHORT if drop["reason"].startswith(told[0])) for drop in dropped)
    why = ", ".join(f"{count} {one if count == 1 else more}" for (_, one, more), count in counts.most_common())
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
        """Return a class that the text names, or null."""
        found = words(text)
        for at, word in enumerate(found):
            for parts, name in self._by_first.get(word, ()):
                if found[at : at + len(parts)] == parts:
                    return name
        return None


def build_pool(
    query: Query,
    answers: Sequence[Phrases],
    class_names: Sequence[str],
    too_long: TooLong,
    provenance: dict[str, Any],
) -> Pool:
    """Return the pool of some answers; it depends on nothing but the arguments.

    Args:
        query: What was asked.
        answers: In the order of the questions.
        class_names: Classes of the data set, which phrases may not name; may be empty.
        too_long: Measures templates.
        provenance: What else is known; drops are added to it.
    """
    named, drops = NamedClass(class_names), list[Drop]()
    for answer in answers:
        drops += [Drop(line, reason, answer.class_name) for line, reason in answer.left_out]
    candidates = [[*_candidates(answer, query, named, drops)] for answer in answers]
    distinct = list(dict.fromkeys(template for kept in candidates for _, template in kept))
    long = {template for template, is_long in zip(distinct, too_long(distinct), strict=True) if is_long}
    seen_by_all = {fold(template): template for template in query.fallback}
    lists: dict[str | None, list[str]] = {}
    for answer, kept in zip(answers, candidates, strict=True):
        lists[answer.class_name] = _chosen(answer, kept, long, seen_by_all, query.count, drops)
    general = [*query.fallback, *lists.pop(None, [])]
    return Pool(
        name=query.name,
        description=query.description,
        templates=tuple(sorted(set(general))),
        per_class={str(name): tuple(sorted(kept)) for name, kept in lists.items() if kept},
        provenance=provenance | {"dropped": [drop.told() for drop in drops]},
    )


def answers_digest(texts: Iterable[str]) -> str:
    """Return a SHA-256 over raw answers.

    Args:
        texts: In the order of the questions.
    """
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.hexdigest()


def _candidates(answer: Phrases, query: Query, named: NamedClass, drops: list[Drop]) -> Iterable[tuple[str, str]]:
    """Yield each usable phrase with its template."""
    for phrase in answer.phrases:
        try:
            template = to_template(phrase, query.bare, query.adjective, query.uncounted)
        except Unfit as reason:
            drops.append(Drop(phrase, str(reason), answer.class_name))
            continue
        if (name := named(template)) is not None:
            drops.append(Drop(phrase, f"names the class {name!r}", answer.class_name))
            continue
        yield phrase, template


def _chosen(
    answer: Phrases,
    kept: list[tuple[str, str]],
    long: set[str],
    seen_by_all: dict[tuple[str, ...], str],
    most: int,
    drops: list[Drop],
) -> list[str]:
    """Return the templates of one answer that are short enough, new, and among the first that were asked for."""
    seen, chosen = dict(seen_by_all), list[str]()
    for phrase, template in kept:
        if template in long:
            reason = "is too long for the model's context with the longest class name"
        elif (first := seen.get(fold(template))) is not None:
            reason = f"repeats {first!r}"
        elif len(chosen) == most:
            reason = f"comes after the {most} that were asked for"
        else:
            seen[fold(template)] = template
            chosen.append(template)
            continue
        drops.append(Drop(phrase, reason, answer.class_name))
    return chosen
