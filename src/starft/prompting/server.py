"""``starft prompts server``: what a server can do, before money is spent on it."""

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from rich.table import Table
from rich.text import Text

from starft.errors import PromptError
from starft.prompting.answers import WHOLE
from starft.prompting.cache import Answer
from starft.prompting.completion import FORMS, begins_in_form, keeps_form
from starft.prompting.connection import address_of
from starft.prompting.query import Question
from starft.reporting.console import Console
from starft.safe_text import say, visible
from starft.wording import count_of, did_you_mean

PROBE = ({"role": "user", "content": "Say hello in one plain English sentence. Do not write JSON."},)
"""A server that constrains its model's answer writes JSON all the same."""

LIMITED = {"temperature": 0.0, "max_tokens": 200}
"""What a probe may cost; a server that refuses these parameters is asked without."""

MOST_MODELS = 40


@dataclass(frozen=True)
class Trial:
    """What came of asking in one form.

    Args:
        form: One of `FORMS`.
        verdict: "constrained", "ignored", "refused", "answered" (text) or "not known".
        why: What the server said in refusing; empty otherwise.
        answer: What it sent; None where it refused.
        seconds: Until the answer was there.
    """

    form: str
    verdict: str
    why: str
    answer: Answer | None
    seconds: float


def server(*, base_url: str, model: str | None = None, timeout: float = 60.0, connect_timeout: float = 5.0) -> int:
    """Tell what a server can do: its models, which forms of answer it constrains, ignores or refuses, usage and speed.

    It takes three or four requests of some 20 tokens, with answers of at most 200.

    Args:
        base_url: Any server that speaks OpenAI's chat completions, such as http://localhost:11434/v1.
        model: Name of the model to try; null takes the only one that the server lists.
        timeout: Seconds to wait for one answer.
        connect_timeout: Seconds to wait for a connection.

    Raises:
        PromptError: The server can't be reached, or answers nothing.
    """
    for name, value in (("timeout", timeout), ("connect-timeout", connect_timeout)):
        if not 0 < value < float("inf"):
            raise PromptError(f"--{name} must be more than 0 seconds; got {value}.")
    address = address_of(base_url)
    client = import_module("starft.prompting.client").Client(
        base_url, timeout, retries=0, connect_timeout=connect_timeout
    )
    say(f"Asking {address} what it can do ...", sys.stderr)
    names, trials = asyncio.run(_try(client, model, address))
    _print_models(names, address)
    tried = model or (names[0] if names and len(names) == 1 else None)
    if tried is None:
        say("Give one of them as --model to try it.")
        return 0
    if names and tried not in names:
        say(f"{tried} isn't among them.{did_you_mean(tried, names)}")
    if all(trial.answer is None for trial in trials):
        raise PromptError(f"{address} answers nothing: {trials[-1].why.rstrip('.')}.")
    _print_trials(trials)
    say(summary(trials, tried))
    return 0


async def _try(client: Any, model: str | None, address: str) -> tuple[list[str] | None, list[Trial]]:
    """Return the models of a server, None where it lists none, and what came of asking in each form."""
    async with client:
        names = await client.models()
        if model is None and names is not None and len(names) == 1:
            model = names[0]
        if model is None and not names:
            reached = await client.try_form(Question("any", PROBE, LIMITED, address=address), "text")
            why = f": {reached.rstrip('.')}" if isinstance(reached, str) else ""
            raise PromptError(f"{address} lists no models{why}; give one as --model.")
        if model is None:
            return names, []
        parameters: dict[str, Any] = dict(LIMITED)
        trials = [await _trial(client, Question(model, PROBE, parameters, address=address), "text")]
        if trials[0].answer is None:
            without = await _trial(client, Question(model, PROBE, {}, address=address), "text")
            if without.answer is not None:
                parameters, trials = {}, [without]
        for form in ("json_object", "json_schema"):
            trials.append(await _trial(client, Question(model, PROBE, parameters, address=address), form))
    return names, trials[::-1]


async def _trial(client: Any, question: Question, form: str) -> Trial:
    start = time.monotonic()
    came: Answer | str = await client.try_form(question, form)
    seconds = time.monotonic() - start
    if isinstance(came, str):
        return Trial(form, "refused", came, None, seconds)
    return Trial(form, verdict(came, form), "", came, seconds)


def verdict(answer: Answer, form: str) -> str:
    """Return whether a server made its model keep to a form, by an answer that was to be plain words.

    Args:
        answer: To `PROBE`.
        form: The one that was asked for.
    """
    if form == "text":
        return "answered"
    if not answer.text.strip():
        return "not known"
    cut = answer.finish_reason.casefold() not in WHOLE
    kept = begins_in_form(answer.text, form) if cut else keeps_form(answer.text, form)
    return "constrained" if kept else "ignored"


def summary(trials: Sequence[Trial], model: str) -> str:
    """Return what follows from the trials of a model, in words.

    Args:
        trials: In the order of `FORMS`.
        model: The model's name.
    """
    verdicts = {trial.form: trial.verdict for trial in trials}
    answers = [trial.answer for trial in trials if trial.answer is not None]
    best = next((form for form in FORMS if verdicts[form] == "constrained"), None)
    usage = "tells" if any(answer.completion_tokens for answer in answers) else "does not tell"
    served = sorted({answer.served_model for answer in answers if answer.served_model} - {model})
    named = f" It calls the model {', '.join(served)}." if served else ""
    if best is None:
        advice = "No form binds the model, so answers are read as they come: look at the pool with care"
    else:
        advice = f"Its answers can be relied on to have the form {best}"
    ask = "--form auto, which is the default" if best == "json_schema" else f"--form {best or 'text'}"
    return f"{advice}; ask with {ask}. The server {usage} the tokens that are used.{named}"


def _print_models(names: Sequence[str] | None, address: str) -> None:
    if names is None:
        say(f"{address} has no list of models.")
        return
    say(f"{address} lists {count_of(len(names), 'model')}{':' if names else '.'}")
    for name in names[:MOST_MODELS]:
        say(f"  {name}")
    if len(names) > MOST_MODELS:
        say(f"  ... and {len(names) - MOST_MODELS} more")


def _print_trials(trials: Sequence[Trial]) -> None:
    table = Table("form", "", "tokens in", "out", "of them thought", "seconds", "tokens/s", "said", box=None)
    for trial in trials:
        answer = trial.answer
        counts = ("", "", "", "")
        said = trial.why.partition(": ")[2] or trial.why
        if answer is not None:
            out = answer.completion_tokens
            speed = f"{out / trial.seconds:.0f}" if out and trial.seconds > 0 else "?"
            counts = (str(answer.prompt_tokens or "?"), str(out or "?"), str(answer.thought_tokens), speed)
            said = " ".join(answer.text.split())
        said = visible(said if len(said) <= 60 else f"{said[:57]}...")
        seconds = f"{trial.seconds:.2f}"
        table.add_row(trial.form, trial.verdict, *counts[:3], seconds, counts[3], Text(said))
    Console(160).print(table)
