"""Captions as the model gets them: classes that no token tells apart, templates that say the same, text that is cut."""

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from unicodedata import normalize

from starft.captions.pools import Pool, inject
from starft.captions.templates import caption, is_template
from starft.clip import CaptionRuler
from starft.errors import ConfigError
from starft.safe_text import say

SHOWN = 5
"""How many names or templates a sentence lists."""
SPARE = 4
"""Tokens that a tokenizer puts around a caption at most."""
LONGEST = 120
"""How many letters of a caption a sentence shows."""


@dataclass(frozen=True)
class TokenProblem:
    """One thing that is wrong with captions.

    Args:
        text: A sentence without its period.
        stops: Whether a run is refused for it; else it is worth knowing.
        names: Class names that the model can't tell apart, where it is about them.
    """

    text: str
    stops: bool = False
    names: tuple[str, ...] = ()

    @property
    def differs_as_text(self) -> bool:
        """Whether the names differ in more than case and spaces, so that a check of the text alone doesn't see it."""
        return len({" ".join(name.lower().split()) for name in self.names}) != 1


def class_problems(ruler: CaptionRuler, class_names: Sequence[str], templates: Sequence[str]) -> list[TokenProblem]:
    """Return what is wrong with captions of classes, as the model gets them.

    Names that are equal letter by letter are left to the check of the data, which knows whether the set is a published
    one that has such names.

    Args:
        ruler: Of the model.
        class_names: In label order.
        templates: Caption templates, each with ``{}`` once.
    """
    if not class_names or not templates or not all(map(is_template, templates)):
        return []  # told by the check of the data
    if len(class_names) == 1:
        text = (
            f"there is one class, {_shown(class_names[0])}, so that every image is of it; give two class names at least"
        )
        return [TokenProblem(text, stops=True)]
    problems = [
        TokenProblem(
            f"the class names {_listed(names)} are the same tokens to {ruler.model_name} in every caption"
            f"{_what_remains(ruler, caption(templates[0], names[0]))}; give the classes names that it can tell apart",
            stops=True,
            names=tuple(names),
        )
        for names in _alike_in_all(ruler, class_names, templates)
    ]
    same = [_listed(group) for group in _alike(ruler, templates, [caption(text, "duck") for text in templates])]
    if same:
        problems.append(
            TokenProblem(f"templates are the same tokens to {ruler.model_name} and count twice: {'; '.join(same)}")
        )
    cut = _cut(ruler, class_names, templates)
    return problems + ([TokenProblem(cut)] if cut else [])


def pool_problems(
    ruler: CaptionRuler, pool: Pool, class_names: Sequence[str], templates: Sequence[str]
) -> list[TokenProblem]:
    """Return what is wrong with the phrases of a pool, as the model gets them.

    Args:
        ruler: Of the model.
        pool: Where spurious captions come from.
        class_names: In label order.
        templates: Caption templates, each with ``{}`` once.
    """
    longest = _longest_template(ruler, class_names, templates)
    by_length = [name for _, name in sorted(zip(ruler.tokens([*class_names]), class_names, strict=True))]
    own = [(name, phrase) for name in class_names for phrase in pool.per_class.get(name, ())]
    pairs = [*((by_length[-1], phrase) for phrase in pool.templates), *own]
    captions = [inject(caption(longest, name), phrase) for name, phrase in pairs]
    cut, lost = sum(ruler.too_long(captions)), sum(_are_lost(ruler, longest, pairs))
    problems = []
    if cut or lost:
        counts = ruler.tokens(captions)
        worst = captions[max(range(len(captions)), key=counts.__getitem__)]
        short = [*((by_length[0], phrase) for phrase in pool.templates), *own]
        problems.append(
            TokenProblem(
                f"of {len(pairs)} phrases of the pool {pool.name}, {cut} don't fit whole into the {ruler.context} "
                f"tokens of {ruler.model_name} and {lost} leave nothing there: {_shown(worst)} is read as "
                f"{_shown(ruler.remains(worst))}; shorten class names, templates or phrases",
                stops=lost == len(pairs) and all(_are_lost(ruler, min(templates, key=len), short)),
            )
        )
    phrases = list(dict.fromkeys(phrase for _, phrase in pairs))
    same = [_listed(group) for group in _alike(ruler, phrases, [inject("a duck", phrase) for phrase in phrases])]
    if same:
        problems.append(
            TokenProblem(
                f"phrases of the pool {pool.name} are the same tokens to {ruler.model_name}: {'; '.join(same)}"
            )
        )
    return problems


