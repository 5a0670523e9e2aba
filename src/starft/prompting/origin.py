"""Who gave the answers of a pool, and in which form: what the provenance keeps and a person should hear."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from starft.prompting.cache import Answer
from starft.prompting.forms import IGNORED
from starft.safe_text import visible
from starft.wording import count_of


def count_served(answers: Sequence[Answer]) -> dict[str, int]:
    """Return how many answers each model gave, by the name that the server says.

    Args:
        answers: Of one pool.
    """
    return dict(sorted(Counter(visible(answer.served_model) for answer in answers if answer.served_model).items()))


def notes_on_answers(provenance: dict[str, Any]) -> list[str]:
    """Return what is odd about who answered and how, a sentence each.

    Args:
        provenance: Of a pool that was generated.
    """
    asked, served, forms = str(provenance["model"]), provenance["served_models"], provenance["forms"]
    notes = []
    if len(served) > 1:
        by = ", ".join(f"{name} {count}" for name, count in served.items())
        notes.append(f"Note: {len(served)} models wrote the answers, as {provenance['address']} names them: {by}.")
    elif served and not _same_model(asked, next(iter(served))):
        notes.append(f"Note: asked for {asked}, {provenance['address']} says that {next(iter(served))} wrote.")
    if ignored := forms.get(IGNORED):
        notes.append(
            f"Note: {provenance['address']} took a form for its answers and ignored it in "
            f"{count_of(ignored, 'answer')}; the pool's provenance says so."
        )
    return notes


def _same_model(asked: str, served: str) -> bool:
    """Return whether a served name is the one asked for, maybe with a date, a folder or an ending of a file."""
    a, b = asked.casefold().rpartition("/")[2], served.casefold().rpartition("/")[2]
    return a.startswith(b) or b.startswith(a)
