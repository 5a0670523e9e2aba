"""``starft prompts generate``: ask a language model, keep its answers, write a pool."""

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from starft.captions.pool_files import LOCAL_POOLS, check_target, list_pools, save_pool
from starft.captions.pools import Pool
from starft.config.prompts import RunConfig, read_config_or_none
from starft.errors import PromptError, Stopped
from starft.prompting.answers import Reading, UnusableAnswer, read_answer
from starft.prompting.asking import Outcome, ask_all
from starft.prompting.assemble import answers_digest, build_pool, count_drops, count_served, notes_on_answers
from starft.prompting.cache import Answer, AnswerCache
from starft.prompting.completion import Form
from starft.prompting.connection import OPENAI, address_of
from starft.prompting.query import Query, Question, check_parameters, load_query
from starft.reporting.console import Console
from starft.safe_text import say, visible
from starft.wording import count_of

if TYPE_CHECKING:
    from starft.prompting.lengths import LengthLimit

CACHE = "prompts/cache"
MODEL = "gpt-4o-mini"


def generate(
    query: str,
    data: str | None = None,
    model: str | None = None,
    base_url: str | None = None,
    out: str | None = None,
    cache: str = CACHE,
    clip_model: str | None = None,
    parameters: dict[str, Any] | None = None,
    form: Form = "auto",
    concurrency: int = 8,
    timeout: float = 60.0,
    connect_timeout: float = 5.0,
    retries: int = 4,
    max_wait: float = 60.0,
    dry_run: bool = False,
    offline: bool = False,
    refresh: bool = False,
    partial: bool = False,
    overwrite: bool = False,
    overrides: tuple[str, ...] = (),
) -> int:
    """Ask a language model for spurious labels and write what it says as a pool.

    The key is read from the environment variable OPENAI_API_KEY, for Azure AZURE_OPENAI_API_KEY. Every answer is cached
    as it arrives: a run that was stopped asks only what is missing, and the same answers always give the same pool.

    Args:
        query: A shipped query (backgrounds, textures, resolution, style, cooccurring, per_class) or a .yaml file.
        data: A training config whose class names are asked about and kept out of templates, or a file with class_names.
        model: Name of the language model on the server; null takes gpt-4o-mini, from OpenAI alone.
        base_url: Any server that speaks OpenAI's chat completions, such as http://localhost:11434/v1; null takes
            OPENAI_BASE_URL or OpenAI's own.
        out: The pool to write; null writes prompts/pools/NAME.json with the query's name.
        cache: Folder of the answers.
        clip_model: The CLIP whose context templates must fit; null takes that of --data, or else ViT-B-16.
        parameters: Sampling parameters as JSON, sent instead of the query's own; {} sends none.
        form: The form to ask for; auto takes json_schema, json_object or text, the first that the server takes.
        concurrency: Requests at a time.
        timeout: Seconds to wait for one answer.
        connect_timeout: Seconds to wait for a connection.
        retries: How often a question is put again after 429, 5xx, a timeout or a lost connection.
        max_wait: Most seconds between two tries, even where the server asks for more.
        dry_run: Print the messages and how many requests they make, and ask nothing.
        offline: Use cached answers only and never open a connection.
        refresh: Ask everything again; an old answer stays until the new one is in.
        partial: Write the pool even if some questions have no usable answer.
        overwrite: Replace a pool that is there already.
        overrides: Options that change the config of --data, as ``--data.init_args.NAME=VALUE``.

    Raises:
        StarftError: Anything that keeps the pool from being written.
    """
    _check_numbers(concurrency, retries)
    _check_seconds(timeout=timeout, connect_timeout=connect_timeout, max_wait=max_wait)
    if offline and refresh:
        raise PromptError("--offline and --refresh exclude each other; give one of them.")
    asked = load_query(query)
    if problems := check_parameters(parameters):
        raise PromptError(f"--parameters: {problems[0]}.")
    config = read_config_or_none(data, overrides)
    if asked.kind == "per_class" and config is None:
        raise PromptError(
            f"The query {asked.name!r} asks about each class; give --data with a config of your data, "
            "or with a YAML file that lists them, as in class_names: [duck, owl]."
        )
    address = address_of(base_url)
    model = model if model is not None else default_model(address)
    answers = AnswerCache(Path(cache) / asked.name)
    if dry_run:
        _print_questions(asked.questions(model, _names(config), parameters, address), answers)
        return 0
    target = Path(out) if out is not None else LOCAL_POOLS / f"{asked.name}.json"
    check_target(target, ".json", "out", overwrite)
    if not offline and (refresh or not _all_answered(asked, config, model, parameters, address, answers)):
        import_module("starft.prompting.client").check_access(base_url)
    say("Loading the data and the tokenizer ..." if data else "Loading the tokenizer ...", file=sys.stderr)
    names = _names(config)
    questions = asked.questions(model, names, parameters, address)
    limit = import_module("starft.prompting.lengths").LengthLimit(clip_model, config)
    outcome = Outcome()
    with nullcontext() if offline else answers.one_at_a_time():
        missing = questions if refresh else [question for question in questions if not _usable(answers.get(question))]
        if missing and (old := answers.of_older_versions()):
            say(
                f"Note: {count_of(old, 'answer')} in {answers.folder} of an older version can't be used, since they "
                "hold phrases where templates with {} are asked for now; they are left there."
            )
        if missing and not offline:
            client = import_module("starft.prompting.client").Client(
                base_url, timeout, retries, form, connect_timeout, max_wait, tell=lambda text: say(text, sys.stderr)
            )
            try:
                outcome = asyncio.run(_ask(missing, client, answers, concurrency))
            except KeyboardInterrupt:
                raise _interrupted(questions, answers, refresh) from None
            _print_usage(outcome, len(questions), answers)
        result = _read(questions, answers)
    _refuse_gaps(questions, result, outcome, answers, offline, refresh, partial)
    pool = _pool(asked, questions, result, names, limit)
    save_pool(pool, target, overwrite)
    for note in notes_on_answers(pool.provenance):
        say(note)
    came = sum(len(item[1].texts) for item in result if item is not None)
    _print_result(pool, target, came, asked.count * sum(item is not None for item in result))
    return 0


