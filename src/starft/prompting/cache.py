"""Answers on disk: one file an answer, written atomically, found again by the question's key."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from starft.errors import PromptError
from starft.files.atomic import load_json, replace_file
from starft.prompting.query import SCHEMA, Question
from starft.safe_text import say

SCHEMA_VERSION = 1
LOCK = ".lock"


@dataclass(frozen=True)
class Answer:
    """What came back for one question.

    Args:
        text: The raw text.
        finish_reason: Why the model stopped, as the server says it.
        mode: The form that the server kept to: ``json_schema``, ``json_object``, ``text`` or ``ignored``.
        served_model: The model's name as the server says it.
        prompt_tokens: Tokens read; 0 where the server doesn't say.
        completion_tokens: Tokens written; 0 where the server doesn't say.
        created: When the server made it, ISO 8601 in UTC.
        asked_form: The form that was asked for; empty where an older version didn't note it.
        thought: What the model thought, where the server keeps that apart from the text.
        thought_tokens: Those of the tokens written that were spent on thought; 0 where the server doesn't say.
        reply: The whole body that the server sent; kept with answers that can't be used.
    """

    text: str
    finish_reason: str
    mode: str
    served_model: str
    prompt_tokens: int
    completion_tokens: int
    created: str
    asked_form: str = ""
    thought: str = ""
    thought_tokens: int = 0
    reply: str = field(default="", compare=False)


class AnswerCache:
    """A folder of answers, ``{key}.json``; those that couldn't be used are kept as ``{key}.rejected.json``.

    Args:
        folder: Made when the first answer is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, question: Question) -> Answer | None:
        """Return the answer to a question, or None where there is none, or only a damaged file.

        Args:
            question: Must have been put with the same model, messages, parameters and schema.
        """
        try:
            value = load_json(self._path(question).read_bytes())
            if value["schema_version"] != SCHEMA_VERSION or value["question"] != question.content():
                return None
            answer = Answer(**value["answer"])
            return answer if _is_whole(answer) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, RecursionError):
            return None  # an answer that can't be read is asked for again
        except OSError as error:
            raise PromptError(
                f"The cached answer {self._path(question)} can't be read: {error.strerror}; "
                "make it readable for you or give another --cache."
            ) from error

    def of_older_versions(self) -> int:
        """Return how many answers older versions kept, which asked for phrases and not for templates."""
        count = 0
        for path in self.folder.glob("*.json"):
            try:
                kept = json.loads(path.read_bytes())
                count += kept["question"]["schema"] != SCHEMA and "reason" not in kept
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue
        return count

    def put(self, question: Question, answer: Answer) -> None:
        """Keep an answer in one step; an older one is there until then.

        Args:
            question: What was asked.
            answer: What came back.

        Raises:
            PromptError: The folder can't be written to.
        """
        self._write(self._path(question), question, {"answer": {**asdict(answer), "reply": ""}})

    def reject(self, question: Question, answer: Answer, reason: str) -> Path:
        """Keep an answer that can't be used, for people to read, and return where; the question stays unanswered.

        Args:
            question: What was asked.
            answer: What came back.
            reason: Why it can't be used.

        Raises:
            PromptError: The folder can't be written to.
        """
        number, path = 1, self._path(question).with_suffix(".rejected.json")
        while path.exists():  # each was paid for
            number, path = number + 1, self._path(question).with_suffix(f".{number + 1}.rejected.json")
        self._write(path, question, {"answer": asdict(answer), "reason": reason})
        return path

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Hold the folder: another run that asks into it waits, and then finds the answers there.

        The lock goes with its process, however that ends; what a killed process left half-written is swept away.

        Raises:
            PromptError: The folder can't be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"Another run asks into {self.folder}; waiting for it.", file=sys.stderr)
                lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            for leftover in self.folder.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            lock.release()

    def _path(self, question: Question) -> Path:
        return self.folder / f"{question.key}.json"

    def _write(self, path: Path, question: Question, held: dict[str, Any]) -> None:
        data = {"schema_version": SCHEMA_VERSION, "question": question.content(), **held}
        # A lone surrogate, which JSON may carry and UTF-8 may not, is written as an escape.
        text = json.dumps(data, indent=2, ensure_ascii=False)
        try:
            content = text.encode()
        except UnicodeEncodeError:
            content = json.dumps(data, indent=2).encode()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_file(path, content + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> PromptError:
        return PromptError(
            f"The cache folder {self.folder} can't be written to: {error.strerror}; "
            "free the disk or give another --cache."
        )


def _is_whole(answer: Answer) -> bool:
    """Return whether each field of an answer that was read has the type it was written with."""
    return all(type(getattr(answer, key)) is type(value) for key, value in asdict(_EMPTY).items())


_EMPTY = Answer("", "", "", "", 0, 0, "")
