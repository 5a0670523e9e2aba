"""``starft prompts generate``: ask a language model, keep its answers, write a pool."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from starft.errors import PromptError
from starft.pools import LOCAL_POOLS, Pool, list_pools, save_pool
from starft.prompting.answers import UnusableAnswer, read_phrases
from starft.prompting.asking import Outcome, ask_all
from starft.prompting.assemble import Phrases, answers_digest, build_pool
from starft.prompting.cache import Answer, AnswerCache
from starft.prompting.config_files import read_config
from starft.prompting.lengths import LengthLimit
from starft.prompting.query import Query, Question, check_parameters, load_query
from starft.prompting.targets import check_target

CACHE = "prompts/cache"


def generate(
    query: str,
    data: str | None = None,
    model: str = "gpt-4o-mini",
    base_url: str | None = None,
    out: str | None = None,
    cache: str = CACHE,
    clip_model: str | None = None,
    parameters: dict[str, Any] | None = None,
    concurrency: int = 8,
    timeout: float = 60.0,
    retries: int = 4,
    dry_run: bool = False,
    offline: bool = False,
    refresh: bool = False,
    partial: bool = False,
    overwrite: bool = False,
) -> int:
    """Ask a language model for spurious labels and write what it says as a pool.

    The key is read from the environment variable OPENAI_API_KEY, for Azure AZURE_OPENAI_API_KEY. Every answer is cached
    as it arrives: a run that was stopped asks only what is missing, and the same answers always give the same pool.

    Args:
        query: A shipped query (backgrounds, textures, resolution, style, cooccurring, per_class) or a .yaml file.
        data: A training config whose class names are asked about and kept out of phrases, or a file with class_names.
        model: Name of the language model on the server.
        base_url: Any server that speaks OpenAI's chat completions, such as http://localhost:11434/v1; null takes
            OPENAI_BASE_URL or OpenAI's own.
        out: The pool to write; null writes prompts/pools/NAME.json with the query's name.
        cache: Folder of the answers.
        clip_model: The CLIP whose context phrases must fit; null takes that of --data, or else ViT-B-16.
        parameters: Sampling parameters as JSON, sent instead of the query's own; {} sends none.
        concurrency: Requests at a time.
        timeout: Seconds to wait for one answer.
        retries: How often a request is repeated after 429, 5xx, a timeout or a lost connection.
        dry_run: Print the messages and how many requests they make, and ask nothing.
        offline: Use cached answers only and never open a connection.
        refresh: Ask everything again; an old answer stays until the new one is in.
        partial: Write the pool even if some questions have no usable answer.
        overwrite: Replace a pool that is there already.

    Raises:
        StarftError: Anything that keeps the pool from being written.
    """
    _check_numbers(concurrency, timeout, retries)
    if offline and refresh:
        raise PromptError("--offline and --refresh exclude each other; give one of them.")
    asked = load_query(query)
    if problems := check_parameters(parameters):
        raise PromptError(f"--parameters: {problems[0]}.")
    config = read_config(data) if data is not None else None
    if asked.kind == "per_class" and config is None:
        raise PromptError(f"The query {asked.name!r} asks about each class; give --data with a config of your data.")
    names = config.class_names() if config is not None else ()
    questions = asked.questions(model, names, parameters)
    answers = AnswerCache(Path(cache) / asked.name)
    if dry_run:
        _print_questions(questions, answers)
        return 0
    target = Path(out) if out is not None else LOCAL_POOLS / f"{asked.name}.json"
    check_target(target, ".json", "out", overwrite)
    limit = LengthLimit(clip_model, config)
    outcome = Outcome()
    with nullcontext() if offline else answers.one_at_a_time():
        missing = questions if refresh else [question for question in questions if not _usable(answers.get(question))]
        if missing and not offline:
            client = import_module("starft.prompting.client").Client(base_url, timeout, retries)
            outcome = asyncio.run(_ask(missing, client, answers, concurrency))
            _print_usage(outcome, len(questions), answers)
        found = _read(questions, answers)
    _refuse_gaps(questions, found, outcome, answers, offline, refresh, partial)
    pool = _pool(asked, questions, found, names, limit)
    save_pool(pool, target, overwrite)
    classes = f", {sum(map(len, pool.per_class.values()))} for {len(pool.per_class)} classes" if pool.per_class else ""
    dropped = len(pool.provenance["dropped"])
    why = ", for the reasons in its provenance" if dropped else ""
    print(f"Wrote {target}: {len(pool.templates)} templates{classes}; {dropped} phrases dropped{why}.")
    if target.stem in {path.stem for path in list_pools()}:
        print(f"A shipped pool has the same name, so give training the path: model.pool: {target}.")
    return 0


def _check_numbers(concurrency: int, timeout: float, retries: int) -> None:
    for name, value, least in (("concurrency", concurrency, 1), ("retries", retries, 0)):
        if value < least:
            raise PromptError(f"--{name} must be at least {least}; got {value}.")
    if not 0 < timeout < float("inf"):
        raise PromptError(f"--timeout must be more than 0 seconds; got {timeout}.")


def _print_questions(questions: Sequence[Question], answers: AnswerCache) -> None:
    for number, question in enumerate(questions, 1):
        about = "" if question.class_name is None else f" about {question.class_name!r}"
        print(f"--- request {number} of {len(questions)}{about}: {question.model} {question.parameters}")
        for message in question.messages:
            print(f"{message['role']}:\n{message['content']}\n")
    cached = sum(_usable(answers.get(question)) for question in questions)
    print(f"{len(questions)} requests, {cached} of them answered in {answers.folder}.")


def _usable(answer: Answer | None) -> bool:
    return _phrases(answer) is not None


def _phrases(answer: Answer | None) -> list[str] | None:
    try:
        return read_phrases(answer.text, answer.finish_reason) if answer is not None else None
    except UnusableAnswer:
        return None


async def _ask(questions: Sequence[Question], client: Any, answers: AnswerCache, concurrency: int) -> Outcome:
    console = Console(stderr=True)
    columns = (TextColumn("asking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    async with client:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("asking", total=len(questions))
            return await ask_all(questions, client, answers, concurrency, lambda: progress.advance(task))


def _print_usage(outcome: Outcome, total: int, answers: AnswerCache) -> None:
    kept = total - outcome.asked
    print(
        f"Asked {outcome.asked} of {total} questions: {outcome.prompt_tokens} tokens in, "
        f"{outcome.completion_tokens} tokens out" + (f"; {kept} answers came from {answers.folder}." if kept else ".")
    )


def _read(questions: Sequence[Question], answers: AnswerCache) -> list[tuple[Answer, list[str]] | None]:
    """Return the answer and the phrases of each question, null where there is no usable one."""
    found: list[tuple[Answer, list[str]] | None] = []
    for question in questions:
        answer = answers.get(question)
        phrases = _phrases(answer)
        found.append((answer, phrases) if answer is not None and phrases is not None else None)
    return found


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
    gaps = [question for question, held in zip(questions, found, strict=True) if held is None]
    everything = len(gaps) == len(questions)
    if offline and gaps and (everything or not partial):
        lacking = ", ".join(f"{q.class_name!r}" if q.class_name is not None else "the only one" for q in gaps)
        raise PromptError(
            f"Offline, {len(gaps)} of {len(questions)} answers of {questions[0].model} are missing from "
            f"{answers.folder}: {lacking}; run it once without --offline."
        )
    if not outcome.failures or (partial and not everything and not outcome.stopped):
        return
    if len(questions) == 1:
        raise PromptError(outcome.failures[0])
    left = len(questions) - (outcome.asked - len(outcome.failures)) if refresh else len(gaps)
    raise PromptError(
        f"{left} of {len(questions)} questions have no {'new ' if refresh else ''}answer yet, all others are kept in "
        f"{answers.folder}; run the same command again to ask the rest, or add --partial to go on without. "
        f"The first failure: {outcome.failures[0]}"
    )


def _pool(
    query: Query,
    questions: Sequence[Question],
    found: Sequence[tuple[Answer, list[str]] | None],
    class_names: Sequence[str],
    limit: LengthLimit,
) -> Pool:
    held = [(question, *pair) for question, pair in zip(questions, found, strict=True) if pair is not None]
    gaps = [str(question.class_name) for question, pair in zip(questions, found, strict=True) if pair is None]
    provenance = {
        "source": "llm",
        "model": questions[0].model,
        "query": query.source,
        "query_sha256": query.sha256,
        "parameters": questions[0].parameters,
        # The day of the last answer and not of this run: same answers, same file.
        "created": max(answer.created for _, answer, _ in held)[:10] + "T00:00:00Z",
        "answers": len(held),
        "answers_sha256": answers_digest(answer.text for _, answer, _ in held),
        "clip_model": limit.model_name,
        "unanswered": gaps,
    }
    phrases = [Phrases(question.class_name, texts) for question, _, texts in held]
    pool = build_pool(query, phrases, class_names, limit.too_long, provenance)
    if not pool.templates:
        dropped = pool.provenance["dropped"]
        raise PromptError(
            f"None of the {len(dropped)} phrases makes a template (the first, {dropped[0]['phrase']!r}, "
            f"{dropped[0]['reason']}); ask in other words, or another model with --refresh."
        )
    return pool
