"""From one phrase to one template: cleaned of what models put around it, and set so that it reads as English.

A phrase becomes a template with ``{}`` once, where the caption "a photo of a duck" goes: behind the caption
("{} in the forest"), or before it where it is a modifier ("blurry {}" gives "a blurry photo of a duck").
"""

import re
import unicodedata

from starft.english import DETERMINERS, PREPOSITIONS, a_or_an, is_modifier, mend_articles, singular, words
from starft.prompting.query import PHRASE

MOST_WORDS = 12

PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "\u00a0": " "})
PUNCTUATION = frozenset(" ,'-&/%.:()°+")

LEADS = frozenset({
    *PREPOSITIONS,
    "alone", "asleep", "half", "halfway", "nearby", "of", "overhead", "partially", "partly",
})  # fmt: skip
"""Words that a phrase behind the caption begins with."""

PLACED = frozenset({
    "close", "deep", "far", "full", "high", "low", "upside", "wet", "white", "next",
})  # fmt: skip
"""Words that do so where a preposition follows."""

ADJECTIVES = frozenset({
    "black", "blue", "brown", "gray", "green", "grey", "monochrome", "red", "white", "yellow",
})  # fmt: skip
"""Words that are no noun, whatever they end in."""

TRANSITIVE = frozenset({
    "wearing", "holding", "eating", "facing", "carrying", "casting", "showing", "riding", "playing",
    "reflecting",
})  # fmt: skip
"""Participles that take an object without an article."""

PARTICIPLES = frozenset({
    "built", "cut", "drawn", "held", "hidden", "hung", "kept", "laid", "left", "lit", "made", "seen", "set",
    "shot", "shown", "stuck", "sunk", "taken", "torn", "worn", "woven", "caught", "bound", "frozen", "grown",
    "written",
})  # fmt: skip

MASS = frozenset({
    "aberration", "art", "artwork", "ash", "banding", "blur", "bokeh", "bronze", "cardboard", "chalk",
    "charcoal", "chrome", "clay", "clothing", "concrete", "contrast", "darkness", "daylight", "debris", "dirt",
    "distortion", "dust", "exposure", "felt", "flare", "fog", "foliage", "food", "frost", "fur", "furniture",
    "ghosting", "glare", "glass", "gold", "grain", "graffiti", "grass", "gravel", "haze", "ice", "ink", "ivy",
    "lace", "lava", "leather", "light", "luggage", "machinery", "marble", "mist", "moonlight", "moss", "mud",
    "noise", "paper", "plastic", "pollen", "porcelain", "rain", "resolution", "rubble", "rust", "sand",
    "saturation", "scaffolding", "silk", "silver", "smoke", "snow", "sunlight", "sunshine", "text", "traffic",
    "vegetation", "velvet", "vignetting", "watercolor", "water", "wool", "wood",
})  # fmt: skip
"""Nouns without an indefinite article."""

FAULTS = frozenset({
    "aberration", "artifact", "banding", "blur", "bokeh", "distortion", "exposure", "flare", "ghosting", "glare",
    "grain", "halo", "haze", "noise", "vignetting",
})  # fmt: skip
"""Nouns that don't stand before "photo"; what a picture has rather than is."""

_PICTURE = r"(?:photo|photograph|picture|image|pic|snapshot)"
_THING = r"(?:(?:an?|the|some)\s+)?(?:\{\}|thing|object|item|subject)"
_SLOT = re.compile(r"\{\s*\w*\s*\}|<\w+>|\[\w+\]|_{2,}")
_MARKER = re.compile(r"^(?:[-*•‣]\s+|\(?\d{1,5}[.):]\s+)")
_CARRIER = re.compile(rf"^(?:(?:an?|the|this)\s+)?{_PICTURE}\s+(?:of|showing)\s+{_THING}(?=\W|$)", re.IGNORECASE)
_QUALITY = re.compile(
    rf"^(?:(?:an?|the)\s+)?(?P<modifier>[\w'-]+(?: [\w'-]+)*?)\s+{_PICTURE}(?:\s+of\s+{_THING})?$", re.IGNORECASE
)
_PICTURE_FIRST = re.compile(rf"^(?:(?:an?|the)\s+)?{_PICTURE}\s+(?=\w+)", re.IGNORECASE)


class Unfit(ValueError):  # noqa: N818  # an outcome, not a fault
    """A phrase that makes no template; the message is the reason."""


def to_template(phrase: str, bare: str) -> str:
    """Turn a phrase into a template.

    Args:
        phrase: As the model wrote it.
        bare: Template with ``{phrase}`` and ``{}`` for phrases that nothing leads into.

    Raises:
        Unfit: It can't be used.

    Example:
        >>> [to_template(phrase, "{} with {phrase}") for phrase in ("In the Forest.", "wooden fence", "a {} at dawn")]
        ['{} in the Forest', '{} with a wooden fence', '{} at dawn']
        >>> to_template("blurry image", "{phrase} {}")
        'blurry {}'
    """
    text = _carrier_off(_slotted(clean(phrase)))
    before, slot, behind = text.partition("{}")
    if not slot:
        return _placed(before, bare)
    before, behind = before.strip(), behind.strip()
    if not before and not behind:
        raise Unfit("says nothing beside the object")
    if before and not (is_modifier(before) or before.endswith(",")):
        raise Unfit("doesn't read as English around the object")
    if behind and not behind.startswith(","):
        behind = _placed(behind, bare).removeprefix("{}").strip() if not before else " " + behind
        if "{}" in behind:  # a modifier that was written behind the slot
            return behind
    space = "" if behind.startswith(",") or not behind else " "
    return mend_articles(f"{before} {{}}{space}{behind.strip()}".strip())


