"""What a split may be called, in a column or as a folder."""

from collections.abc import Mapping, Sequence

from starft.data.datasets.cells import canonical
from starft.data.problem_texts import some
from starft.errors import ConfigError
from starft.wording import SPLITS

NUMBERED = {"0": "train", "1": "val", "2": "test"}
"""As Waterbirds' own metadata.csv has them, and many that were made after it."""

Given = Mapping[str, str | int | float | bool | list[str | int | float | bool]]
"""Split -> what the column says for it, one value or several; or the other way round."""


def splits_of(values: Sequence[str], given: Given | None = None) -> dict[str, str]:
    """Return the split that each value of a column means; values that mean none are left out.

    Args:
        values: Of the column, as it has them.
        given: What a person says of them; None goes by their names, or takes 0, 1, 2 for train, val, test.

    Raises:
        ConfigError: What is given names other splits.
    """
    if given is None:
        return NUMBERED if {*values} == {*NUMBERED} else {v: SPLITS[v.lower()] for v in values if v.lower() in SPLITS}
    if not given or not {str(key).lower() for key in given} <= SPLITS.keys():
        turned: dict[str, list[str | int | float | bool]] = {}
        for key, name in given.items():
            turned.setdefault(str(name), []).append(key)
        if not given or not {key.lower() for key in turned} <= SPLITS.keys():
            names = some([f"{key}: {value}" for key, value in given.items()])
            raise ConfigError(
                "splits must say what the column has for train, val and test, such as {train: 0, val: 1, test: 2}; "
                f"got {{{names}}}."
            )
        given = turned
    meant: dict[str, str] = {}
    for split, item in given.items():
        several = item if isinstance(item, list) else [item]
        for value in several:
            if meant.setdefault(canonical(str(value)), SPLITS[str(split).lower()]) != SPLITS[str(split).lower()]:
                raise ConfigError(f"splits takes {value} for two splits; give each value one.")
    return meant
