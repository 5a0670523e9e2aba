"""One template as a language model wrote it: cleaned of what models put around it, or dropped with the reason.

A template holds ``{}`` once, where the caption "a photo of a duck" goes: the rest stands behind it ("{} in the
forest"), or before it where that is a modifier ("blurry {}" gives "a blurry photo of a duck").
"""

import re
import unicodedata

from starft.captions.english import PREPOSITIONS, is_modifier, mend_articles, words

MOST_WORDS = 12

PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "\u00a0": " "})
PUNCTUATION = frozenset(" ,'-&/%.:°+")

_SLOT = re.compile(r"\{\s*\w*\s*\}|<\w+>|\[\w+\]|_{2,}")
_MARKER = re.compile(r"^(?:[-*•‣]\s+|\(?\d{1,5}[.):]\s+)")
_CARRIER = re.compile(
    r"^(?:(?:an?|the|this)\s+)?(?P<modifier>(?:[\w'-]+ )*?)(?:photo|photograph|picture|image|pic|snapshot)"
    r"\s+(?:of|showing)\s+(?:(?:an?|the|some)\s+)?\{\}",
    re.IGNORECASE,
)
"""The caption itself, which a model wrote around the slot."""
_ARTICLE = re.compile(r"^(?:an?|the)\s+(?=[\w{])|\b(?:an?|the)\s+(?=\{\})", re.IGNORECASE)
_REMARK = re.compile(
    r"\b(?:I|I'm|I've|sorry|templates?|placeholder)\b|^(?:note|remark|here|let|please|you|we)\b"
    r"|\byou (?:need|want|asked)\b|\byour (?:use|request|list|needs?)\b",
    re.IGNORECASE,
)
_EXPLANATION = re.compile(r"[()]|:\s|\s-+\s")
_SENTENCE = re.compile(r"\{\} (?:is|are|was|were|has|have|can|must)\b", re.IGNORECASE)


class Unfit(ValueError):  # noqa: N818  # an outcome, not a fault
    """A text that is no template; the message is the reason."""


def to_template(text: str, before: bool = True) -> str:
    """Return the template in a text of a language model.

    Args:
        text: As the model wrote it.
        before: Whether words may stand before the slot.

    Raises:
        Unfit: It can't be used.

    Example:
        >>> [to_template(text) for text in ("1. {} in the forest.", "a photo of a {} at dawn", "A blurry {}")]
        ['{} in the forest', '{} at dawn', 'blurry {}']
    """
    text = _clean(text)
    text = _CARRIER.sub(lambda found: f"{found['modifier']}{{}}", text)
    text = _ARTICLE.sub("", text)
    start, _, behind = text.partition("{}")
    if not start and not behind:
        raise Unfit("says nothing beside the caption")
    if (start and not start.endswith(" ")) or (behind and not behind.startswith((" ", ","))):
        raise Unfit("joins something to {}")
    if _SENTENCE.search(text):
        raise Unfit("is a sentence and no caption")
    if start and not before:
        raise Unfit("has words before {}, where its query takes none")
    last = start.rstrip().rpartition(" ")[2].casefold()
    if start and not (last.endswith(",") or (is_modifier(start[:-1]) and last not in PREPOSITIONS)):
        raise Unfit("doesn't read as English around {}")
    return mend_articles(text)


def fold(template: str) -> tuple[str, ...]:
    """Return what equal templates share: their words without case, punctuation, plural, articles and order.

    Example:
        >>> fold("{} in the Forests") == fold("{} in a forest"), fold("{} in a wood") == fold("{} in a forest")
        (True, False)
    """
    return tuple(sorted(word for word in words(template) if word not in ("a", "an", "the")))


def _clean(text: str) -> str:
    """Return a text on one line in plain characters, with ``{}`` once, without what models put around a template."""
    text = " ".join(unicodedata.normalize("NFC", text).translate(PLAIN).split())
    if not text.isprintable():
        raise Unfit("holds characters that can't be printed")
    text = _MARKER.sub("", text)
    while text and (stripped := text.strip().strip("\"'`*").lstrip(",;:").rstrip(".,;:!?").strip()) != text:
        text = stripped
    if not text:
        raise Unfit("is empty")
    if any(letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN") for letter in text):
        raise Unfit("isn't in Latin letters")
    text = _SLOT.sub("{}", text)
    if text.count("{}") != 1:
        raise Unfit("holds {} more than once" if "{}" in text else "holds no {}, where the caption goes")
    if _EXPLANATION.search(text):
        raise Unfit("holds an explanation")
    if odd := {c for c in text.replace("{}", "") if not c.isalnum() and c not in PUNCTUATION}:
        raise Unfit(f"holds the character {min(odd)!r}")
    if _REMARK.search(text):
        raise Unfit("is a remark and no template")
    if len(text.split()) > MOST_WORDS + 1:
        raise Unfit(f"has more than {MOST_WORDS} words")
    shouted = text.isupper() and " " in text.replace("{}", "").strip()
    return text.lower() if shouted else text