def _names(config: RunConfig | None) -> tuple[str, ...]:
    return config.class_names() if config is not None else ()


def _all_answered(
    query: Query,
    config: RunConfig | None,
    model: str,
    parameters: dict[str, Any] | None,
    address: str,
    answers: AnswerCache,
) -> bool:
    """Tell whether all questions have an answer already; where only the data know the questions, whether any may."""
    if query.kind == "per_class" and config is not None and config.section is not None:
        return any(answers.folder.glob("*.json"))
    names = config.listed if config is not None else ()
    return all(_usable(answers.get(question)) for question in query.questions(model, names, parameters, address))


def _interrupted(questions: Sequence[Question], answers: AnswerCache, refresh: bool) -> Stopped:
    kept = sum(_usable(answers.get(question)) for question in questions)
    then = "--refresh would ask everything again" if refresh else "run the same command again for the rest"
    message = f"Interrupted with {kept} of {count_of(len(questions), 'answer')} kept in {answers.folder}; {then}."
    return Stopped(message, 130)


def _print_result(pool: Pool, target: Path, came: int, asked_for: int) -> None:
    size = sum(map(len, pool.per_class.values()))
    classes = f" for all classes, {size} for single ones" if pool.per_class else ""
    of = f"{came}, {asked_for} asked for" if came > asked_for else f"{came} of the {asked_for} asked for"
    dropped = pool.provenance["dropped"]
    where = ", listed in its provenance" if dropped else ""
    templates = count_of(len(pool.templates), "template")
    say(f"Wrote {target}: {templates}{classes} from {of}; {count_drops(dropped)}{where}.")
    shipped = {path.stem: path for path in list_pools()}.get(target.stem)
    if shipped is not None and target.resolve() != shipped.resolve():
        here = target.parent.resolve() == LOCAL_POOLS.resolve()
        means = f"{target}, not the shipped pool" if here else f"the shipped pool; for this one give {target}"
        say(f"Run from here, model.pool: {target.stem} means {means}.")


def default_model(address: str) -> str:
    """Return the model that is asked where none is named, which only OpenAI's own server has.

    Args:
        address: The server's.

    Raises:
        PromptError: It is another server.
    """
    if address == OPENAI:
        return MODEL
    raise PromptError(
        f"--model is missing: {address} serves models of its own; "
        f"`starft prompts server --base-url {address}` lists them."
    )


def _check_numbers(concurrency: int, retries: int) -> None:
    for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
        if value < least:
            raise PromptError(f"--{name} must be at least {least}; got {value}.")


def _check_seconds(**options: float) -> None:
    for name, value in options.items():
        if not 0 < value < float("inf"):
            raise PromptError(f"--{name.replace('_', '-')} must be more than 0 seconds; got {value}.")


def _print_questions(questions: Sequence[Question], answers: AnswerCache) -> None:
    for number, question in enumerate(questions, 1):
        about = "" if question.class_name is None else f" about {question.class_name!r}"
        say(f"--- request {number} of {len(questions)}{about}: {question.model} {question.parameters}")
        for message in question.messages:
            say(f"{message['role']}:\n{message['content']}\n", lines=True)
    cached = sum(_usable(answers.get(question)) for question in questions)
    say(f"{count_of(len(questions), 'request')}; {count_of(cached, 'answer')} in {answers.folder} already.")


