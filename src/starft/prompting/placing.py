"""Where a phrase stands beside a caption: behind it, before it, or in a frame of the query, with the right article."""

from starft.captions.english import DETERMINERS, PREPOSITIONS, a_or_an, mend_articles
from starft.prompting.lexicon import (
    MASS,
    describes,
    is_adverb,
    is_gerund,
    is_participle,
    kinds,
    singular,
    takes_no_article,
)

PHRASE = "{phrase}"
BARE = "{} with {phrase}"
ADJECTIVE = "{} that is {phrase}"

LEADS = PREPOSITIONS | {"of"}
"""Words that a phrase behind the caption begins with."""

ALONE = frozenset({"alone", "asleep", "nearby", "overhead", "underwater", "indoors", "outdoors"})
"""Words that stand behind the caption, unless a noun follows: "nearby", but not "nearby trees"."""

PLACED = frozenset({"close", "deep", "far", "full", "half", "halfway", "high", "low", "upside", "wet", "white", "next"})
"""Nouns and adjectives that stand behind the caption where a preposition follows."""

TRANSITIVE = frozenset({
    "wearing", "holding", "eating", "facing", "carrying", "casting", "showing", "riding", "playing", "reflecting",
    "resembling", "overlooking", "using", "pulling", "chasing", "reading", "making",
})  # fmt: skip
"""Participles that take an object without an article."""

TIMES = {
    **dict.fromkeys(("night", "dawn", "dusk", "sunset", "sunrise", "noon", "midnight", "twilight", "nighttime"), "at"),
    **dict.fromkeys(("spring", "summer", "autumn", "fall", "winter"), "in"),
    "daytime": "in the",
}
DAYS = frozenset({"day", "morning", "afternoon", "evening", "night"})
HOURS = frozenset({"golden hour", "blue hour", "rush hour"})


def place(text: str, bare: str, adjective: str, uncounted: str | None = None) -> str:
    """Return the template of a phrase, which has been cleaned and holds no ``{}``.

    Args:
        text: The phrase.
        bare: Template with ``{phrase}`` and ``{}`` for nouns.
        adjective: Template with both for what describes.
        uncounted: Template with both for bare nouns that aren't counted; null takes ``bare``.
    """
    parts = [word.strip(",") for word in text.casefold().split()]
    if _leads(parts):
        return mend_articles(f"{{}} {text}")
    if time := _time(text, parts):
        return time
    if parts[0] in ("a", "an") and _describes(parts[1:]):
        text, parts = text.split(maxsplit=1)[1], parts[1:]
    before = adjective.startswith(PHRASE)
    if len(parts) == 1 and is_gerund(parts[0]) and describes(parts[0]) and not before:
        return f"{{}} {text}"
    if _describes(parts) or (before and _is_label(parts)):
        if before and (len(parts) > 1 and not describes(parts[-1])):
            return f"{{}}, {text}"  # "cropped too tightly" stands before nothing
        return mend_articles(adjective.replace(PHRASE, text.replace(",", "")))
    head = _head(parts)
    if head == len(parts) - 1:
        frame = uncounted if uncounted is not None and _is_stuff(parts) else bare
        frame = frame.replace(f"the {parts[-1]} of {PHRASE}", PHRASE)
    else:  # "a cup of coffee in the background" can't stand before more words
        frame = bare if bare.endswith(PHRASE) else BARE
    return mend_articles(frame.replace(PHRASE, _with_article(text, parts, head)))


def leads(text: str) -> bool:
    """Tell whether a text can stand behind a noun as it is: it begins with a preposition or a participle."""
    return _leads([word.strip(",") for word in text.casefold().split()])


