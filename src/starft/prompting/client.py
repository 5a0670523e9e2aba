"""The one place that speaks to a language model, and the only one that knows the key.

The key is read from the environment here, is handed to the openai client, and goes nowhere else: it is cut out of
everything that a server sends back.
"""

import json
import os
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from starft.errors import PromptError
from starft.prompting.address import host_of, without_user
from starft.prompting.answers import NoAnswer, shorten
from starft.prompting.cache import Answer
from starft.prompting.query import SCHEMA, Question

try:
    import openai
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "openai":
        raise
    raise PromptError("Asking a language model needs the openai package; run `pip install 'starft[llm]'`.") from None

KEY = "OPENAI_API_KEY"
AZURE_KEY = "AZURE_OPENAI_API_KEY"
SHORTEST_SECRET = 8
"""A shorter key is a stopgap for a server that needs none, such as "x", and may be part of any word."""

EARLIEST = 1_577_836_800
"""2020: no server spoke chat completions before, so a clock that says so isn't set."""

MODES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "json_schema",
        {"type": "json_schema", "json_schema": {"name": "phrases", "strict": True, "schema": SCHEMA}},
    ),
    ("json_object", {"type": "json_object"}),
    ("text", {}),
)
"""Ways to ask for an answer's form, the strictest first; a server that refuses one is asked in the next."""


