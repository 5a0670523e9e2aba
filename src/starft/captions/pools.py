"""Pools: named lists of spurious templates, kept as JSON files with their provenance.

A template holds ``{}`` once, where a caption goes without its final period: "a photo of a duck." and "{} on a lake"
give "a photo of a duck on a lake.". Plain words before the ``{}`` go behind the caption's article: "blurry {}" gives
"a blurry photo of a duck.". `pool_files` reads and writes them; `starft.prompting` asks a language model for them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starft.captions.english import a_or_an, is_modifier
from starft.captions.templates import is_template
from starft.errors import PoolError
from starft.wording import quoted

WRONG_SLOTS = "must hold {} exactly once; put it where the caption goes."
_LEADING_ARTICLE = re.compile(r"(?:an?|the) (?=\S)", re.IGNORECASE)


@dataclass(frozen=True)
class Pool:
    """A named list of spurious templates.

    Args:
        name: What configs and reports call it.
        description: What its templates are about, for people.
        templates: Serve every class; at least one, each with ``{}`` once.
        per_class: Templates that serve one class only, by class name; may be empty.
        provenance: Where the templates come from: ``source`` ("llm" or "curated"), model, query, parameters, date.
    """

    name: str
    description: str
    templates: tuple[str, ...]
    per_class: dict[str, tuple[str, ...]]
    provenance: dict[str, Any]

    def templates_for(self, class_name: str) -> tuple[str, ...]:
        """Return the general templates, then those of one class.

        Args:
            class_name: Spelled as in ``per_class``; a class that isn't there gets the general templates only.
        """
        return self.templates + self.per_class.get(class_name, ())


def inject(caption: str, template: str) -> str:
    """Put a caption into a spurious template; a final period moves to the end.

    Braces in the caption stay as they are: only the template's ``{}`` is replaced. A template that begins with a plain
    modifier, and not with a preposition or a comma behind it, puts that behind the caption's article.

    Args:
        caption: A whole caption, such as "a photo of a duck.".
        template: Holds ``{}`` once, such as "{} on a lake".

    Raises:
        PoolError: The template doesn't hold ``{}`` exactly once.

    Example:
        >>> inject("a photo of a duck.", "{} on a lake")
        'a photo of a duck on a lake.'
        >>> inject("a photo of a duck.", "overexposed {}")
        'an overexposed photo of a duck.'
    """
    if not is_template(template):
        raise PoolError(f"The template {quoted(template)} {WRONG_SLOTS}")
    period = "." if caption.endswith(".") else ""
    body = caption.removesuffix(".")
    before, behind = template.split("{}")
    article = _LEADING_ARTICLE.match(body) if before.endswith(" ") and is_modifier(before[:-1]) else None
    if article is None:
        return before + body + behind + period
    first = article[0] if article[0].lower() == "the " else f"{a_or_an(before)} "
    return first + before + body[article.end() :] + behind + period


def join_pools(pools: Sequence[Pool]) -> Pool:
    """Return one pool that holds the templates of all, each once, and the provenance of each.

    Args:
        pools: At least one; a single one comes back as it is.
    """
    if len(pools) == 1:
        return pools[0]
    general = {
        normalized_template(template): template for pool in reversed(pools) for template in reversed(pool.templates)
    }
    classes = dict.fromkeys(name for pool in pools for name in pool.per_class)
    per_class: dict[str, tuple[str, ...]] = {}
    for name in classes:
        own = {normalized_template(t): t for pool in reversed(pools) for t in reversed(pool.per_class.get(name, ()))}
        if left := sorted(template for item, template in own.items() if item not in general):
            per_class[name] = tuple(left)
    return Pool(
        name="+".join(pool.name for pool in pools),
        description=" ".join(pool.description for pool in pools),
        templates=tuple(sorted(general.values())),
        per_class=per_class,
        provenance={
            "source": "llm" if any(pool.provenance["source"] == "llm" for pool in pools) else "curated",
            "pools": [{"name": pool.name, "provenance": pool.provenance} for pool in pools],
        },
    )


def normalized_template(template: str) -> str:
    """Return what a CLIP tokenizer makes of a template: no case, single spaces."""
    return " ".join(template.casefold().split())