def own_caption_problems(ruler: CaptionRuler, captions: Iterable[str], pool: Pool | None = None) -> list[TokenProblem]:
    """Return what is cut of captions of images' own.

    Args:
        ruler: Of the model.
        captions: Of all images.
        pool: Where the phrases come from that go into them, or None.
    """
    distinct = list(dict.fromkeys(captions))
    phrases = [phrase for some in (pool.templates, *pool.per_class.values()) for phrase in some] if pool else []
    phrase = max(phrases, key=len, default="{}")
    problems = []
    for with_phrase in ("{}", phrase) if phrase != "{}" else ("{}",):
        texts = [inject(text, with_phrase) for text in distinct]
        texts = [text for text in texts if len(text.encode()) + SPARE > ruler.context]  # a token is a byte at least
        counts = ruler.tokens(texts)
        cut = [(count, text) for count, text in zip(counts, texts, strict=True) if count > ruler.context]
        if not cut:
            continue
        longest, worst = max(cut)
        which = "captions of images" + ("" if with_phrase == "{}" else f" with the phrase {_shown(with_phrase)}")
        problems.append(
            TokenProblem(
                f"{len(cut):,} of {len(distinct):,} {which} are longer than the {ruler.context} tokens of "
                f"{ruler.model_name} and are cut: {_shown(worst)}, {longest} tokens, is read as "
                f"{_shown(ruler.remains(worst))}; shorten captions{'' if with_phrase == '{}' else ' or phrases'}"
            )
        )
    return problems


def alike_captions(ruler: CaptionRuler, captions: Iterable[str]) -> list[TokenProblem]:
    """Return which captions of images without classes differ as text and are the same tokens.

    Only those are tokenized that are long, or alike but for their signs and case.

    Args:
        ruler: Of the model.
        captions: Of all images.
    """
    distinct = list(dict.fromkeys(captions))
    letters: dict[str, list[str]] = defaultdict(list)
    for text in distinct:
        letters["".join(filter(str.isalnum, normalize("NFKD", unescape(text)).casefold()))].append(text)
    near = [text for group in letters.values() if len(group) > 1 for text in group]
    near += [text for text in distinct if len(text.encode()) + SPARE > ruler.context]
    near = list(dict.fromkeys(near))
    groups = [group for group in _grouped(near, ruler.rows(near)) if len(group) > 1]
    if not groups:
        return []
    return [
        TokenProblem(
            f"{sum(map(len, groups)):,} captions of images that differ as text are {len(groups):,} to "
            f"{ruler.model_name}: {_listed(groups[0])} are the same tokens; retrieval takes each for a wrong answer to "
            "the other's image, so write alike what means the same, and shorten what is cut"
        )
    ]


def check_captions(
    ruler: CaptionRuler,
    sets: Iterable[tuple[Sequence[str], Sequence[str]]],
    pool: Pool | None,
    notes: bool,
    own: Sequence[Sequence[str]] = (),
) -> None:
    """Refuse classes that the model can't tell apart, before anything is encoded; tell what is cut.

    Args:
        ruler: Of the model.
        sets: Class names and templates: those of training, which the pool is for, then those of each eval set.
        pool: Where spurious captions come from, or None.
        notes: Whether to tell what doesn't stop a run, on stderr.
        own: Captions of images' own: those of the training images, which the pool is for, then those of each eval set.

    Raises:
        ConfigError: With every problem that stops a run.
    """
    distinct = list(dict.fromkeys((tuple(names), tuple(templates)) for names, templates in sets))
    problems = [problem for names, templates in distinct for problem in class_problems(ruler, names, templates)]
    if pool is not None and distinct[0][0]:
        problems += pool_problems(ruler, pool, *distinct[0])
    for at, captions in enumerate(own):
        problems += own_caption_problems(ruler, captions, pool if at == 0 else None)
        problems += alike_captions(ruler, captions) if not distinct[0][0] else []
    problems = list(dict.fromkeys(problems))
    if stops := [problem.text for problem in problems if problem.stops]:
        sentence = "; ".join(stops)
        raise ConfigError(f"{sentence[0].upper()}{sentence[1:]}.")
    for problem in problems if notes else ():
        say(f"Note: {problem.text[0].upper()}{problem.text[1:]}.", file=sys.stderr)


