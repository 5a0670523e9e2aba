"""The one place that speaks to a language model, and the only one that knows the key.

The key is read from the environment here, is handed to the openai client, and goes nowhere else: it is cut out of
everything that a server sends back.
"""

import asyncio
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from starft.errors import PromptError
from starft.prompting.answers import WHOLE, NoAnswer, shorten
from starft.prompting.cache import Answer
from starft.prompting.completion import (
    FORMS,
    IGNORED,
    Completion,
    Form,
    FormChoice,
    error_in,
    keeps_form,
    parse_body,
    read_completion,
)
from starft.prompting.connection import (
    KEY_WORDS,
    LIST_MOST,
    address_of,
    asked_wait,
    chosen_url,
    host_of,
    model_names,
    reason_for_no_connection,
    seconds_to_wait,
    server_message,
)
from starft.prompting.query import Question
from starft.safe_text import visible
from starft.wording import count_of, did_you_mean

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

PASSING = (408, 409, 429)
"""Refusals that may pass, as every 5xx may."""

FINAL = (401, 403, 404, *PASSING)
"""Refusals below 500 that have nothing to do with the answer's form."""


@dataclass(eq=False)
class _Failure(Exception):  # noqa: N818  # what came of one request
    """A request that failed.

    Args:
        message: What happened, without its period.
        then: What to do, without its period; may be empty.
        hopeless: Whether all other questions would fare the same.
        passing: Whether it may go better in a while.
        status: The HTTP status; 0 where there was none.
        headers: Of the answer.
    """

    message: str
    then: str = ""
    hopeless: bool = False
    passing: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


