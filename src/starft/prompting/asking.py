"""Putting many questions at once: every answer is kept the moment it arrives, whatever happens to the others."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starft.prompting.answers import NoAnswer, UnusableAnswer, read_phrases
from starft.prompting.cache import Answer, AnswerCache
from starft.prompting.query import Question

GIVE_UP = 10
"""After so many failures in a row nothing more is asked."""


class Asks(Protocol):
    """What puts a question to a model."""

    async def ask(self, question: Question) -> Answer:
        """Return the answer, or raise `NoAnswer`."""
        ...


@dataclass
class Outcome:
    """What came of asking.

    Args:
        asked: Questions that were put.
        prompt_tokens: Tokens read, unusable answers included.
        completion_tokens: Tokens written, unusable answers included.
        failures: One sentence for each question that went wrong, in the order of going wrong.
        stopped: Whether questions were left unasked.
    """

    asked: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failures: list[str] = field(default_factory=list)
    stopped: bool = False


async def ask_all(
    questions: Sequence[Question],
    client: Asks,
    cache: AnswerCache,
    concurrency: int,
    advance: Callable[[], None],
) -> Outcome:
    """Put questions, a few at a time, and keep the answers.

    A failure that all other questions would share, or many in a row, ends the asking; what is on its way is awaited.

    Args:
        questions: What to ask; each once.
        client: Whom to ask.
        cache: Where answers go.
        concurrency: How many at a time.
        advance: Called after each question.

    Raises:
        PromptError: An answer can't be written down.
    """
    outcome = Outcome()
    row = _Row()
    waiting = iter(questions)
    workers = [_work(waiting, client, cache, outcome, row, advance) for _ in range(min(concurrency, len(questions)))]
    await asyncio.gather(*workers)
    outcome.stopped = next(waiting, None) is not None
    return outcome


@dataclass
class _Row:
    """Failures since the last success, and whether to go on."""

    failures: int = 0
    over: bool = False

    def failed(self, hopeless: bool) -> None:
        self.failures += 1
        self.over = self.over or hopeless or self.failures >= GIVE_UP


async def _work(
    waiting: Iterator[Question],
    client: Asks,
    cache: AnswerCache,
    outcome: Outcome,
    row: _Row,
    advance: Callable[[], None],
) -> None:
    while not row.over and (question := next(waiting, None)) is not None:
        outcome.asked += 1
        try:
            answer = await client.ask(question)
        except NoAnswer as error:
            outcome.failures.append(str(error))
            row.failed(error.hopeless)
        else:
            _keep(question, answer, cache, outcome, row)
        advance()


def _keep(question: Question, answer: Answer, cache: AnswerCache, outcome: Outcome, row: _Row) -> None:
    outcome.prompt_tokens += answer.prompt_tokens
    outcome.completion_tokens += answer.completion_tokens
    try:
        read_phrases(answer.text, answer.finish_reason)
    except UnusableAnswer as why:
        cache.reject(question, answer, str(why))
        outcome.failures.append(f"The answer to {question.told} {why}.")
        row.failed(hopeless=False)
    else:
        cache.put(question, answer)
        row.failures = 0
