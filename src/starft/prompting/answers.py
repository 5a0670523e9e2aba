"""Reading answers: the phrases in what a language model wrote, as strictly as its form allows."""

import json
import re

from starft.errors import PromptError

LIST_LINE = re.compile(r"^\s*(?:[-*•‣–]|\(?\d{1,5}[.):])\s+(?P<phrase>.*\S)\s*$")
FENCE = re.compile(r"```(?:\w+)?\s*\n(?P<inside>.*?)```", re.DOTALL)
THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


class NoAnswer(PromptError):  # noqa: N818  # what came of a question
    """A question that got no answer.

    Args:
        message: One sentence.
        hopeless: Whether all other questions would fare the same.
    """

    def __init__(self, message: str, hopeless: bool) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class UnusableAnswer(ValueError):  # noqa: N818  # what came of a question
    """An answer that holds no phrases; the message says why, to stand behind "the answer"."""


def read_phrases(text: str, finish_reason: str = "stop") -> list[str]:
    r"""Return the phrases of an answer, in its order.

    JSON as asked for is taken, and JSON in a code fence or between other words; where there is no JSON at all, the
    lines of a list. JSON of another form or that breaks off isn't guessed at.

    Args:
        text: The raw answer.
        finish_reason: Why the model stopped, as the server says it.

    Raises:
        UnusableAnswer: Nothing can be taken from it.

    Example:
        >>> read_phrases('{"phrases": ["in the snow", "at dawn"]}')
        ['in the snow', 'at dawn']
        >>> read_phrases("1. in the snow\n2. at dawn")
        ['in the snow', 'at dawn']
    """
    if finish_reason == "content_filter":
        raise UnusableAnswer("was held back by the server's content filter")
    text = THOUGHTS.sub("", text).strip()
    if not text:
        raise UnusableAnswer("is empty")
    inside = [found["inside"].strip() for found in FENCE.finditer(text)]
    for candidate in (*inside, text):
        start = _first_bracket(candidate)
        if start is not None:
            return _from_json(candidate[start:], finish_reason)
    if finish_reason == "length":
        raise UnusableAnswer(f"breaks off at the limit of tokens: ...{shorten(text[-60:])}")
    found = [match["phrase"] for line in "\n".join(inside or [text]).splitlines() if (match := LIST_LINE.match(line))]
    if not found:
        raise UnusableAnswer(f"is neither JSON nor a list but {shorten(text)}")
    return found


def shorten(text: str, most: int = 80) -> str:
    """Return a quoted excerpt of a text, on one line.

    Args:
        text: Any text.
        most: Characters at most.
    """
    line = " ".join(text.split())
    return repr(line if len(line) <= most else line[: most - 3] + "...")


def _first_bracket(text: str) -> int | None:
    """Return where JSON seems to begin: the first bracket that a quote or another bracket follows."""
    found = re.search(r'[{\[]\s*["{\[\]}]', text)
    if found is not None:
        return found.start()
    return 0 if text[0] in "{[" else None


def _from_json(text: str, finish_reason: str) -> list[str]:
    try:
        data, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (json.JSONDecodeError, RecursionError) as error:
        at_the_end = isinstance(error, json.JSONDecodeError) and error.pos >= len(text.rstrip()) - 1
        if finish_reason == "length" or at_the_end or "Unterminated string" in str(error):
            why = "breaks off" + (" at the limit of tokens" if finish_reason == "length" else "")
            raise UnusableAnswer(f"{why}: ...{shorten(text[-60:])}") from None
        raise UnusableAnswer(f"is broken JSON: {shorten(text)}") from None
    phrases = data.get("phrases") if isinstance(data, dict) else data
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise UnusableAnswer(f'isn\'t of the form {{"phrases": ["...", ...]}} but {shorten(text)}')
    if not phrases:
        raise UnusableAnswer("is an empty list")
    return phrases