class Client:
    """Asks a server that speaks OpenAI's chat completions.

    Args:
        base_url: Such as "http://localhost:11434/v1"; None takes OPENAI_BASE_URL or OpenAI's own.
        timeout: Seconds to wait for an answer.
        retries: How often to ask again after 429, 5xx, a timeout or a lost connection.
        form: The form in which answers are asked for; "auto" takes the strictest that the server takes.
        connect_timeout: Seconds to wait for a connection.
        max_wait: Most seconds between two tries, whatever the server asks for.
        tell: Called with a sentence before each wait.

    Raises:
        PromptError: There is no key, the URL isn't one, or the environment's proxy can't be used.
    """

    def __init__(
        self,
        base_url: str | None,
        timeout: float,
        retries: int,
        form: Form = "auto",
        connect_timeout: float = 5.0,
        max_wait: float = 60.0,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        url = chosen_url(base_url)
        self._key_name, self._key = _key(host_of(url))
        self._waits = openai.Timeout(timeout, connect=connect_timeout)
        try:
            self._client = openai.AsyncOpenAI(api_key=self._key, base_url=url, timeout=self._waits, max_retries=0)
        except (ImportError, ValueError) as error:  # what httpx thinks of a proxy in the environment
            why = " ".join(str(error).split()).rstrip(".")
            raise PromptError(
                f"The proxy of the environment can't be used ({visible(why)}); unset HTTP_PROXY, HTTPS_PROXY and "
                "ALL_PROXY, or add the server's host to NO_PROXY."
            ) from None
        self.url = f"{address_of(base_url)}/"
        self.timeout, self.connect_timeout = timeout, connect_timeout
        self._retries, self._max_wait, self._tell = retries, max_wait, tell
        self._forms = FormChoice(form)

    async def __aenter__(self) -> Self:
        """Hold the connections open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, question: Question) -> Answer:
        """Put one question, in the strictest form that the server takes; again where a fault may pass.

        Args:
            question: What to ask.

        Raises:
            NoAnswer: The server can't be reached, refuses, or sends something else than an answer.
        """
        tries = 0
        for attempt in range(1, self._retries + 2):
            sent = list[str]()
            try:
                return await self._ask_in_forms(question, sent)
            except _Failure as failure:
                tries += len(sent)
                hint = await self._hint(question, failure)
                if not failure.passing or hint.hopeless or attempt > self._retries:
                    many = f" ({count_of(tries, 'request')})" if attempt > 1 else ""
                    then = "; ".join(filter(None, (failure.then, hint.then)))
                    message = f"{failure.message}{many}" + (f"; {then}" if then else "")
                    raise NoAnswer(f"{message}.", failure.hopeless or hint.hopeless) from None
                seconds = seconds_to_wait(tries, failure.headers, self._max_wait)
                asked = asked_wait(failure.headers)
                bound = f" (the server asks for {asked:.4g} s)" if asked is not None and asked > seconds else ""
                self._tell(
                    f"Asking again in {seconds:.2g} s{bound}, try {attempt + 1} of {self._retries + 1}, "
                    f"for {failure.message} ..."
                )
                await asyncio.sleep(seconds)
        raise AssertionError("the last try either answers or fails")

    async def try_form(self, question: Question, form: str) -> Answer | str:
        """Put a question once in one form; return the answer, or why there is none.

        Args:
            question: What to ask.
            form: One of `FORMS`.
        """
        try:
            return self._answer(await self.send(question, form), question, form)
        except _Failure as failure:
            return failure.message + (f"; {failure.then}" if failure.then else "")
        except NoAnswer as error:
            return str(error)

    async def _ask_in_forms(self, question: Question, sent: list[str]) -> Answer:
        """Ask in one form after the other, until the server takes one."""
        refusals: dict[str, int] = {}
        last: _Failure | None = None
        for form in self._forms.to_try:
            sent.append(form)
            try:
                reply = await self.send(question, form)
            except _Failure as failure:
                of_the_form = failure.status >= 400 and failure.status not in FINAL
                if not of_the_form or (failure.status >= 500 and self._forms.answered_in(form)):
                    raise
                last, refusals[form] = failure, failure.status
                continue
            answer = self._answer(reply, question, form)
            self._forms.note_answer(form, refusals)
            return answer
        assert last is not None, "there is a form to try"
        raise last

    async def send(self, question: Question, form: str) -> str:
        """Send one request and return the body of the reply, without the key.

        Args:
            question: What to ask.
            form: One of `FORMS`.

        Raises:
            Exception: It failed; `_Failure` says how.
        """
        more = dict(question.parameters)
        if FORMS[form]:
            more["response_format"] = FORMS[form]
        messages: Any = list(question.messages)
        completions = self._client.chat.completions.with_raw_response
        try:
            async with asyncio.timeout(self.timeout + self.connect_timeout):  # a body may come drop by drop
                raw = await completions.create(model=question.model, messages=messages, extra_body=more)
                return self._clean(raw.http_response.text)
        except openai.APIStatusError as error:
            raise self._status_failure(error, question) from None
        except (openai.APITimeoutError, TimeoutError) as error:
            if "Connect" in type(error.__cause__).__name__:
                message = f"{self.url} can't be reached within {self.connect_timeout:g} s"
                _, then, _ = reason_for_no_connection(error, self.url)
                raise _Failure(message, then or "check --base-url or raise --connect-timeout", True, True) from None
            message = f"{self.url} gave no answer to {question.label} within {self.timeout:g} s"
            raise _Failure(message, "raise --timeout", passing=True) from None
        except openai.APIConnectionError as error:
            why, then, passing = reason_for_no_connection(error, self.url)
            message = f"{self.url} can't be reached or dropped the connection{visible(self._clean(why))}"
            raise _Failure(message, then or "check --base-url and the server", True, passing) from None
        except (openai.APIError, ValueError) as error:
            message = f"{self.url} sent no readable completion for {question.label}: {self._clean(shorten(str(error)))}"
            raise _Failure(message) from None

    def _status_failure(self, error: openai.APIStatusError, question: Question) -> _Failure:
        status, said = error.status_code, visible(self._clean(server_message(error.body, error.status_code)))
        more: dict[str, Any] = {"status": status, "headers": error.response.headers}
        if status == 401:
            message = f"{self.url} doesn't take the key in {self._key_name}: {said}"
            then = f"set {self._key_name} to a valid key of this server, or check --base-url"
            return _Failure(message, then, hopeless=True, **more)
        if status == 404:
            message = f"{self.url} answered 404 when asked for the model {question.model!r}: {said}"
            then = "check --model and --base-url, which often ends in /v1"
            return _Failure(message, then, hopeless=True, **more)
        if status == 429:
            then = "wait, lower --concurrency, or look at your quota there"
            return _Failure(f"{self.url} still says 429, too many requests: {said}", then, True, True, **more)
        if status in (400, 422):
            then = f"check the key in {self._key_name}, which this may mean" if KEY_WORDS.search(said) else ""
            return _Failure(f"{self.url} refused {question.label}: {said}", then, **more)
        passing = status >= 500 or status in PASSING
        _, proxy, _ = reason_for_no_connection(None, self.url) if status in (407, 502, 503, 504) else ("", "", False)
        message = f"{self.url} answered {status} to {question.label}: {said}"
        return _Failure(message, proxy, not passing, passing, **more)

    async def _hint(self, question: Question, failure: _Failure) -> "_Hint":
        """Return what the server's list of models says about a refusal; nothing once it has answered."""
        looks = failure.status in (400, 404, 422) or failure.status >= 500
        if not looks or self._forms.any_answer:
            return _Hint()
        names = await self.models()
        if names is None or question.model in names:
            return _Hint()
        if not names:
            return _Hint("its list of models is empty")
        some = ", ".join(visible(name) for name in names[:LIST_MOST]) + (", ..." if len(names) > LIST_MOST else "")
        near = visible(did_you_mean(question.model, names, limit=1).rstrip("?").replace(" Did you mean", ", not"))
        wrong = failure.status >= 500 or failure.status == 404
        return _Hint(f"its models are {some}{near and f' ({near[2:]})'}: give one as --model", wrong)

    async def models(self) -> list[str] | None:
        """Return the names of the server's models, or None where it doesn't list them."""
        try:
            async with asyncio.timeout(self.connect_timeout + min(self.timeout, 10.0)):
                raw: Any = await self._client.models.with_raw_response.list()
                return model_names(parse_body(self._clean(raw.http_response.text)))
        except (openai.APIError, TimeoutError, ValueError):
            return None

    def _answer(self, reply: str, question: Question, form: str) -> Answer:
        try:
            body = parse_body(reply)
        except ValueError as error:
            body = None
            if reply.lstrip()[:1] in ("{", "["):
                message = f"{self.url} sent no readable completion for {question.label}: {shorten(str(error))}"
                raise NoAnswer(f"{message}.", False, _unread(reply)) from None
        done = read_completion(body)
        if done is None and (said := error_in(body)):
            message = f"{self.url} answered {question.label} with an error and status 200: {self._clean(shorten(said))}"
            raise NoAnswer(f"{message}.", False, _unread(reply))
        if done is None:
            message = f"{self.url} sent no completion for {question.label} but {shorten(reply)}"
            raise NoAnswer(f"{message}; check --base-url, which often ends in /v1.", body is None, _unread(reply))
        answer = self._answer_of(done, form, reply)
        if done.refusal:
            said = self._clean(shorten(done.refusal))
            raise NoAnswer(f"The model {visible(question.model)} declined {question.label}: {said}.", False, answer)
        if done.instead:
            message = f"The model {visible(question.model)} answered {question.label} with {self._clean(done.instead)}"
            raise NoAnswer(f"{message}.", False, answer)
        return answer

    def _answer_of(self, done: Completion, form: str, reply: str) -> Answer:
        text, ended = self._clean(done.text), self._clean(done.finish_reason)
        cut = ended.casefold() not in WHOLE  # nothing can be said of the form then
        return Answer(
            text=text,
            finish_reason=ended,
            mode=form if cut or keeps_form(text, form) else IGNORED,
            served_model=self._clean(done.served_model),
            prompt_tokens=done.prompt_tokens,
            completion_tokens=done.completion_tokens,
            created=done.created,
            asked_form=form,
            thought=self._clean(done.thought),
            thought_tokens=done.thought_tokens,
            reply=reply,
        )

    def _clean(self, text: str) -> str:
        if len(self._key) < SHORTEST_SECRET:
            return text
        for key in {self._key, json.dumps(self._key)[1:-1]}:
            text = text.replace(key, "[key]")
        return text


@dataclass(frozen=True)
class _Hint:
    """What else is known of a failure.

    Args:
        then: What to do; may be empty.
        hopeless: Whether asking again is of no use.
    """

    then: str = ""
    hopeless: bool = False


def check_access(base_url: str | None) -> None:
    """Refuse what would keep `Client` from being built.

    Args:
        base_url: As `Client` takes it.

    Raises:
        PromptError: There is no key, or the URL isn't one.
    """
    _key(host_of(chosen_url(base_url)))


def _unread(reply: str) -> Answer:
    """Return what is known of a reply that holds no completion."""
    return Answer("", "", "", "", 0, 0, "", reply=reply)


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
