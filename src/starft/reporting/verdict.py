"""Whether fine-tuning helped, in a few sentences: what a reader wants to know before the tables."""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from starft.errors import RunFolderError
from starft.reporting.differences import difference_of, most_lost
from starft.reporting.methods import OOD as OOD_COLUMN
from starft.reporting.methods import Cell
from starft.reporting.roles import Plain, Role, plain_of, role_of
from starft.reporting.table import percent, points
from starft.runs.audit_result import has_audit, headline
from starft.runs.layout import AUDIT, CONFIG
from starft.runs.results import HEADINGS
from starft.runs.run_reader import Run, shortened
from starft.statistics import Difference

ID, OOD, WORST = "ID accuracy", "OOD accuracy", "worst-group accuracy"
"""The numbers that a verdict is on."""

PAIRS = 4
"""Sentences that compare two methods; where more would be needed, the best of each number is told instead."""

LISTED = 6
"""Configs that the command for more seeds names; where there are more, or one is missing, it has dots."""

NAMED = 3
"""Methods that a sentence names before it counts the rest."""

REFERENCES: dict[Role, str] = {
    "zero-shot": "the zero-shot model",
    "CE": "plain fine-tuning by cross-entropy",
    "FLYP": "plain contrastive fine-tuning",
}


@dataclass(frozen=True)
class Method:
    """What the verdict knows of a method.

    Args:
        name: In the report.
        role: What it is.
        plain: Which plain fine-tuning it is to be held against.
        model: What it was tuned from; others aren't held against it.
        runs: How many there are of it.
        cells: What it reached, by the number's name, such as ``OOD accuracy``.
    """

    name: str
    role: Role
    plain: Plain
    model: str
    runs: int
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Sentence:
    """A sentence, with the command that it ends in, if it does.

    Args:
        text: Plain text.
        command: Without quotes; empty for none.
    """

    text: str
    command: str = ""


Differ = Callable[[str, str, str], Difference | None]
"""Name of a number and of two methods -> the first less the second; None where they can't be compared."""


Losing = Callable[[str, str], tuple[str, Difference] | None]
"""Names of two methods -> the group in which the first loses most, and how much; None where it loses in none."""


def verdict(
    methods: Sequence[Method],
    differ: Differ,
    config: str = "...",
    configs: str = "...",
    losing: Losing = lambda first, second: None,
) -> list[Sentence]:
    """Return a handful of sentences at most; none where nothing was tested.

    Args:
        methods: In the report's order.
        differ: What two of them differ by.
        config: Of a run that a zero-shot test can be made from.
        configs: Of all runs, as ``starft compare`` takes them.
        losing: Of two of them, the group in which the first certainly loses.
    """
    if not methods:
        return []
    if len(methods) == 1:
        messages = [Sentence(_alone(methods[0]))]
    else:
        pairs = _pairs(methods)
        compared = [text for pair, two in pairs if (text := _against(pair, two, differ, losing)) is not None]
        messages = [
            Sentence(text) for text in (compared if 0 < len(pairs) <= PAIRS and compared else _ranked(methods, differ))
        ]
    return messages + _next(methods, config) + _seeds(methods, configs)


def _pairs(methods: Sequence[Method]) -> list[tuple[Method, Method]]:
    """Return each method of interest with what it is held against: the zero-shot model, then plain fine-tuning."""
    results = []
    subjects = [method for method in methods if method.role == "other"] or [
        method for method in methods if method.role != "zero-shot"
    ]
    for subject in subjects:
        near = [two for two in methods if two.model == subject.model]
        plain = [two for two in near if two.role in ("CE", "FLYP")] if subject.role == "other" else []
        plain.sort(key=lambda two: two.role != subject.plain)
        results += [(subject, two) for two in [*[two for two in near if two.role == "zero-shot"][:1], *plain[:1]]]
    return results


def _alone(one: Method) -> str:
    """Return what the only method reached."""
    what = " is the pre-trained model, not tuned: it" if one.role == "zero-shot" else ""
    reached = _listed([f"{percent(cell.value)} % {word}{_ends(cell)}" for word, cell in one.cells.items()])
    return f"{one.name}{what} reaches {reached}. It is compared with nothing."


def _ends(cell: Cell) -> str:
    return f" ({percent(cell.interval[0])} to {percent(cell.interval[1])})" if cell.interval is not None else ""