def _are_lost(ruler: CaptionRuler, template: str, pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Tell of classes with a phrase each whether the spurious caption is the same tokens as the plain one."""
    plain = [caption(template, name) for name, _ in pairs]
    spurious = [inject(clean, phrase) for clean, (_, phrase) in zip(plain, pairs, strict=True)]
    return [item == other for item, other in zip(ruler.rows(plain), ruler.rows(spurious), strict=True)]


def _alike_in_all(ruler: CaptionRuler, names: Sequence[str], templates: Sequence[str]) -> Iterator[list[str]]:
    """Yield classes whose captions are the same tokens with every template; most differ with the first already."""
    groups = _grouped(names, ruler.rows([caption(templates[0], name) for name in names]))
    for template in templates[1:]:
        several = [group for group in groups if len(group) > 1]
        groups = [
            part
            for group in several
            for part in _grouped(group, ruler.rows([caption(template, name) for name in group]))
        ]
    yield from (group for group in groups if len(set(group)) > 1)


def _alike(ruler: CaptionRuler, texts: Sequence[str], captions: Sequence[str]) -> list[list[str]]:
    """Return texts whose captions are the same tokens; what is cut is told elsewhere, and doesn't count here."""
    whole = [not long for long in ruler.too_long(captions)]
    kept = [text for text, fits in zip(texts, whole, strict=True) if fits]
    groups = _grouped(kept, ruler.rows([item for item, fits in zip(captions, whole, strict=True) if fits]))
    return [group for group in groups if len(group) > 1]


def _grouped(texts: Sequence[str], rows: Sequence[bytes]) -> list[list[str]]:
    groups: dict[bytes, list[str]] = defaultdict(list)
    for text, row in zip(texts, rows, strict=True):
        groups[row].append(text)
    return list(groups.values())


def _longest_template(ruler: CaptionRuler, names: Sequence[str], templates: Sequence[str]) -> str:
    counts = ruler.tokens([caption(template, names[0]) for template in templates])
    return templates[max(range(len(templates)), key=counts.__getitem__)]


def _cut(ruler: CaptionRuler, names: Sequence[str], templates: Sequence[str]) -> str:
    """Return what is cut of the classes' captions with the longest template, or ""."""
    longest = _longest_template(ruler, names, templates)
    captions = [caption(longest, name) for name in names]
    counts = ruler.tokens(captions)
    cut = [text for text, count in zip(captions, counts, strict=True) if count > ruler.context]
    if not cut:
        return ""
    first = max(cut, key=lambda text: counts[captions.index(text)])
    sentence = (
        f"captions of {len(cut)} of {len(names)} classes are longer than the {ruler.context} tokens of "
        f"{ruler.model_name} and are cut: {_shown(first)}, {max(counts)} tokens, is read as "
        f"{_shown(ruler.remains(first))}"
    )
    alike = [group for group in _grouped(names, ruler.rows(captions)) if len(set(group)) > 1]
    if alike:
        sentence += f"; with the template {longest!r}, {' and '.join(map(_listed, alike[:SHOWN]))} are the same to it"
    return f"{sentence}; shorten class names or templates"


def _what_remains(ruler: CaptionRuler, text: str) -> str:
    """Return what the model reads of a caption that is cut, in brackets; or ""."""
    if not any(ruler.too_long([text])):
        return ""
    return f", which are cut at {ruler.context} tokens and end as {_shown(ruler.remains(text), from_end=True)}"


def _listed(names: Sequence[str]) -> str:
    """Return two names or more as people list them; where the eye can't tell two apart, their letters' codes."""
    distinct = list(dict.fromkeys(names))
    seen = {normalize("NFKC", name) for name in distinct}
    shown = [_shown(name) if len(seen) == len(distinct) else ascii(name) for name in distinct[:SHOWN]]
    if len(distinct) > SHOWN:
        return f"{', '.join(shown)} and {len(distinct) - SHOWN} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else f"{shown[0]} twice"


def _shown(text: str, from_end: bool = False) -> str:
    """Return a text in quotes, a part of it left out where it is long."""
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"... {text[-LONGEST:]}" if from_end else f"{text[:half]} ... {text[-half:]}"
    return repr(text)
