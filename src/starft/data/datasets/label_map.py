"""Many labels onto few classes: which class each label belongs to."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from starft.data.datasets.cells import canonical
from starft.data.datasets.class_names import class_list
from starft.data.datasets.table_file import SEPARATORS, TEXT_SUFFIXES
from starft.errors import ConfigError
from starft.wording import shortened

Given = Mapping[str, str] | str
"""Label -> class; or a table of two columns, label and class."""


def map_labels(
    given: Given, values: Sequence[str], class_names: Mapping[str, str] | Sequence[str] | str | None, where: str
) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Return the class names in label order, the class of each label that is met, and the labels that have a class.

    Args:
        given: What a person says.
        values: Labels that are met.
        class_names: Names of the classes, as for `class_list`; None takes those of the map.
        where: The column or folders that hold the labels, for messages.

    Raises:
        ConfigError: Map or names can't be used.
    """
    mapping = _read(given, values) if isinstance(given, str) else {str(key): str(name) for key, name in given.items()}
    if not mapping:
        raise ConfigError("label_map is empty; give {label: class}, or a table of two columns.")
    labels = tuple(mapping)
    mapping |= {canonical(label): name for label, name in mapping.items() if canonical(label) not in mapping}
    class_of = {value: mapping[value] for value in values if value in mapping}
    names, place = class_list(class_names, sorted({*class_of.values()}), where)
    lost = next((name for name in class_of.values() if name not in place), None)
    if lost is not None:
        raise ConfigError(f"label_map has the class {shortened(repr(lost))}, which class_names doesn't list; add it.")
    return names, {value: place[name] for value, name in class_of.items()}, [*labels]


def _read(file: str, values: Sequence[str]) -> dict[str, str]:
    """Return the rows of a table; its first line is a header unless it begins with a label."""
    if not file.lower().endswith(TEXT_SUFFIXES):
        raise ConfigError(f"label_map must be a mapping, or a table that ends in .csv or .tsv; got {file!r}.")
    try:
        lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = "isn't UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"can't be read ({error.strerror})"
        raise ConfigError(f"label_map names {file}, which {why}; give a table of two columns.") from error
    lines = [line for line in lines if line.strip()]
    separator = max(SEPARATORS, key=lines[0].count) if lines else ","
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=separator, skipinitialspace=True)]
    mapping: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or not all(row):
            raise ConfigError(
                f"Row {number} of label_map {file} has {len([cell for cell in row if cell])} filled cells; each must "
                "have two, a label and its class."
            )
        label, name = canonical(row[0]), row[1]
        if number == 1 and label not in values and row[0] not in values:
            continue
        if mapping.setdefault(label, name) != name or mapping.setdefault(row[0], name) != name:
            raise ConfigError(f"label_map {file} gives {row[0]} two classes, {mapping[label]} and {name}; keep one.")
    return mapping