def _against(one: Method, two: Method, differ: Differ, losing: Losing) -> str | None:
    """Return what one method gains and loses against another; None where nothing of them can be compared."""
    results = {word: gain for word in one.cells if (gain := differ(word, one.name, two.name)) is not None}
    if not results:
        return None
    rival = f"{REFERENCES[two.role]} ({two.name})"
    parts: list[str] = []
    for sign, verb in ((1, "beats"), (-1, "loses to")):
        messages = [f"{word} by {_size(gain)}" for word, gain in results.items() if gain.sign == sign]
        if messages:
            parts.append(f"{verb} {'it' if parts else rival} in {_listed(messages)}")
    unsure = [f"{word} ({_signed(gain)})" for word, gain in results.items() if gain.sign == 0]
    if unsure:
        parts.append(f"shows no certain difference{'' if parts else f' to {rival}'} in {_listed(unsure)}")
    sentence = f"{one.name} {_listed(parts)}."
    fallen = losing(one.name, two.name) if WORST in results and results[WORST].sign >= 0 else None
    if fallen is not None:  # the worst group may be another one of each, and hide it
        sentence += f" In the group “{fallen[0]}” it certainly loses, by {_size(fallen[1])}."
    return sentence


def _size(gain: Difference) -> str:
    """Return how large a certain difference is, whichever its sign; its smaller end isn't 0, even where it is near."""
    low, high = sorted(abs(end) for end in gain.interval)
    least = percent(low) if percent(low) != percent(0.0) else "under 0.1"
    return f"{percent(abs(gain.value))} points ({least} to {percent(high)})"


def _signed(gain: Difference) -> str:
    return f"{points(gain.value)} points, {points(gain.interval[0])} to {points(gain.interval[1])}"


def _ranked(methods: Sequence[Method], differ: Differ) -> list[str]:
    """Return, number by number, which is the best and which can't be told from it; then how many beat zero-shot."""
    messages = []
    words = list(dict.fromkeys(word for method in methods for word in method.cells))
    for word in words:
        values = sorted((method for method in methods if word in method.cells), key=lambda one: -one.cells[word].value)
        if len(values) > 1:
            messages.append(_best(word, values, differ))
    zero_shot = next((method for method in methods if method.role == "zero-shot"), None)
    if zero_shot is not None and words:
        messages += _beside(zero_shot, methods, OOD if OOD in words else words[0], differ)
    return messages


def _best(word: str, held: Sequence[Method], differ: Differ) -> str:
    """Return the sentence on one number, of methods that are sorted by it."""
    best, others = held[0], held[1:]
    gains = {other.name: differ(word, best.name, other.name) for other in others}
    equal = [name for name, gain in gains.items() if gain is None or gain.sign <= 0]
    start = f"Best in {word}: {best.name} with {percent(best.cells[word].value)} %{_ends(best.cells[word])}"
    if not equal:
        return f"{start}, certainly above {'the other' if len(others) == 1 else f'each of the {len(others)} others'}."
    below = f"; it is certainly above {len(others) - len(equal)} others" if len(equal) < len(others) else ""
    return f"{start}, which the data can't tell from {_first(equal)}{below}."


def _beside(zero_shot: Method, methods: Sequence[Method], word: str, differ: Differ) -> list[str]:
    """Return how many tuned methods beat the zero-shot model in one number."""
    gains = [differ(word, method.name, zero_shot.name) for method in methods if method.role != "zero-shot"]
    signs = [gain.sign for gain in gains if gain is not None]
    if not signs:
        return []
    beat, lose, unsure = (signs.count(sign) for sign in (1, -1, 0))
    message = (
        f"Of {len(signs)} tuned methods {beat} beat the zero-shot model ({zero_shot.name}) in {word}, {lose} lose to it"
    )
    return [f"{message}, and {unsure} show no certain difference."]


def _first(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return _listed([*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])])


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _next(methods: Sequence[Method], config: str) -> list[Sentence]:
    """Return what to run where the pre-trained model, or a tuned one, is missing."""
    roles = {method.role for method in methods}
    if "zero-shot" not in roles:
        return [
            Sentence("Add a zero-shot run:", f"starft test --config {config} --trainer.default_root_dir NEW_FOLDER")
        ]
    if roles == {"zero-shot"}:
        return [Sentence("Add a tuned run: starft fit, then starft test.")]
    return []


def _seeds(methods: Sequence[Method], configs: str) -> list[Sentence]:
    """Return what is unknown of training again; the pre-trained model is the same every time."""
    trained = [method for method in methods if method.role != "zero-shot"]
    once = [item.name for item in trained if item.runs == 1]
    if not once:
        return []
    who = "One seed" if len(once) == len(trained) else f"One seed of {_first(once)}"
    message = f"{who}: nothing is known of the spread between seeds; repeat with"
    return [Sentence(message, f"starft compare --configs {configs} --seeds 0,1,2")]


# --- of runs ----------------------------------------------------------------------------------------------------------