def _usable(answer: Answer | None) -> bool:
    return _reading(answer) is not None


def _reading(answer: Answer | None) -> Reading | None:
    try:
        return read_answer(answer.text, answer.finish_reason) if answer is not None else None
    except UnusableAnswer:
        return None


async def _ask(questions: Sequence[Question], client: Any, answers: AnswerCache, concurrency: int) -> Outcome:
    number = count_of(len(questions), "question")
    say(f"Asking {number} of {questions[0].model} at {client.url} ...", file=sys.stderr)
    console = Console(stderr=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with client:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("asking", total=len(questions))
            return await ask_all(questions, client, answers, concurrency, lambda: progress.advance(task))


def _print_usage(outcome: Outcome, total: int, answers: AnswerCache) -> None:
    if not outcome.answered and not outcome.prompt_tokens + outcome.completion_tokens:
        return
    kept = total - outcome.asked
    say(
        f"{outcome.answered} of {count_of(outcome.asked, 'question')} answered: "
        f"{count_of(outcome.prompt_tokens, 'token')} in, {count_of(outcome.completion_tokens, 'token')} out"
        + (f", {outcome.thought_tokens} of them on thought" if outcome.thought_tokens else "")
        + (f"; {kept} more from {answers.folder}." if kept and not outcome.stopped else ".")
    )


def _read(questions: Sequence[Question], answers: AnswerCache) -> list[tuple[Answer, Reading] | None]:
    """Return the answer and what it holds of each question, None where there is no usable one."""
    results: list[tuple[Answer, Reading] | None] = []
    for question in questions:
        answer = answers.get(question)
        reading = _reading(answer)
        results.append((answer, reading) if answer is not None and reading is not None else None)
    return results


def _refuse_gaps(
    questions: Sequence[Question],
    found: Sequence[object],
    outcome: Outcome,
    answers: AnswerCache,
    offline: bool,
    refresh: bool,
    partial: bool,
) -> None:
    """Tell in one sentence what is missing, unless that is allowed."""
    gaps = [question for question, item in zip(questions, found, strict=True) if item is None]
    everything = len(gaps) == len(questions)
    if offline and gaps and (everything or not partial):
        lacking = ", ".join(f"{q.class_name!r}" if q.class_name is not None else "the only one" for q in gaps)
        are = "is" if len(gaps) == 1 else "are"
        raise PromptError(
            f"Offline, {len(gaps)} of {count_of(len(questions), 'answer')} of {questions[0].model} {are} missing from "
            f"{answers.folder}: {lacking}; run it once without --offline."
        )
    if not outcome.failures or (partial and not everything and not outcome.stopped):
        return
    if len(questions) == 1:
        raise PromptError(outcome.failures[0])
    left = len(questions) - outcome.answered if refresh else len(gaps)
    have = "has" if left == 1 else "have"
    raise PromptError(
        f"{outcome.failures[0].removesuffix('.')}; {left} of {len(questions)} questions {have} no "
        f"{'new ' if refresh else ''}answer yet, the others are kept in {answers.folder}: run the same command again "
        "to ask the rest, or add --partial to go on without."
    )


def _pool(
    query: Query,
    questions: Sequence[Question],
    found: Sequence[tuple[Answer, Reading] | None],
    class_names: Sequence[str],
    limit: "LengthLimit",
) -> Pool:
    values = [(question, *pair) for question, pair in zip(questions, found, strict=True) if pair is not None]
    gaps = [str(question.class_name) for question, pair in zip(questions, found, strict=True) if pair is None]
    provenance = {
        "source": "llm",
        "model": questions[0].model,
        "address": questions[0].address,
        "served_models": count_served([answer for _, answer, _ in values]),
        "forms": dict(sorted(Counter(answer.mode for _, answer, _ in values).items())),
        "query": query.source,
        "query_sha256": query.sha256,
        "parameters": questions[0].parameters,
        # The day of the last answer and not of this run: same answers, same file.
        "created": max(answer.created for _, answer, _ in values)[:10] + "T00:00:00Z",
        "answers": len(values),
        "answers_sha256": answers_digest(answer.text for _, answer, _ in values),
        "clip_model": limit.model_name,
        "unanswered": gaps,
    }
    readings = [(question.class_name, reading) for question, _, reading in values]
    pool = build_pool(query, readings, class_names, limit.too_long, provenance)
    if not pool.templates:
        dropped = pool.provenance["dropped"]
        raise PromptError(
            f"No template came of {count_of(len(dropped), 'text')} (the first, {visible(dropped[0]['text'])!r}, "
            f"{dropped[0]['reason']}); change the query's messages, or ask another --model."
        )
    return pool
