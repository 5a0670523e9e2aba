"""Reading answers: the templates in what a language model wrote, as strictly as its form allows.

An answer that could be read in two ways isn't read at all: which of two lists a model means can't be known.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import Any

from starft.errors import PromptError
from starft.prompting.cache import Answer

_NAME = r"(?:\w+:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad|inner_monologue|draft)"
_OPENING = re.compile(
    rf"(?:<|&lt;){_NAME}\b[^<>&]*(?:>|&gt;)|\[THINK\]|◁think▷|<\|(?:begin_of_thought|start_thinking)\|>"
    r"|<\|?channel\|?>\s*(?:analysis|commentary|thought)(?:<\|message\|>)?",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    rf"(?:<|&lt;)/{_NAME}\s*(?:>|&gt;)|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|end_thinking|end)\|>|<channel\|>",
    re.IGNORECASE,
)

THOUGHT = "[thought]"
"""The line that stands where a thought was taken out, so that what was before and behind it isn't joined."""


class UnfinishedThought(ValueError):  # noqa: N818  # what came of a question
    """A thought that has no end: nothing behind its beginning is an answer."""


def without_thoughts(text: str) -> tuple[str, str]:
    """Return a text without the thoughts in it, and the thoughts.

    A closing tag alone ends a thought that began before the text, as where a chat template has written the opening.

    Args:
        text: What a model wrote.

    Raises:
        UnfinishedThought: A thought begins and doesn't end.

    Example:
        >>> without_thoughts("<think>1. on a draft</think>1. at dawn")
        ('1. at dawn', '1. on a draft')
    """
    tags = sorted(
        [(tag.start(), tag.end(), 1) for tag in _OPENING.finditer(text)]
        + [(tag.start(), tag.end(), -1) for tag in _CLOSING.finditer(text)]
    )
    thoughts, rest, depth, begin, end = list[str](), list[str](), 0, 0, 0
    for start, stop, step in tags:
        if step == 1:
            if depth == 0:
                rest.append(text[end:start])
                begin = stop
            depth += 1
        elif depth == 0 and text[start : start + 2] in ("<|", "<c"):  # an end of any kind
            rest.append(text[end:start])
        elif depth == 0:  # all until here was a thought, what looked like an answer too
            thoughts, rest = [text[:start]], []
        else:
            depth -= 1
            if depth == 0:
                thoughts.append(text[begin:start])
        end = stop if step == -1 else end
    if depth:
        raise UnfinishedThought
    rest.append(text[end:])
    kept = [part.strip() for part in rest if part.strip()]
    return f"\n{THOUGHT}\n".join(kept), "\n".join(thought.strip() for thought in thoughts if thought.strip())


CUT = ("length", "max_tokens", "max_length", "model_length")
"""What servers call an end at a limit of tokens."""

WHOLE = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "")
"""What servers call an end that the model chose; any other may have cut the answer."""

