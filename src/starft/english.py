"""The little English that pools need: a or an, singular nouns, and what kind of word a phrase begins with."""

import re

ARTICLES = frozenset({"a", "an", "the"})

DETERMINERS = frozenset({
    *ARTICLES,
    "another", "any", "both", "each", "every", "few", "many", "more", "most", "much", "my", "no", "our",
    "several", "some", "that", "their", "these", "this", "those", "two", "three", "its", "your", "his", "her",
    "one",
})  # fmt: skip
"""Words that only a noun phrase begins with."""

PREPOSITIONS = frozenset({
    "aboard", "about", "above", "across", "after", "against", "along", "alongside", "amid", "amidst", "among",
    "amongst", "around", "as", "at", "atop", "before", "behind", "below", "beneath", "beside", "besides",
    "between", "beyond", "by", "down", "during", "for", "from", "in", "inside", "into", "like", "near", "next",
    "off", "on", "onto", "opposite", "out", "outside", "over", "past", "through", "throughout", "to", "toward",
    "towards", "under", "underneath", "underwater", "up", "upon", "using", "via", "when", "where", "while",
    "with", "within", "without", "indoors", "outdoors",
})  # fmt: skip
"""Words that a phrase behind a noun begins with."""

_SOUNDS_LIKE_A_CONSONANT = re.compile(r"(?:uni(?!n|m|d)|use|usu|uti|eu|ewe|one\b|once\b|u-)", re.IGNORECASE)
_SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_IRREGULAR = {
    "children": "child", "feet": "foot", "geese": "goose", "knives": "knife", "leaves": "leaf", "loaves": "loaf",
    "men": "man", "mice": "mouse", "people": "person", "shelves": "shelf", "teeth": "tooth", "wolves": "wolf",
    "women": "woman",
}  # fmt: skip
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def a_or_an(word: str) -> str:
    """Return the indefinite article that goes before a word, judged by its spelling.

    Example:
        >>> a_or_an("blurry"), a_or_an("old"), a_or_an("unicorn"), a_or_an("hour")
        ('a', 'an', 'a', 'an')
    """
    if _SILENT_H.match(word):
        return "an"
    return "an" if word[:1].lower() in "aeiou" and word and not _SOUNDS_LIKE_A_CONSONANT.match(word) else "a"


def mend_articles(text: str) -> str:
    """Put "an" for "a" and back wherever the next word asks for it.

    Example:
        >>> mend_articles("in a open field by an river")
        'in an open field by a river'
    """
    return re.sub(r"\b(an?) (?=([^\W\d_]+))", lambda found: f"{a_or_an(found[2])} ", text)


def singular(word: str) -> str:
    """Return the singular of an English noun as well as its spelling tells; other words stay as they are.

    Args:
        word: In lower case.

    Example:
        >>> [singular(word) for word in ("ducks", "beaches", "cities", "grass", "leaves")]
        ['duck', 'beach', 'city', 'grass', 'leaf']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zzes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def words(text: str) -> list[str]:
    """Return the words of a text in lower case and singular, without punctuation.

    Example:
        >>> words("In the Snow-covered forests!")
        ['in', 'the', 'snow', 'covered', 'forest']
    """
    return [singular(word) for word in _WORD.findall(text.casefold())]


def is_modifier(text: str) -> bool:
    """Tell whether a text can stand between an article and its noun: plain words, not led by a preposition or the like.

    Example:
        >>> is_modifier("badly lit"), is_modifier("at night,"), is_modifier("in the snow")
        (True, False, False)
    """
    if not re.fullmatch(r"[^\W\d_][\w'-]*(?: [\w'-]+)*", text):
        return False
    return text.split(maxsplit=1)[0].casefold() not in DETERMINERS | PREPOSITIONS
