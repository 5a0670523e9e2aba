"""Putting many questions at once: every answer is kept the moment it arrives, whatever happens to the others."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starft.prompting.answers import CUT, NoAnswer, UnusableAnswer, read_answer
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
        thought_tokens: Those of them that were spent on thought.
        failures: One sentence for each question that went wrong, in the order of going wrong.
        stopped: Whether questions were left unasked.
    """

    asked: int = 0
    answered: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    thought_tokens: int = 0
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
            where = ""
            if error.answer is not None:
                _count(error.answer, outcome)
                kept = cache.reject(question, error.answer, str(error))
                where = f"; it is kept in {kept}."
            outcome.failures.append(str(error).removesuffix("." if where else "") + where)
            row.failed(error.hopeless)
        else:
            _keep(question, answer, cache, outcome, row)
        advance()


def _count(answer: Answer, outcome: Outcome) -> None:
    outcome.prompt_tokens += answer.prompt_tokens
    outcome.completion_tokens += answer.completion_tokens
    outcome.thought_tokens += answer.thought_tokens


def _keep(question: Question, answer: Answer, cache: AnswerCache, outcome: Outcome, row: _Row) -> None:
    _count(answer, outcome)
    try:
        read_answer(answer.text, answer.finish_reason)
    except UnusableAnswer as why:
        message = f"{why}{_spent_on_thought(answer)}"
        kept = cache.reject(question, answer, message)
        advice = f"; {_more_room(question, answer)}" if answer.finish_reason.casefold() in CUT else ""
        outcome.failures.append(f"The answer to {question.label} {message}{advice}; it is kept in {kept}.")
        row.failed(hopeless=False)
    else:
        cache.put(question, answer)
        outcome.answered += 1
        row.failures = 0


def _spent_on_thought(answer: Answer) -> str:
    """Return what of the answer was thought, in brackets, where the server keeps that apart."""
    if answer.thought_tokens:
        return f" ({answer.thought_tokens} of its {answer.completion_tokens} tokens were spent on thought)"
    return " (the model only thought)" if answer.thought and not answer.text.strip() else ""


def _more_room(question: Question, answer: Answer) -> str:
    """Return which limit an answer has met, as far as that can be known, and what to do."""
    sent = [name for name in LIMITS if name in question.parameters]
    name = sent[0] if sent else LIMITS[0]
    limit = question.parameters[name] if sent else answer.completion_tokens
    is_number = isinstance(limit, int) and limit > 0
    if sent and is_number and 0 < answer.completion_tokens < limit:
        read, all_tokens = answer.prompt_tokens, answer.prompt_tokens + answer.completion_tokens
        size = f"{all_tokens} tokens, {read} of them the question" if read else f"{all_tokens} tokens"
        return (
            f"it ends below the limit of {limit} that was sent, so the model's context is full, with {size}: start the "
            "server with a larger one (llama.cpp --ctx-size, vLLM --max-model-len, Ollama OLLAMA_CONTEXT_LENGTH), "
            "or lower the query's count"
        )
    more = {**question.parameters, name: 2 * limit if is_number else 4096}
    known = f"it has {limit} tokens" if limit else "the server tells none"
    of = f"the limit was {limit}, by {name}" if sent else known
    return f"{of}: raise it with --parameters '{json.dumps(more)}', or lower the query's count"