_ITEM = re.compile(r"^(?P<indent>\s*)(?:[-*•‣–]|\(?(?P<number>\d{1,5})[.):])\s+(?P<phrase>.*\S)\s*$")
_FENCE = re.compile(r"^\s*(?:```|~~~)[\w-]*\s*$")
_OPENING_BRACKET = re.compile(r'[{\[](?=\s*["{\[])')
_TAG = re.compile(r"<(/?)([A-Za-z_][\w:-]*)[^<>]*>")
_ANSWER_TAGS = frozenset({
    "answer", "response", "output", "result", "final", "final_answer", "solution", "json", "phrases", "templates",
    "list", "pre", "code", "p", "br", "ul", "ol", "li", "b", "i", "em", "strong", "div", "span",
})  # fmt: skip
"""Tags around an answer; inside of any other a model may be drafting."""
_TEMPLATE_TOKEN = re.compile(
    r"<\|start\|>assistant|<\|channel\|>final|<\|(?:message|return|im_start|im_end|eot_id|eom_id|endoftext|end_of_text"
    r"|start_response|end_response|start_text|end_text|assistant|begin_of_solution|end_of_solution)\|>"
    r"|</?s>|<(?:start|end)_of_turn>",
    re.IGNORECASE,
)
"""What chat templates put around an answer, which some servers leave in."""
_OTHER_TOKEN = re.compile(r"<\|[^<>|\s]{1,40}\|?>")
_NOT_MEANT = re.compile(
    r"\W*(?:here(?:'s| is| are)\s+)?(?:(?:my|the|a|an|some|first|initial|rough|final)\s+)*"
    r"(?:drafts?|thinking|thoughts?|scratchpad|brainstorm(?:ing)?|rejected|discarded|excluded|avoid(?:ed)?|try|attempt"
    r"|bad|incorrect|wrong|invalid|negative|unused|counter-?examples?|(?:do not|don't|never) use"
    r"|(?:these are\s+)?(?:the\s+)?(?:phrases|templates|items|ones|those)\s+"
    r"(?:to avoid|not to use|i rejected|i (?:would )?avoid))"
    r"(?:\s+(?:list|phrases|templates|examples|items|candidates|ideas|process|version|ones|(?:any of )?th[eo]se))?\W*"
    r"|.*\b(?:i(?:'m| am) (?:sorry|unable)|(?:can't|cannot|unable to|won't) (?:help|assist|comply|provide))\b.*",
    re.IGNORECASE,
)
"""A line before a list which says that what follows isn't the answer, or that there is none."""
_TAKEN_BACK = re.compile(
    r"^\W*(?:wait|hmm+|actually|no,|oops|scratch that|on second thought)\b"
    r"|\blet me (?:fix|revise|redo|correct|rewrite|reconsider|try)\b"
    r"|\b(?:that|this|these|those)(?:'s| is| are) (?:wrong|bad|not (?:right|good|what))\b|\bi should(?:n't| not) have\b"
    r"|\b(?:better|improved|corrected|revised|instead|replace\w* (?:\w+ )?with)\b.*\{\s*\}",
    re.IGNORECASE | re.MULTILINE,
)
"""Words behind a list with which a model takes it back."""


_LATER = re.compile(r"final|revis|correct|improv|better|fixed|updated|templates", re.IGNORECASE)
"""Keys of JSON beside ``templates`` that may hold what is meant instead of them."""


class NoAnswer(PromptError):  # noqa: N818  # what came of a question
    """A question that got no answer.

    Args:
        message: One sentence.
        hopeless: Whether all other questions would fare the same.
        answer: What the server sent, where it may have cost something.
    """

    def __init__(self, message: str, hopeless: bool, answer: Answer | None = None) -> None:
        super().__init__(message)
        self.hopeless = hopeless
        self.answer = answer


class UnusableAnswer(ValueError):  # noqa: N818  # what came of a question
    """An answer that holds no templates; the message says why, to stand behind "the answer"."""


@dataclass(frozen=True)
class Reading:
    """What an answer holds.

    Args:
        texts: What it gives as templates, in its order.
        left_out: Lines of a list that are no items, each with the reason.
    """

    texts: list[str]
    left_out: list[tuple[str, str]] = field(default_factory=list)


def read_answer(text: str, finish_reason: str = "stop") -> Reading:
    r"""Return the templates of an answer, and what was left out of a list.

    JSON as asked for is taken, and JSON in a code fence or between other words; where there is no JSON at all, the
    lines of a list. Thoughts don't count. JSON of another form or that breaks off, two lists, and a list in a list
    aren't guessed at.

    Args:
        text: The raw answer.
        finish_reason: Why the model stopped, as the server says it.

    Raises:
        UnusableAnswer: Nothing can be taken from it, or it isn't clear what.

    Example:
        >>> read_answer('{"templates": ["{} in the snow", "{} at dawn"]}').texts
        ['{} in the snow', '{} at dawn']
        >>> read_answer("1. {} in the snow\n2. {} at dawn").texts
        ['{} in the snow', '{} at dawn']
    """
    finish_reason = finish_reason.casefold()
    cut = finish_reason not in WHOLE
    if finish_reason in ("content_filter", "safety"):
        raise UnusableAnswer("was held back by the server's content filter")
    if (whole := _whole_json(text)) is not None:
        return Reading(_texts_of(whole, text))
    try:
        text, thought = without_thoughts(text)
    except UnfinishedThought:
        at = " at the limit of tokens" if finish_reason in CUT else ""
        raise UnusableAnswer(f"is a thought that doesn't end{at}: ...{shorten(text[-60:])}") from None
    text = _TEMPLATE_TOKEN.sub("\n", text)
    text = "\n".join(line for line in text.splitlines() if not _FENCE.match(line)).strip()
    if not text:
        raise UnusableAnswer("is nothing but a thought" if thought else "is empty")
    values = _json_values(text, finish_reason)
    if values:
        return Reading(_from_json(text, values, cut))
    if cut:
        raise UnusableAnswer(f"{_breaks_off(finish_reason)}: ...{shorten(text[-60:])}")
    return _from_list(text)


