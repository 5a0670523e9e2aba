"""The forms in which an answer can be asked for, and whether a server kept to the one that it took."""

import json
from collections import Counter
from typing import Any, Literal

from starft.prompting.query import SCHEMA

Form = Literal["auto", "json_schema", "json_object", "text"]

FORMS: dict[str, dict[str, Any]] = {
    "json_schema": {"type": "json_schema", "json_schema": {"name": "phrases", "strict": True, "schema": SCHEMA}},
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
    phrases = value.get("phrases")
    return set(value) == {"phrases"} and isinstance(phrases, list) and all(isinstance(p, str) for p in phrases)


def begins_in_form(text: str, form: str) -> bool:
    """Return whether a text that was cut off may have a form.

    Args:
        text: The beginning of an answer.
        form: One of `FORMS`.
    """
    plain = "".join(text.split())
    beginning = '{"phrases":[' if form == "json_schema" else "{"
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
