"""A chat completion: the form it is asked for in, and text, thought and tokens wherever servers put them."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from starft.prompting.query import SCHEMA

Form = Literal["auto", "json_schema", "json_object", "text"]

FORMS: dict[str, dict[str, Any]] = {
    "json_schema": {"type": "json_schema", "json_schema": {"name": "templates", "strict": True, "schema": SCHEMA}},
    "json_object": {"type": "json_object"},
    "text": {},
}
"""Form -> the request's ``response_format``, the strictest first."""

IGNORED = "ignored"
"""What stands for the form of an answer that doesn't have the form which its server took."""

ENOUGH = 2
"""After so many server errors, each followed by an answer in a weaker form, a form isn't tried again."""


def keeps_form(text: str, form: str) -> bool:
    """Return whether a text has a form from end to end, as a server that constrains its model makes it.

    Args:
        text: Of a whole answer.
        form: One of `FORMS`.
    """
    if form == "text":
        return True
    try:
        value = json.loads(text, parse_int=float)
    except (ValueError, RecursionError):
        return False
    if form == "json_object" or not isinstance(value, dict):
        return isinstance(value, dict)
    texts = value.get("templates")
    return set(value) == {"templates"} and isinstance(texts, list) and all(isinstance(text, str) for text in texts)


def begins_in_form(text: str, form: str) -> bool:
    """Return whether a text that was cut off may have a form.

    Args:
        text: The beginning of an answer.
        form: One of `FORMS`.
    """
    plain = "".join(text.split())
    beginning = '{"templates":[' if form == "json_schema" else "{"
    return form == "text" or plain.startswith(beginning) or (bool(plain) and beginning.startswith(plain))


class FormChoice:
    """Which forms to try, by what a server has taken and refused so far.

    Args:
        form: The one to ask in; "auto" for the strictest that the server takes.
    """

    def __init__(self, form: Form) -> None:
        self._left: list[str] = [*FORMS] if form == "auto" else [form]
        self._answered: set[str] = set()
        self._errors: Counter[str] = Counter()

    @property
    def to_try(self) -> list[str]:
        """The forms to try, in this order."""
        return list(self._left)

    def answered_in(self, form: str) -> bool:
        """Return whether the server has answered in a form.

        Args:
            form: One of `FORMS`.
        """
        return form in self._answered

    @property
    def any_answer(self) -> bool:
        """Whether the server has answered at all."""
        return bool(self._answered)

    def note_answer(self, form: str, refusals: dict[str, int]) -> None:
        """Note that a question was answered in a form, after refusals of stricter ones.

        Args:
            form: One of `FORMS`.
            refusals: HTTP status of each form that was refused before.
        """
        self._answered.add(form)
        for refused, status in refusals.items():
            self._errors[refused] += ENOUGH if status < 500 else 1
            if self._errors[refused] >= ENOUGH and refused not in self._answered and refused in self._left:
                self._left.remove(refused)


EARLIEST = 1_577_836_800
"""2020: no server spoke chat completions before, so a clock that says so isn't set."""

MOST = 2**53
"""More tokens than this are no count."""

_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought")
_OTHER_FIELDS = ("audio", "images", "annotations", "data")


@dataclass(frozen=True)
class Completion:
    """One chat completion.

    Args:
        text: What the model wrote.
        thought: What it thought, where the server keeps that apart.
        finish_reason: Why it stopped.
        served_model: Its name as the server says it.
        created: When, ISO 8601 in UTC.
        prompt_tokens: Tokens read; 0 where the server doesn't say.
        completion_tokens: Tokens written.
        thought_tokens: Those of them that were spent on thought.
        refusal: What the model said in refusing; empty where it didn't.
        instead: What came in the place of text, to stand behind "answered with"; empty where text came.
    """

    text: str
    thought: str
    finish_reason: str
    served_model: str
    created: str
    prompt_tokens: int
    completion_tokens: int
    thought_tokens: int
    refusal: str
    instead: str