def shorten(text: str, most: int = 80) -> str:
    """Return a quoted excerpt of a text, on one line.

    Args:
        text: Any text.
        most: Characters at most.
    """
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[: most - 3] + "...")


class _TwiceError(ValueError):
    """A key that an object has twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(key.strip().casefold() for key, _ in pairs)
    if twice := next((key for key, count in counts.items() if count > 1), None):
        raise _TwiceError(f"has the key {shorten(twice)} twice in one object, and which counts can't be known")
    return dict(pairs)


_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_object, parse_int=float)
"""Whole numbers are read as floats: Python refuses to make an integer of thousands of digits."""


def _whole_json(text: str) -> Any:
    """Return what a text holds that is JSON from end to end; None where it isn't."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return None
    try:
        value, end = _DECODER.raw_decode(text)
    except _TwiceError as why:
        raise UnusableAnswer(str(why)) from None
    except (json.JSONDecodeError, RecursionError):
        return None
    return value if end == len(text) else None


def _json_values(text: str, finish_reason: str) -> list[tuple[int, int, Any]]:
    """Return where each JSON value begins and ends in a text, and the value; values of equal content count once."""
    values: list[tuple[int, int, Any]] = []
    at = 0
    while (bracket := _OPENING_BRACKET.search(text, at)) or (not values and text[0] in "{[" and at == 0):
        start = bracket.start() if bracket else 0
        if bracket is None and text.startswith(("{}", "[]")):
            break
        try:
            value, at = _DECODER.raw_decode(text, start)
        except _TwiceError as why:
            raise UnusableAnswer(str(why)) from None
        except (json.JSONDecodeError, RecursionError) as error:
            at_the_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip()) - 1
            if finish_reason in CUT or at_the_end or "Unterminated string" in str(error):
                raise UnusableAnswer(f"{_breaks_off(finish_reason)}: ...{shorten(text[-60:])}") from None
            raise UnusableAnswer(f"is broken JSON: {shorten(text[start:])}") from None
        values.append((start, at, value))
    return values


def _from_json(text: str, values: list[tuple[int, int, Any]], cut: bool) -> list[str]:
    """Return the templates of the one JSON value of a text that holds other words too."""
    first = values[0][2]
    if any(value != first for _, _, value in values):
        raise UnusableAnswer(f"holds {len(values)} JSON values, and which is meant can't be known: {shorten(text)}")
    around = "".join(
        text[end:start]
        for end, start in zip([0, *(v[1] for v in values)], [*(v[0] for v in values), len(text)], strict=True)
    )
    texts = _texts_of(first, text[values[0][0] :])
    if cut and around.strip():
        raise UnusableAnswer(f"breaks off behind a list that may be a draft: ...{shorten(text[-60:])}")
    if any(_ITEM.match(line) for line in around.splitlines()):
        raise UnusableAnswer(f"holds JSON and a list, and which is meant can't be known: {shorten(text)}")
    _refuse_drafts(text[: values[0][0]])
    _refuse_taken_back(text[values[-1][1] :])
    return texts


def _texts_of(data: Any, text: str) -> list[str]:
    texts = data.get("templates") if isinstance(data, dict) else data
    others = [key for key, value in data.items() if key != "templates" and value] if isinstance(data, dict) else []
    if isinstance(texts, list) and (rival := next((key for key in others if _LATER.search(key)), None)):
        raise UnusableAnswer(f"has templates and {shorten(rival)} in one object, and which are meant can't be known")
    if not isinstance(texts, list) or not all(isinstance(item, str) for item in texts):
        raise UnusableAnswer(f'isn\'t of the form {{"templates": ["...", ...]}} but {shorten(text)}')
    if not texts:
        raise UnusableAnswer("is an empty list")
    return texts


