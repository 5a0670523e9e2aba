"""Putting many questions at once: every answer is kept the moment it arrives, whatever happens to the others."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starft.prompting.answers import NoAnswer, UnusableAnswer, read_phrases
from starft.prompting.cache import Answer, AnswerCache
from starft.prompting.query import Question

LIMITS = ("max_tokens", "max_completion_tokens")
"""Parameters that servers take for the limit of an answer's tokens."""

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
        answered: Those that got an answer that can be used.
        prompt_tokens: Tokens read, unusable answers included.
        completion_tokens: Tokens written, unusable answers included.
        failures: One sentence for each question that went wrong, in the order of going wrong.
        stopped: Whether questions were left unasked.
    """

    asked: int = 0
    answered: int = 0
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
        kept = cache.reject(question, answer, str(why))
        raised = f"; {_raise_limit(question, answer)}" if answer.finish_reason == "length" else ""
        outcome.failures.append(f"The answer to {question.told} {why}{raised}; it is kept in {kept}.")
        row.failed(hopeless=False)
    else:
        cache.put(question, answer)
        outcome.answered += 1
        row.failures = 0


def _raise_limit(question: Question, answer: Answer) -> str:
    """Return what the limit of tokens was, as far as known, and how to raise it."""
    told = [name for name in LIMITS if name in question.parameters]
    name = told[0] if told else LIMITS[0]
    limit = question.parameters[name] if told else answer.completion_tokens
    more = {**question.parameters, name: 2 * limit if isinstance(limit, int) and limit > 0 else 4096}
    of = f"the limit was {limit}, by {name}" if told else f"it has {limit} tokens" if limit else "the server tells none"
    return f"{of}: raise it with --parameters '{json.dumps(more)}', or lower the query's count"