class Client:
    """Asks a server that speaks OpenAI's chat completions.

    Args:
        base_url: Such as "http://localhost:11434/v1"; null takes OPENAI_BASE_URL or OpenAI's own.
        timeout: Seconds to wait for an answer.
        retries: How often to ask again after 429, 5xx, a timeout or a lost connection.

    Raises:
        PromptError: There is no key, or the URL isn't one.
    """

    def __init__(self, base_url: str | None, timeout: float, retries: int) -> None:
        url = _url(base_url)
        self._key_name, self._key = _key(host_of(url))
        self._client = openai.AsyncOpenAI(api_key=self._key, base_url=url, timeout=timeout, max_retries=retries)
        self.url = without_user(str(self._client.base_url))
        self.timeout = timeout
        self._first_mode = 0

    async def __aenter__(self) -> Self:
        """Hold the connections open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, question: Question) -> Answer:
        """Put one question, in the strictest form that the server takes.

        Args:
            question: What to ask.

        Raises:
            NoAnswer: The server can't be reached, refuses, or sends something else than an answer.
        """
        refusal: openai.APIStatusError | None = None
        for index in range(self._first_mode, len(MODES)):
            try:
                answer = await self._ask_in(question, *MODES[index])
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = error
                continue
            self._first_mode = max(self._first_mode, index)
            return answer
        assert refusal is not None, "the last mode either answers or refuses"
        raise NoAnswer(f"{self.url} refused {question.told}: {self._said(refusal)}.", hopeless=False)

    async def _ask_in(self, question: Question, mode: str, response_format: dict[str, Any]) -> Answer:
        more = dict(question.parameters)
        if response_format:
            more["response_format"] = response_format
        messages: Any = list(question.messages)
        try:
            done: Any = await self._client.chat.completions.create(
                model=question.model, messages=messages, extra_body=more
            )
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            raise
        except openai.AuthenticationError as error:
            told = f"{self.url} doesn't take the key in {self._key_name}"
            then = f"set {self._key_name} to a valid key of this server, or check --base-url"
            raise self._no_answer(told, error, True, then) from None
        except openai.NotFoundError as error:
            told = f"{self.url} answered 404 when asked for the model {question.model!r}"
            raise self._no_answer(told, error, True, "check --model and --base-url, which often ends in /v1") from None
        except openai.RateLimitError as error:
            then = "wait, lower --concurrency, or look at your quota there"
            raise self._no_answer(f"{self.url} still says 429, too many requests", error, True, then) from None
        except openai.APITimeoutError:
            told = f"{self.url} gave no answer to {question.told} within {self.timeout:g} s; raise --timeout."
            raise NoAnswer(told, hopeless=False) from None
        except openai.APIConnectionError as error:
            why = self._clean(str(error.__cause__ or "").strip() or type(error.__cause__ or error).__name__)
            told = f"{self.url} can't be reached or dropped the connection ({why}); check --base-url and the server."
            raise NoAnswer(told, hopeless=True) from None
        except openai.APIStatusError as error:
            told = f"{self.url} answered {error.status_code} to {question.told}"
            raise self._no_answer(told, error, error.status_code < 500) from None
        except (openai.APIError, ValueError) as error:  # a body that isn't the JSON it says it is
            told = f"{self.url} sent no readable completion for {question.told}: {self._clean(shorten(str(error)))}."
            raise NoAnswer(told, hopeless=False) from None
        return self._answer(done, question, mode)

    def _answer(self, done: Any, question: Question, mode: str) -> Answer:
        choices = getattr(done, "choices", None)
        choice: Any = choices[0] if isinstance(choices, list) and choices else None
        message: Any = getattr(choice, "message", None)
        if message is None:
            told = f"{self.url} sent no completion for {question.told} but {self._clean(shorten(str(done)))}"
            raise NoAnswer(f"{told}; check --base-url, which often ends in /v1.", hopeless=isinstance(done, str))
        if getattr(message, "refusal", None):
            said = self._clean(shorten(str(message.refusal)))
            raise NoAnswer(f"The model {question.model} declined {question.told}: {said}.", hopeless=False)
        usage = done.usage
        return Answer(
            text=self._clean(message.content if isinstance(message.content, str) else ""),
            finish_reason=self._clean(str(choice.finish_reason or "stop")),
            mode=mode,
            served_model=self._clean(str(done.model or "")),
            prompt_tokens=_count(getattr(usage, "prompt_tokens", 0)),
            completion_tokens=_count(getattr(usage, "completion_tokens", 0)),
            created=_moment(done.created),
        )

    def _no_answer(self, told: str, error: openai.APIStatusError, hopeless: bool, then: str = "") -> NoAnswer:
        return NoAnswer(f"{told}: {self._said(error)}" + (f"; {then}" if then else "") + ".", hopeless)

    def _said(self, error: openai.APIStatusError) -> str:
        """Return the server's own message, without the key and its last period."""
        body: Any = error.body
        said = body
        if isinstance(body, dict):
            said = next((body[key] for key in ("message", "detail", "error") if body.get(key)), None)
        line = " ".join(self._clean(str(said or f"status {error.status_code}")).split())
        return (line if len(line) <= 300 else line[:297] + "...").rstrip(".")

    def _clean(self, text: str) -> str:
        if len(self._key) < SHORTEST_SECRET:
            return text
        for key in {self._key, json.dumps(self._key)[1:-1]}:
            text = text.replace(key, "[key]")
        return text


def check_access(base_url: str | None) -> None:
    """Refuse what would keep `Client` from being built.

    Args:
        base_url: As `Client` takes it.

    Raises:
        PromptError: There is no key, or the URL isn't one.
    """
    _key(host_of(_url(base_url)))


def _url(base_url: str | None) -> str | None:
    return base_url if base_url is not None else os.environ.get("OPENAI_BASE_URL") or None


def _key(host: str) -> tuple[str, str]:
    """Return the name of the variable that holds the key, and the key."""
    names = (AZURE_KEY, KEY) if host.endswith(".azure.com") else (KEY,)
    for name in names:
        key = os.environ.get(name, "").strip()
        if key and not (key.isascii() and key.isprintable()):
            raise PromptError(f"{name} holds characters that a key can't have; set it again.")
        if key:
            return name, key
    raise PromptError(
        f"There is no key: set the environment variable {names[0]}; for a server that needs none, any word does."
    )


def _count(number: object) -> int:
    return number if type(number) is int and number >= 0 else 0


def _moment(created: object) -> str:
    """Return the server's time in ISO 8601, or the present where it tells none that can be."""
    seconds = created if type(created) is int and EARLIEST <= created < 2**33 else None
    moment = datetime.fromtimestamp(seconds, UTC) if seconds is not None else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