def _from_list(text: str) -> Reading:
    """Return the items of the one list of a text."""
    lines = [line for line in text.splitlines() if line.strip()]
    items = {index: match for index, line in enumerate(lines) if (match := _ITEM.match(line))}
    if not items:
        raise UnusableAnswer(f"is neither JSON nor a list but {shorten(text)}")
    _refuse_drafts("\n".join(lines[: min(items)]))
    _refuse_taken_back("\n".join(lines[max(items) + 1 :]))
    _refuse_two_lists(lines, items)
    bold = {index: bool(re.fullmatch(r"(\*\*|__).*\1:?", item["phrase"])) for index, item in items.items()}
    reading = Reading([])
    for index, line in enumerate(lines):
        item, follower = items.get(index), items.get(index + 1)
        if item is None:
            reading.left_out.append((line.strip(), "stands outside the list"))
            continue
        phrase = item["phrase"]
        if phrase.rstrip("*_ ").endswith((":", "：")) or (bold[index] and not all(bold.values())):
            reading.left_out.append((phrase, "is a heading of the list"))
        elif follower is not None and _indent(lines[index + 1]) > _indent(line):
            raise UnusableAnswer(f"is a list in a list, and which is meant can't be known: {shorten(line)}")
        elif follower is None and any(_indent(behind) > _indent(line) for behind in lines[index + 1 : index + 2]):
            reading.left_out.append((phrase, "goes on in a line that is no item of the list"))
        else:
            reading.texts.append(phrase)
    left_out = [(line, why) for line, why in reading.left_out if line != THOUGHT]
    if not reading.texts:
        raise UnusableAnswer(f"is a list of headings: {shorten(text)}")
    return Reading(reading.texts, left_out)


def _refuse_two_lists(lines: list[str], items: dict[int, re.Match[str]]) -> None:
    """Refuse lines that hold more than one list."""
    first, last, outer = min(items), max(items), min(len(item["indent"]) for item in items.values())
    for index, line in enumerate(lines[first:last], first):
        if index not in items and (line == THOUGHT or _indent(line) <= outer):
            raise UnusableAnswer(f"holds two lists, and which is meant can't be known; between them {shorten(line)}")
    numbers = [int(item["number"]) for item in items.values() if item["number"] and len(item["indent"]) == outer]
    if any(behind <= before for before, behind in pairwise(numbers)):
        raise UnusableAnswer(f"holds two lists, and which is meant can't be known: {shorten(' '.join(lines))}")
    runs = [len([*run]) for _, run in groupby(items.values(), lambda item: item["number"] is None)]
    flat = all(len(item["indent"]) == outer for item in items.values())
    bullets = [line.lstrip()[0] for index, line in enumerate(lines) if index in items and not items[index]["number"]]
    if flat and len(set(bullets)) > 1:  # another bullet begins another list in Markdown
        raise UnusableAnswer(f"holds two lists, and which is meant can't be known: {shorten(' '.join(lines))}")
    if flat and (len(runs) > 2 or (len(runs) == 2 and runs[1] > 1)):
        raise UnusableAnswer(
            f"mixes numbers and dots, and which are headings can't be known: {shorten(' '.join(lines))}"
        )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _refuse_drafts(before: str) -> None:
    """Refuse an answer that stands inside a tag which isn't known to hold answers."""
    inside: list[str] = []
    for closing, name in _TAG.findall(before.casefold()):
        if closing and name in inside:
            del inside[inside.index(name) :]
        elif not closing and name not in _ANSWER_TAGS:
            inside.append(name)
    if inside:
        raise UnusableAnswer(f"stands inside of <{inside[0]}>, where a model may be drafting")
    if token := _OTHER_TOKEN.search(before):
        raise UnusableAnswer(f"stands behind {token[0]}, where a model may be drafting")
    heading = (before.replace("’", "'").strip().splitlines() or [""])[-1]
    if _NOT_MEANT.fullmatch(heading):
        raise UnusableAnswer(f"stands behind {shorten(heading)}, so it isn't what was asked for")


def _refuse_taken_back(behind: str) -> None:
    """Refuse an answer that the model takes back behind it."""
    if taken := _TAKEN_BACK.search(behind.replace("’", "'")):
        raise UnusableAnswer(f"is taken back behind it: {shorten(behind[taken.start() :])}")


def _breaks_off(finish_reason: str) -> str:
    if finish_reason in CUT:
        return "breaks off at the limit of tokens"
    return "breaks off" if finish_reason in WHOLE else f"breaks off ({finish_reason!r}, says the server)"