def clean(phrase: str) -> str:
    """Return a phrase on one line in plain characters, without list markers, quotes and final punctuation.

    Args:
        phrase: As the model wrote it.

    Raises:
        Unfit: It is empty, in another script, or holds characters that can't be printed.
    """
    text = " ".join(unicodedata.normalize("NFC", phrase).translate(PLAIN).split())
    if not text.isprintable():
        raise Unfit("holds characters that can't be printed")
    text = _MARKER.sub("", text)
    while text and (stripped := text.strip().strip("\"'`*").rstrip(".,;:!?").strip()) != text:
        text = stripped
    if not text:
        raise Unfit("is empty")
    if any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text):
        raise Unfit("isn't in Latin letters")
    if len(text.split()) > MOST_WORDS:
        raise Unfit(f"has more than {MOST_WORDS} words")
    text = text.lower() if text.isupper() and " " in text else text
    first, space, rest = text.partition(" ")
    return (first.lower() if first[1:].islower() or len(first) == 1 else first) + space + rest


def fold(template: str) -> tuple[str, ...]:
    """Return what equal templates share: their words without case, punctuation, plural, articles and order.

    Example:
        >>> fold("{} in the Forests") == fold("{} in a forest"), fold("{} in a wood") == fold("{} in a forest")
        (True, False)
    """
    return tuple(sorted(word for word in words(template) if word not in ("a", "an", "the")))


def _slotted(text: str) -> str:
    """Return the phrase with ``{}`` for any placeholder, once at most, and no other odd character."""
    if len(_SLOT.findall(text)) > 1:
        raise Unfit("holds more than one placeholder")
    text = _SLOT.sub("{}", text)
    if odd := {c for c in text.replace("{}", "") if not c.isalnum() and c not in PUNCTUATION}:
        raise Unfit(f"holds the character {min(odd)!r}")
    if not any(c.isalpha() for c in text):
        raise Unfit("has no words")
    return text


def _carrier_off(text: str) -> str:
    """Take away the caption that a model put around its phrase, and an article before the slot."""
    text = _CARRIER.sub("{}", text)
    if (found := _QUALITY.match(text)) and is_modifier(found["modifier"]):
        return f"{found['modifier']} {{}}"
    if not text.startswith("{}") and (found := _PICTURE_FIRST.match(text)) and _leads(text[found.end() :]):
        text = text[found.end() :]
    text = re.sub(r"\b(?:an?|the)\s+\{\}", "{}", text, flags=re.IGNORECASE)
    return re.sub(r"^(?:an?|the)\s+(?=[^{]*\{\}$)", "", text, flags=re.IGNORECASE)


def _leads(text: str) -> bool:
    """Tell whether a text can stand behind a noun as it is: it begins with a preposition or a participle."""
    first, *rest = (word.casefold().strip(",") for word in text.split())
    if first in LEADS:
        return True
    if first.endswith("ly") and rest:
        first, *rest = rest
    if not rest:
        return False
    participle = first.endswith(("ed", "ing")) or first in PARTICIPLES
    if participle or first in PLACED:
        return rest[0] in LEADS or first in TRANSITIVE or (rest[0] in DETERMINERS and first.endswith("ing"))
    return False


def _placed(text: str, bare: str) -> str:
    """Return the template of a phrase without a slot."""
    if _leads(text):
        return mend_articles(f"{{}} {text}")
    parts = text.casefold().split()
    head = _head(parts)
    more = head < len(parts) - 1  # something is said of the noun: "mountains in the distance"
    noun = parts[0] in DETERMINERS or more or singular(parts[-1]) in FAULTS
    if is_modifier(text) and not noun and (bare.startswith(PHRASE) or _is_adjective(parts)):
        return f"{text} {{}}"
    frame = "{} with {phrase}" if more or bare.startswith(PHRASE) else bare
    return mend_articles(frame.replace(PHRASE, _with_article(text, parts, head)))


def _head(parts: list[str]) -> int:
    """Return the position of the noun that the rest of a noun phrase hangs on."""
    for index, word in enumerate(parts):
        if index and (word in LEADS or (word.endswith("ing") and index < len(parts) - 1)):
            return index - 1
    return len(parts) - 1


def _is_adjective(parts: list[str]) -> bool:
    """Tell whether a phrase describes and names nothing, as well as its last word tells."""
    if parts[-1] in ADJECTIVES:
        return True
    described = len(parts) == 1 or parts[0].endswith("ly")
    return described and parts[-1].endswith(("ed", "ish", "ous", "ful", "less", "like"))


def _with_article(text: str, parts: list[str], head: int) -> str:
    noun = parts[head]
    plural = singular(noun) != noun
    if parts[0] in DETERMINERS or plural or noun in MASS or noun.endswith(("ing", "ism", "ness", "ss")):
        return text
    return f"{a_or_an(text)} {text}"
