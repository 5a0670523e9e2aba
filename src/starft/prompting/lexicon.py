"""What kinds of word a word can be, by lemminflect's dictionary: enough to place a phrase."""

import re
from functools import cache

from lemminflect import getAllInflections, getAllLemmas

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
_ADJECTIVE_ENDINGS = ("ed", "ic", "al", "ous", "ful", "less", "ish", "like", "able", "ible", "ive", "lit", "ist")
"""Of words that the dictionary lacks."""

ADJECTIVES = frozenset({
    "abstract", "analog", "glossy", "grayscale", "minimalist", "monochrome", "plastic", "sepia", "vintage",
})  # fmt: skip
"""Words that a phrase means as adjectives though they are nouns too, or that the dictionary lacks."""

MASS = frozenset({
    "aberration", "anime", "art", "artwork", "ash", "beer", "bokeh", "bread", "bronze", "camouflage", "cash",
    "chalk", "charcoal", "chrome", "clay", "clothing", "coffee", "concrete", "contrast", "corduroy", "cotton",
    "darkness", "daylight", "debris", "dirt", "distortion", "embroidery", "equipment", "everyone", "everything",
    "exposure", "fire", "focus", "fog", "food", "fur", "gear", "ghosting", "glass", "gold", "graffiti", "grain",
    "grass", "gravel", "hay", "houndstooth", "ice", "ink", "ivy", "lace", "lava", "leaf", "light", "lighting",
    "lightning", "linen", "machinery", "manga", "marble", "metal", "milk", "mist", "money", "moonlight", "moss",
    "mud", "music", "nobody", "noise", "nothing", "paint", "paisley", "paper", "photography", "plaid", "porcelain",
    "quality", "rain", "resolution", "rubber", "saturation", "scaffolding", "seaweed", "shake", "silk", "smoke",
    "snow", "somebody", "someone", "something", "space", "stone", "straw", "sunlight", "sunshine", "tartan", "tea",
    "text", "thunder", "velvet", "vision", "water", "watercolor", "wood", "wool",
})  # fmt: skip
"""Nouns that the dictionary counts, and that stand without an article in the pictures we speak of."""


@cache
def kinds(word: str) -> frozenset[str]:
    """Return what a word can be: some of NOUN, VERB, ADJ and ADV; nothing for a word that isn't known.

    Args:
        word: In lower case.
    """
    return frozenset(getAllLemmas(word)) & {"NOUN", "VERB", "ADJ", "ADV"}


@cache
def singular(word: str) -> str:
    """Return the singular of an English noun; other words stay as they are.

    Args:
        word: In lower case.

    Example:
        >>> [singular(word) for word in ("ducks", "beaches", "cities", "grass", "leaves", "people", "gadwalls", "lens")]
        ['duck', 'beach', 'city', 'grass', 'leaf', 'person', 'gadwall', 'lens']
    """
    if word in ("people", "leaves"):  # the dictionary says people, leave
        return {"people": "person", "leaves": "leaf"}[word]
    if known := getAllLemmas(word, upos="NOUN").get("NOUN"):
        return str(known[0])
    unknown_plural = len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) and not kinds(word)
    return word[:-1] if unknown_plural else word


def words(text: str) -> list[str]:
    """Return the words of a text in lower case and singular, without punctuation.

    Example:
        >>> words("In the Snow-covered forests!")
        ['in', 'the', 'snow', 'covered', 'forest']
    """
    return [singular(word) for word in _WORD.findall(text.casefold())]


@cache
def is_participle(word: str) -> bool:
    """Tell whether a word is a past participle, such as "woven"; of a word with hyphens the last part counts."""
    tail = word.rsplit("-", 1)[-1]
    for lemma in getAllLemmas(tail, upos="VERB").get("VERB", ()):
        forms = getAllInflections(lemma, upos="VERB")
        if tail in forms.get("VBN", forms.get("VBD", ())) or (tail.endswith("ed") and tail != lemma):
            return True
    return tail == "lit" or (not kinds(tail) and tail.endswith(("ed", "lit")))


@cache
def is_gerund(word: str) -> bool:
    """Tell whether a word is a verb's -ing form, such as "holding"."""
    if not word.endswith("ing"):
        return False
    return not kinds(word) or any(lemma != word for lemma in getAllLemmas(word, upos="VERB").get("VERB", ()))


@cache
def describes(word: str) -> bool:
    """Tell whether a word says how a thing is, and names none.

    Example:
        >>> [describes(word) for word in ("misty", "snow-covered", "swimming", "low-light", "forest", "painting")]
        [True, True, True, True, False, False]
    """
    if word in ADJECTIVES or word == "etching":
        return word in ADJECTIVES
    first, hyphen, last = word.rpartition("-")
    if hyphen and not describes(last):
        return bool(kinds(last)) and (first[:1].isdigit() or (len(first) > 1 and describes(first)))
    known = kinds(last)
    if not known:
        return last.endswith((*_ADJECTIVE_ENDINGS, "ing")) or (last.endswith("y") and bool(kinds(last[:-1])))
    forms = getAllInflections(last)
    if "NOUN" in known:
        counted = [form for form in forms.get("NNS", ()) if form != last]
        uncounted = not counted and last not in MASS
        return "JJR" in forms or (uncounted and ("ADJ" in known or is_gerund(last)))
    return "ADJ" in known or is_participle(last) or is_gerund(last)


@cache
def is_adverb(word: str) -> bool:
    """Tell whether a word says how or how much, such as "badly" or "very"."""
    return "NOUN" not in kinds(word) and "ADV" in kinds(word)


@cache
def takes_no_article(noun: str) -> bool:
    """Tell whether a noun is plural, or isn't counted."""
    if noun in MASS or singular(noun) != noun:
        return True
    if "NOUN" not in kinds(noun):
        return noun.endswith(("ism", "ness", "ing", "ation", "punk", "wave", "work"))
    return bool(getAllInflections(noun, upos="NOUN").get("NNS", (noun,))[0] == noun)