def parse_body(text: str) -> Any:
    """Return what a body holds as JSON; an integer of thousands of digits, which Python refuses, is a float.

    Args:
        text: The body.

    Raises:
        ValueError: It isn't JSON.
    """
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_completion(body: Any) -> Completion | None:
    """Return the completion that a body holds, or None where it holds none.

    Args:
        body: As `parse_body` gives it.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not (isinstance(choices, list) and isinstance(choice, dict) and isinstance(message, dict)):
        return None
    text, thoughts, refusals, others = _content(message.get("content"))
    thoughts += [_text_of(message[key]) for key in _THOUGHT_FIELDS if message.get(key)][:1]
    refusals += [_text_of(message["refusal"])] if message.get("refusal") else []
    instead = "" if text.strip() else _instead(message, others)
    if len(choices) > 1:
        instead = f"{len(choices)} texts where one was asked for"
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("completion_tokens_details")
    return Completion(
        text=text,
        thought="\n".join(filter(None, thoughts)),
        finish_reason=str(choice.get("finish_reason") or "stop"),
        served_model=str(body.get("model") or ""),
        created=_moment(body.get("created")),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        thought_tokens=_count(details.get("reasoning_tokens") if isinstance(details, dict) else 0),
        refusal="\n".join(refusals),
        instead=instead,
    )


def error_in(body: Any) -> str:
    """Return what a body without a completion says of an error; empty where it says nothing.

    Args:
        body: As `parse_body` gives it.
    """
    error = body.get("error") if isinstance(body, dict) else None
    return _text_of(error.get("message") or error if isinstance(error, dict) else error)


def _content(content: Any) -> tuple[str, list[str], list[str], list[str]]:
    """Return text, thoughts, refusals and the names of other parts of a message's content."""
    if content is None or isinstance(content, str):
        return content or "", [], [], []
    content = content if isinstance(content, list) else [content]
    texts, thoughts, refusals, others = list[str](), list[str](), list[str](), list[str]()
    for part in content:
        kind = str(part.get("type", "text")) if isinstance(part, dict) else "text"
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, dict):
            others.append(type(part).__name__)
        elif kind == "text" and "text" not in part:
            others.append(f"an object with {', '.join(map(str, part)) or 'nothing'}"[:80])
        elif kind in ("text", "output_text"):
            texts.append(_text_of(part.get("text")))
        elif kind in ("thinking", "reasoning", "thought", "reasoning_content"):
            thoughts.append(_text_of(part.get(kind) or part.get("text")))
        elif kind == "refusal":
            refusals.append(_text_of(part.get("refusal")))
        else:
            others.append(kind)
    return "".join(texts), thoughts, refusals, others


def _text_of(value: Any) -> str:
    """Return the text in a value that may be a text, a list of parts or something else."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text_of(part) for part in value)
    if isinstance(value, dict):
        return _text_of(value.get("text") or value.get("content") or "")
    return "" if value is None else json.dumps(value)


def _instead(message: dict[str, Any], others: list[str]) -> str:
    calls = message.get("tool_calls") or ([message["function_call"]] if message.get("function_call") else [])
    if calls:
        call = calls[0] if isinstance(calls, list) and isinstance(calls[0], dict) else {}
        function = call.get("function")
        name = (function if isinstance(function, dict) else call).get("name")
        return f"a call of the tool {str(name or '?')[:60]!r} and no text"
    others += [key for key in _OTHER_FIELDS if message.get(key)]
    return f"{', '.join(map(repr, others[:5]))} and no text" if others else ""


def _count(number: object) -> int:
    return number if type(number) is int and 0 <= number < MOST else 0


def _moment(created: object) -> str:
    """Return the server's time in ISO 8601, or the present where it tells none that can be."""
    seconds = created if type(created) is int and EARLIEST <= created < 2**33 else None
    moment = datetime.fromtimestamp(seconds, UTC) if seconds is not None else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
