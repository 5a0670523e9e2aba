"""From one phrase to one template: cleaned of what models put around it, and set so that it reads as English.

A phrase becomes a template with ``{}`` once, where the caption "a photo of a duck" goes: behind the caption
("{} in the forest"), or before it where it is a modifier ("blurry {}" gives "a blurry photo of a duck").
"""

import re
import unicodedata

from starft.captions.english import DETERMINERS, PREPOSITIONS, is_modifier, mend_articles
from starft.prompting.lexicon import kinds, words
from starft.prompting.placing import ADJECTIVE, BARE, leads, place

MOST_WORDS = 12

PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "\u00a0": " "})
PUNCTUATION = frozenset(" ,'-&/%.:()°+")

_PICTURE = r"(?:photo|photograph|picture|image|pic|snapshot)"
_THING = r"(?:(?:an?|the|some)\s+)?(?:\{\}|thing|object|item|subject)"
_SLOT = re.compile(r"\{\s*\w*\s*\}|<\w+>|\[\w+\]|_{2,}")
_MARKER = re.compile(r"^(?:[-*•‣]\s+|\(?\d{1,5}[.):]\s+)")
_CARRIER = re.compile(rf"^(?:(?:an?|the|this)\s+)?{_PICTURE}\s+(?:of|showing)\s+{_THING}(?=\W|$)", re.IGNORECASE)
_QUALITY = re.compile(
    rf"^(?:(?:an?|the)\s+)?(?P<modifier>[\w'-]+(?: [\w'-]+)*?)\s+{_PICTURE}(?:\s+of\s+{_THING})?$", re.IGNORECASE
)
_QUALIFIED = re.compile(
    r"^(?:an?|the)?\s*(?P<modifier>[\w'-]+(?: [\w'-]+)*?)\s+(?:thing|object|item|subject|\{\})$", re.IGNORECASE
)
_PICTURE_FIRST = re.compile(rf"^(?:(?:an?|the)\s+)?{_PICTURE}\s+(?:(?P<of>of|showing)\s+)?(?=\w+)", re.IGNORECASE)
_REMARK = re.compile(
    r"\b(?:let me know|feel free|hope (?:this|these|that) helps?|here (?:are|is|you go)|here's|certainly|of course"
    r"|as (?:requested|asked|an ai)|i (?:can|can't|cannot|could|will|would|have|am|hope|think|tried|avoided|made|did)"
    r"|i'(?:m|ll|ve|d)|you (?:can|could|may|might|need|want|asked|would|like)|your (?:request|needs?|list|question)"
    r"|if you|would you|do you|(?:these|those|this|the above) (?:phrases?|lists?|items?|examples?|labels?|templates?"
    r"|entries|suggestions?|answers?)|more (?:phrases|examples|suggestions)|note that|please|happy to help|and so on"
    r"|end of (?:the )?list|should|would|could|might)\b|^(?:note|remark|remember)\b\s*:|[!?]$"
    r"|^(?:these|those|they|we|it|i)\b|\((?:rejected|discarded|removed|draft|not used|unused|no)\b",
    re.IGNORECASE,
)
_THING_FIRST = re.compile(rf"^(?:an?|the|some)?\s*{_THING}\s+(?=\w+)", re.IGNORECASE)


class Unfit(ValueError):  # noqa: N818  # an outcome, not a fault
    """A phrase that makes no template; the message is the reason."""


def to_template(phrase: str, bare: str = BARE, adjective: str = ADJECTIVE, uncounted: str | None = None) -> str:
    """Turn a phrase into a template.

    Args:
        phrase: As the model wrote it.
        bare: Template with ``{phrase}`` and ``{}`` for phrases that name something and that nothing leads into.
        adjective: Such a template for phrases that only describe.
        uncounted: Such a template for bare nouns that aren't counted; null takes ``bare``.

    Raises:
        Unfit: It can't be used.

    Example:
        >>> [to_template(phrase) for phrase in ("In the Forest.", "wooden fence", "wooden", "a {} at dawn")]
        ['{} in the Forest', '{} with a wooden fence', '{} that is wooden', '{} at dawn']
        >>> to_template("blurry", adjective="{phrase} {}")
        'blurry {}'
    """
    text = _carrier_off(_slotted(clean(phrase)))
    before, slot, behind = text.partition("{}")
    if not slot:
        return place(before, bare, adjective, uncounted)
    before, behind = before.strip(), behind.strip()
    if not before and not behind:
        raise Unfit("says nothing beside the object")
    if before and not (is_modifier(before) or before.endswith(",")):
        raise Unfit("doesn't read as English around the object")
    if behind and not behind.startswith(","):
        behind = place(behind, bare, adjective, uncounted).removeprefix("{}").strip() if not before else " " + behind
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
    unmarked = text.strip(" \"'`*_")
    if unmarked.endswith((":", "：")):
        raise Unfit("is a heading")
    if any(map(str.isalpha, unmarked)) and _REMARK.search(unmarked):
        raise Unfit("is a remark and no phrase")
    if sign := re.search(r":\s|\s-+\s", unmarked):
        raise Unfit(f"holds a {'dash' if '-' in sign[0] else 'colon'}, behind which an explanation stands")
    while text and (stripped := text.strip().strip("\"'`*").lstrip(",;:").rstrip(".,;:!?").strip()) != text:
        text = stripped
    if not text:
        raise Unfit("is empty")
    if any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text):
        raise Unfit("isn't in Latin letters")
    if len(text.split()) > MOST_WORDS:
        raise Unfit(f"has more than {MOST_WORDS} words")
    return _plain_case(text)


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
    found = _PICTURE_FIRST.match(text)
    if found and (found["of"] or leads(text[found.end() :])):
        text = text[found.end() :]
    if (found := _THING_FIRST.match(text)) and not text.startswith("{}") and leads(text[found.end() :]):
        text = text[found.end() :]
    text = re.sub(r"\b(?:an?|the)\s+\{\}", "{}", text, flags=re.IGNORECASE)
    found = _QUALIFIED.match(text)
    return found["modifier"] if found and is_modifier(found["modifier"]) else text


def _plain_case(text: str) -> str:
    """Return a phrase without capitals that are there for show: those of names stay."""
    if text.isupper() and " " in text:
        return text.lower()
    parts = text.split()
    if len(parts) > 1 and all(part.istitle() and kinds(part.lower()) for part in parts):
        return text.lower()  # Pop Art, but not Art Deco
    first, space, rest = text.partition(" ")
    low = first.lower()
    if low in PREPOSITIONS | DETERMINERS:
        return low + space + rest
    known = kinds(low.partition("-")[0]) or low.endswith(("ed", "ing", "ly"))
    named = not known or first[1:2] == "-" or any(part[:1].isupper() for part in rest.split())
    return text if named or not first[1:].islower() else low + space + rest