def _leads(parts: list[str]) -> bool:
    first, *rest = parts
    if first in ALONE:
        return not rest or rest[0] in LEADS | DETERMINERS
    if first in LEADS or first == "being" or parts == ["upside", "down"]:
        return True
    while rest and is_adverb(first):
        first, *rest = rest
        if first in LEADS:
            return True
    while rest and is_adverb(rest[0]) and rest[0] not in LEADS:
        rest = rest[1:]
    if not rest:
        return len(parts) > 1 and is_gerund(first)
    if is_gerund(first):
        return rest[0] in LEADS | DETERMINERS | ALONE or first in TRANSITIVE
    says = first in PLACED or is_participle(first) or (describes(first) and first != "light")
    return says and rest[0] in LEADS and len(rest) > 1


def _time(text: str, parts: list[str]) -> str | None:
    """Return the template of a phrase that names a time, or null."""
    named = [word for word in parts if word not in ("a", "an", "the")]
    if " ".join(named) in HOURS:
        return f"{{}} at {' '.join(named)}"
    if len(named) == 1 and named[0] in TIMES:
        return f"{{}} {TIMES[named[0]]} {named[0]}"
    if len(named) > 1 and named[-1] in DAYS and not DETERMINERS & set(named) and not LEADS & set(named):
        bare = text.split(maxsplit=1)[1] if len(named) < len(parts) else text
        return f"{{}} on {a_or_an(bare)} {bare}"
    return None


def _describes(parts: list[str]) -> bool:
    """Tell whether a phrase says how something is and names nothing: "misty", "very dark and noisy", "zoomed in"."""
    if not parts or parts[0] in DETERMINERS:
        return False
    if describes(parts[-1]) and not LEADS & set(parts):
        noun_too = len(parts) > 1 and (is_gerund(parts[-1]) or parts[-1] == "light") and not is_adverb(parts[-2])
        return not noun_too and _head(parts) == len(parts) - 1 and not any(map(_is_plural, parts[:-1]))
    rest = parts[1:]
    return bool(rest) and describes(parts[0]) and all(is_adverb(word) or word in LEADS for word in rest)


def _is_label(parts: list[str]) -> bool:
    """Tell whether a single word stands before a noun as it is: "HDR", "fisheye", "close-up"."""
    return len(parts) == 1 and ("-" in parts[0] or "NOUN" not in kinds(parts[0]) or "ADJ" in kinds(parts[0]))


def _is_stuff(parts: list[str]) -> bool:
    """Tell whether a noun phrase names what isn't counted: "dense fog", "weathered stone", but not "a stone"."""
    noun = parts[-1]
    made = noun not in MASS and noun.endswith(("ing", "ness", "ence", "ation", "ism", "ity"))  # from verbs, adjectives
    return not made and parts[0] not in DETERMINERS and takes_no_article(noun) and not _is_plural(noun)


def _is_plural(word: str) -> bool:
    return word.isalpha() and singular(word) != word


def _head(parts: list[str]) -> int:
    """Return the position of the noun that the rest of a noun phrase hangs on."""
    last = len(parts) - 1
    for index, word in enumerate(parts[1:], 1):
        follows = parts[index + 1] if index < last else None
        if word in LEADS and not (word in ALONE and index == last):
            return index - 1
        plural = _is_plural(parts[index - 1])
        led = follows is not None and (follows in LEADS | DETERMINERS | ALONE or is_adverb(follows))
        led = led or (follows is not None and plural and "ADV" in kinds(follows))
        alone = follows is None and plural
        if is_gerund(word) and (led or alone or (follows is not None and word in TRANSITIVE)):
            return index - 1
        if is_participle(word) and (led or alone) and "NOUN" in kinds(parts[index - 1]):
            return index - 1
    return last


def _with_article(text: str, parts: list[str], head: int) -> str:
    noun = parts[head].rsplit("-", 1)[-1]
    begins = text.split(maxsplit=1)[0]
    proper = begins[:1].isupper() and not kinds(parts[-1]) and (len(parts) > 1 or not kinds(parts[0]))
    label = len(parts) == 1 and not begins.isalpha() and "-" not in begins
    of = head + 1 < len(parts) and parts[head + 1] == "of" and not _is_plural(noun) and noun not in ("art",)
    if parts[0] in DETERMINERS or proper or label or (takes_no_article(noun) and not of):
        return text
    return f"{a_or_an(text)} {text}"