def verdict_of(
    methods: Mapping[str, Sequence[Run]],
    table: Mapping[str, Mapping[str, Cell | None]],
    numbers: Mapping[str, str],
) -> list[Sentence]:
    """Return the verdict on runs.

    Args:
        methods: Tested runs by method.
        table: Method -> column -> cell.
        numbers: Name of a number -> its column, as `numbers_of` tells.
    """
    known = []
    for name, runs in methods.items():
        config = runs[0].config
        model = config.get("model") or {}
        cells = {word: cell for word, column in numbers.items() if (cell := table[name][column]) is not None}
        about = (role_of(config), plain_of(config), f"{model.get('model_name')} {model.get('pretrained')}")
        known.append(Method(name, *about, len(runs), cells))
    files = {item.name: methods[item.name][0].folder / CONFIG for item in known if item.role != "zero-shot"}
    paths = [shortened(path) for path in files.values() if path.is_file()]
    names = {name.rpartition("/")[2] for name in files}  # they name folders
    usable = len(paths) == len(files) == len(names) <= LISTED and all(
        re.fullmatch(r"[\w-][\w.-]*", item) for item in names
    )
    several = ",".join(f"{name.rpartition('/')[2]}={path}" for name, path in zip(files, paths, strict=False))
    grouped = numbers.get(WORST, "").rpartition("/")[0]

    def losing(first: str, second: str) -> tuple[str, Difference] | None:
        return most_lost(methods[first], methods[second], grouped)

    told = verdict(
        known,
        lambda word, first, second: difference_of(methods, table, numbers[word], first, second),
        shlex.quote(paths[0]) if paths else "...",
        shlex.quote(several) if usable else "...",
        losing,
    )
    return [*told, *shortcut_sentences([run for runs in methods.values() for run in runs]), *_unfinished(methods)]


def shortcut_sentences(runs: Sequence[Run]) -> list[Sentence]:
    """Return what audits of the runs' data found, or else, if no result can show a shortcut, what looks for them.

    Args:
        runs: Tested runs.
    """
    audits = {}
    for run in runs:
        if has_audit(run.folder / AUDIT):
            with suppress(RunFolderError):  # damaged, as the page says in its part on shortcuts
                audits[headline(run.folder / AUDIT)] = shortened(run.folder / AUDIT)
    if audits:
        return [Sentence(f"By attributes inferred from the images ({place}): {text}") for text, place in audits.items()]
    scores = [item for run in runs for item in run.sets.values()]
    configs = [path for run in runs if (path := run.folder / CONFIG).is_file()]
    if not scores or not configs or any(item.ood or len(item.groups) > 1 for item in scores):
        return []
    text = "No image has an attribute or a group, so shortcuts can't be measured. To look for them:"
    return [Sentence(text, f"starft audit data --config {shlex.quote(shortened(configs[0]))}")]


def _unfinished(methods: Mapping[str, Sequence[Run]]) -> list[Sentence]:
    """Return what to know of runs that were tested before their training had ended.

    Args:
        methods: Runs by method.
    """
    runs = [run for runs in methods.values() for run in runs if run.unfinished]
    told = [f"{run.name} {run.unfinished}" for run in runs[:LISTED]] + ["others"] * (len(runs) > LISTED)
    return [Sentence(f"Not trained to the end, so not what the method can do: {_listed(told)}.")] if told else []


def numbers_of(columns: Sequence[str], id_column: str | None, ood_sets: Sequence[str]) -> dict[str, str]:
    """Return the numbers that a verdict is on, each with its column; the worst group is that of a set of its own first.

    Where there is no accuracy, these are R@1 of the first set that is scored by retrieval.

    Args:
        columns: That there are.
        id_column: The one of ID accuracy; None for none.
        ood_sets: Names of the OOD sets, whose worst groups come last.
    """
    worst = [column for column in columns if column.rpartition("/")[2] == "worst_group_acc"]
    usual = (id_column or "").rpartition("/")[0]
    worst.sort(key=lambda column: ((name := column.rpartition("/")[0]) in ood_sets, name == usual))
    results = {ID: id_column, OOD: OOD_COLUMN if OOD_COLUMN in columns else None, WORST: worst[0] if worst else None}
    known = {word: column for word, column in results.items() if column is not None}
    recalls = [column for column in columns if column.endswith("_r1")]
    return known or {HEADINGS[column.rpartition("/")[2]]: column for column in reversed(recalls)}


def terms(numbers: Mapping[str, str], ood_sets: Sequence[str]) -> str:
    """Return what the words of a verdict mean.

    Args:
        numbers: Name of a number -> its column.
        ood_sets: Names of the OOD sets.
    """
    messages = []
    for word, column in numbers.items():
        sets = list(ood_sets) if word == OOD else [column.rpartition("/")[0]]
        named = _listed([f"“{name}”" for name in sets])
        messages.append(f"{word}: {'the mean over ' if len(sets) > 1 else 'of '}{named}")
    certain = "one method beats another where the interval of their difference excludes 0"
    return f"{'; '.join(messages)}. In brackets 95 % intervals; {certain}."
