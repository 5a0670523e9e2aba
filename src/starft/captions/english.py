"""The little English that captions and pools need: a or an, singular and plural, how a phrase begins."""

import re
from collections.abc import Sequence

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

_SINGULAR = {
    "calves": "calf", "children": "child", "corgis": "corgi", "elves": "elf", "emus": "emu", "feet": "foot",
    "gases": "gas", "geese": "goose", "gnus": "gnu", "halves": "half", "hooves": "hoof", "irises": "iris",
    "knives": "knife", "leaves": "leaf", "lenses": "lens", "lives": "life", "loaves": "loaf", "mantises": "mantis",
    "menus": "menu", "mice": "mouse", "oxen": "ox", "people": "person", "scarves": "scarf", "shelves": "shelf",
    "skis": "ski", "teeth": "tooth", "thieves": "thief", "wives": "wife", "wolves": "wolf",
}  # fmt: skip
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")

_SOUNDS_LIKE_A_CONSONANT = re.compile(r"(?:uni(?!n|m|d)|uk|use|usu|uti|eu|ewe|one\b|once\b|u-)", re.IGNORECASE)
_SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_SPELLED = re.compile(
    r"[AEFHILMNORSXaefhilmnorsx]-|[AEFHILMNORSX](?:[A-Z]{1,2}|[B-DF-HJ-NP-TV-Z]+)\b|8|1[18](?!\d)",
)
"""X-ray, HDR, 8-bit: begins with the sound of a letter's or number's name that is a vowel."""
_LETTERS = re.compile(r"U[A-Z]{1,2}\b")
"""UFO: begins with the sound of you."""


def a_or_an(word: str) -> str:
    """Return the indefinite article that goes before a word, judged by its spelling.

    Example:
        >>> [a_or_an(word) for word in ("blurry", "old", "unicorn", "hour", "X-ray", "UFO")]
        ['a', 'an', 'a', 'an', 'an', 'a']
    """
    if _SILENT_H.match(word) or _SPELLED.match(word):
        return "an"
    if _LETTERS.match(word):
        return "a"
    return "an" if word[:1].lower() in "aeiou" and word and not _SOUNDS_LIKE_A_CONSONANT.match(word) else "a"


def mend_articles(text: str) -> str:
    """Put "an" for "a" and back wherever the next word asks for it.

    Example:
        >>> mend_articles("in a open field by an river")
        'in an open field by a river'
    """
    return re.sub(r"\b(an?) (?=([^\W_][\w-]*))", lambda found: f"{a_or_an(found[2])} ", text)


def doubled_articles(class_names: Sequence[str], templates: Sequence[str]) -> str:
    """Return what to know of class names that bring an article where a template has one, without its period, or "".

    Example:
        >>> doubled_articles(["boat", "a ferry"], ["a photo of {}."])
        ''
        >>> doubled_articles(["boat", "a ferry"], ["a photo of a {}."]).partition(";")[0]
        'an article stands twice in captions such as "a photo of a a ferry."'
    """
    article = rf"(?:{'|'.join(sorted(ARTICLES))})"
    names = [name for name in class_names if re.match(rf"\s*{article}\s", name, re.IGNORECASE)]
    doubling = [template for template in templates if re.search(rf"\b{article} \{{\}}", template, re.IGNORECASE)]
    if not names or not doubling:
        return ""
    caption = doubling[0].replace("{}", names[0])
    more = f", ... ({len(names)})" if len(names) > 5 else ""
    return (
        f'an article stands twice in captions such as "{caption}"; leave it out of the class names (class_names), here '
        f"{', '.join(map(repr, names[:5]))}{more}, or out of the templates"
    )


def is_modifier(text: str) -> bool:
    """Tell whether a text can stand between an article and its noun: plain words, not led by a preposition or the like.

    Example:
        >>> is_modifier("badly lit"), is_modifier("at night,"), is_modifier("in the snow")
        (True, False, False)
    """
    if not re.fullmatch(r"\w[\w'-]*(?: [\w'-]+)*", text) or not any(map(str.isalpha, text)):
        return False
    return text.split(maxsplit=1)[0].casefold() not in DETERMINERS | PREPOSITIONS


def singular(word: str) -> str:
    """Return what the singular and the plural of an English noun share, the singular as a rule.

    Spelling alone is looked at, so that of "magpies" and "magpie" comes "magpy".

    Args:
        word: In lower case.

    Example:
        >>> [singular(word) for word in ("ducks", "beaches", "cities", "grass", "leaves", "snowmen", "lens")]
        ['duck', 'beach', 'city', 'grass', 'leaf', 'snowman', 'lens']
    """
    if word in _SINGULAR or word in _SINGULAR.values():
        return _SINGULAR.get(word, word)
    if word.endswith("men"):
        return f"{word[:-3]}man"
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 3 and word.endswith(("ie", "oe")):
        return f"{word[:-2]}y" if word.endswith("ie") else word[:-1]
    if word.endswith(("sses", "shes", "ches", "xes", "oes")) or (word.endswith("uses") and not word.endswith("ouses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def words(text: str) -> list[str]:
    """Return the words of a text in lower case and singular, without punctuation.

    Example:
        >>> words("In the Snow-covered forests!")
        ['in', 'the', 'snow', 'covered', 'forest']
    """
    return [singular(word) for word in _WORD.findall(text.casefold())]
