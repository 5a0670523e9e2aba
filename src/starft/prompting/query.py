"""Query files: what a language model is asked, with everything that decides its answer."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from starft.captions.templates import is_template
from starft.errors import PromptError
from starft.files.shipped import shipped
from starft.files.yaml_reader import parse_yaml, read_bytes
from starft.prompting.connection import OPENAI
from starft.wording import did_you_mean

REQUIRED = ("name", "description", "kind", "count", "messages")
OPTIONAL = ("before", "fallback", "parameters")
FRAMES = ("bare", "uncounted", "adjective")
"""Keys of older versions, which asked for phrases and set them into templates."""
KINDS = ("general", "per_class")
ROLES = ("system", "developer", "user", "assistant")
MOST = 1000
"""More templates than this don't fit into one answer."""

OWN_PARAMETERS = ("model", "messages", "response_format", "stream", "n", "tools")
"""Parameters of a request that starft sets itself."""

CLASS, COUNT = "{class_name}", "{count}"

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"templates": {"type": "array", "items": {"type": "string"}}},
    "required": ["templates"],
    "additionalProperties": False,
}
"""What every answer should look like."""


@dataclass(frozen=True)
class Question:
    """One request, complete enough to be its own cache key.

    Args:
        model: The language model's name.
        messages: Chat messages, each with ``role`` and ``content``.
        parameters: Sampling parameters, sent as they are.
        class_name: The class that is asked about; None for all. Not part of the key: the messages say it.
        address: The server's, as `address_of` gives it.
    """

    model: str
    messages: tuple[dict[str, str], ...]
    parameters: dict[str, Any]
    class_name: str | None = field(default=None, compare=False)
    address: str = OPENAI

    def content(self) -> dict[str, Any]:
        """Return all that decides the answer, as plain JSON."""
        return {
            "address": self.address,
            "model": self.model,
            "messages": list(self.messages),
            "parameters": self.parameters,
            "schema": SCHEMA,
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 over address, model, messages, parameters and schema."""
        text = json.dumps(self.content(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """What messages to people call this question."""
        return "the question" if self.class_name is None else f"the question about {self.class_name!r}"


@dataclass(frozen=True)
class Query:
    """A query file.

    Args:
        name: What its pool is called.
        description: What its templates are about.
        kind: ``general``: one request for all classes; ``per_class``: one request for each class of a data set.
        count: How many templates an answer should have; ``{count}`` in a message.
        messages: What is asked; ``{class_name}`` stands for the class.
        before: Whether words may stand before ``{}``, as in "blurry {}".
        fallback: Templates for every class, beside those of the answers; a per-class query needs at least one.
        parameters: Sampling parameters, sent as they are.
        source: Where the file comes from, as the provenance tells it.
        sha256: Of the file.
    """

    name: str
    description: str
    kind: str
    count: int
    messages: tuple[dict[str, str], ...]
    before: bool
    fallback: tuple[str, ...]
    parameters: dict[str, Any]
    source: str
    sha256: str

    def questions(
        self, model: str, class_names: Sequence[str], parameters: dict[str, Any] | None, address: str = OPENAI
    ) -> list[Question]:
        """Return the requests: one, or one for each distinct class name.

        Args:
            model: The language model's name.
            class_names: Classes of the data set; a general query doesn't use them.
            parameters: Sent instead of the query's own; None keeps those.
            address: The server's, as `address_of` gives it.
        """
        sent = self.parameters if parameters is None else parameters
        asked: list[str | None] = [None] if self.kind == "general" else [*dict.fromkeys(class_names)]
        return [Question(model, self._messages(name), sent, name, address) for name in asked]

    def _messages(self, class_name: str | None) -> tuple[dict[str, str], ...]:
        named = CLASS if class_name is None else class_name
        return tuple(
            {
                "role": message["role"],
                "content": message["content"].replace(COUNT, str(self.count)).replace(CLASS, named).strip(),
            }
            for message in self.messages
        )


def list_queries() -> list[Path]:
    """Return the files of the shipped queries, sorted by name."""
    return sorted((shipped("prompts") / "queries").glob("*.yaml"))


def load_query(name_or_path: str) -> Query:
    """Read a shipped query by its name, or any query file by its path.

    Args:
        name_or_path: Such as "backgrounds" or "my/query.yaml".

    Raises:
        PromptError: No such query, or a file that can't be used; every problem with its keys is named.
    """
    path = _find(name_or_path)
    try:
        content = read_bytes(path, "query file", PromptError)
    except FileNotFoundError as error:
        raise PromptError(f"The query file {path} can't be read: {error.strerror}; check its path.") from error
    data = parse_yaml(content, f"The query file {path}", PromptError)
    if problems := check_query(data):
        raise PromptError(f"The query file {path} can't be used: {'; '.join(problems)}.")
    mine = path.parent == shipped("prompts") / "queries"
    return Query(
        name=data["name"],
        description=data["description"],
        kind=data["kind"],
        count=data["count"],
        messages=tuple({"role": m["role"], "content": m["content"]} for m in data["messages"]),
        before=data.get("before", False),
        fallback=tuple(data.get("fallback", ())),
        parameters=data.get("parameters") or {},
        source=f"prompts/queries/{path.name}" if mine else path.name if path.is_absolute() else path.as_posix(),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def check_query(data: object) -> list[str]:
    """Return every problem of a parsed query file; an empty list means a good one.

    Args:
        data: What YAML made of the file.
    """
    if not isinstance(data, dict):
        return [f"it must hold the keys {', '.join(REQUIRED)}, and may hold {', '.join(OPTIONAL)}"]
    problems = _check_keys(data)
    for key in ("name", "description"):
        if key in data and not (isinstance(data[key], str) and data[key].strip()):
            problems.append(f"{key!r} must be a text that isn't empty, got {data[key]!r}")
    name = data.get("name")
    if isinstance(name, str) and (name != Path(name).name or name.startswith(".")):
        problems.append(f"'name' becomes a file name and can't hold a separator or begin with a dot, got {name!r}")
    if "kind" in data and data["kind"] not in KINDS:
        problems.append(f"'kind' must be {' or '.join(KINDS)}, got {data['kind']!r}")
    count = data.get("count", 1)
    if type(count) is not int or not 1 <= count <= MOST:
        problems.append(f"'count' must be a whole number from 1 to {MOST}, got {count!r}")
    if "messages" in data:
        problems += _check_messages(data["messages"], data.get("kind"))
    if not isinstance(data.get("before", False), bool):
        problems.append(f"'before' must be true or false, got {data['before']!r}")
    fallback = data.get("fallback", [])
    if not isinstance(fallback, list) or not all(map(is_template, fallback)):
        problems.append(f"'fallback' must be a list of templates that hold {{}} once each, got {fallback!r}")
    elif data.get("kind") == "per_class" and not fallback:
        problems.append("a per_class query needs a 'fallback', such as ['{} in its usual surroundings']")
    return problems + check_parameters(data.get("parameters"))


def check_parameters(parameters: object) -> list[str]:
    """Return the problems of sampling parameters.

    Args:
        parameters: A mapping by name, or None.
    """
    if parameters is None:
        return []
    if not isinstance(parameters, dict) or not all(isinstance(key, str) for key in parameters):
        return [f"'parameters' must map names to values, as in temperature: 0.0, got {parameters!r}"]
    if taken := [key for key in parameters if key in OWN_PARAMETERS]:
        return [f"'parameters' can't hold {', '.join(taken)}, which starft sets itself"]
    try:
        json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [f"'parameters' can't be sent as JSON: {error}"]
    return []


def _check_keys(data: dict[str, Any]) -> list[str]:
    known = (*REQUIRED, *OPTIONAL)
    problems = [f"the key {key!r} is missing" for key in REQUIRED if key not in data]
    for key in data:
        if key in FRAMES:
            problems.append(
                f"{key!r} set phrases into templates in an older version; take it out and ask for whole templates in "
                "'messages', with {} where the caption goes"
            )
        elif key not in known:
            near = did_you_mean(str(key), known, limit=1).replace(" Did you mean", "; did you mean")
            problems.append(f"unknown key {key!r}, the keys are {', '.join(known)}{near}")
    return problems


def _check_messages(messages: object, kind: object) -> list[str]:
    if not isinstance(messages, list) or not messages:
        return [f"'messages' must be a list of messages with role and content, got {messages!r}"]
    problems = []
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            problems.append(f"messages[{index}] must hold role and content and nothing else, got {message!r}")
        elif message["role"] not in ROLES:
            problems.append(f"messages[{index}] has the role {message['role']!r}, roles are {', '.join(ROLES)}")
        elif not isinstance(message["content"], str) or not message["content"].strip():
            problems.append(f"messages[{index}] has no content")
    if problems:
        return problems
    text = " ".join(message["content"] for message in messages)
    if "json" not in text.casefold():
        problems.append("its messages must ask for JSON by that word, which servers insist on in JSON mode")
    if "{}" not in text:
        problems.append("its messages must ask for templates, with {} where the caption goes, as in '{} on a lake'")
    if kind == "per_class" and CLASS not in text:
        problems.append(f"a per_class query must hold {CLASS} in a message")
    if kind == "general" and CLASS in text:
        problems.append(f"a general query has no class to put in the place of {CLASS}; make its kind per_class")
    return problems


def _find(name: str) -> Path:
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.name != name:
        return path
    known = {file.stem: file for file in list_queries()}
    if name in known:
        return known[name]
    raise PromptError(
        f"There is no query {name!r}; give {', '.join(known)}, or the path of a .yaml file.{did_you_mean(name, known)}"
    )
