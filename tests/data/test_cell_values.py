"""One value means one thing, whichever kind of file holds it."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from starft.data import CSVSource
from starft.data.datasets.table_file import TableFile
from starft.errors import DataError

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")

VALUES: dict[str, tuple[Sequence[Any], tuple[str, ...]]] = {
    "booleans": ([True, False], ("False", "True")),
    "whole-numbers": ([7, 12], ("7", "12")),
    "whole-floats": ([0.0, 1.0], ("0", "1")),
    "negative-zero": ([-0.0, 1.0], ("0", "1")),
    "floats": ([0.5, 1.25], ("0.5", "1.25")),
    "small-floats": ([np.float32(0.1), np.float32(0.7)], ("0.1", "0.7")),
    "large-floats": ([1e20, 2.0], ("2", "100000000000000000000")),
    "tiny-floats": ([1e-7, 2.0], ("0.0000001", "2")),
    "infinite": ([float("inf"), 2.0], ("2", "inf")),
    "bytes": ([b"no", b"yes"], ("no", "yes")),
    "categories": (pd.Categorical(["no", "yes"]), ("no", "yes")),
    "categories-of-numbers": (pd.Categorical([1.0, 0.0]), ("0", "1")),
    "dates": ([date(2024, 5, 1), date(2024, 5, 2)], ("2024-05-01", "2024-05-02")),
    "midnights": ([datetime(2024, 5, 1), datetime(2024, 5, 2)], ("2024-05-01", "2024-05-02")),
    "times": (
        [datetime(2024, 5, 1, 12, 30), datetime(2024, 5, 2)],
        ("2024-05-01 12:30:00", "2024-05-02"),
    ),
    "decimals": ([Decimal("1.50"), Decimal("2.00")], ("1.5", "2")),
    "texts": (["a cat", "a dog"], ("a cat", "a dog")),
    "spaces": (["  cat", "dog  "], ("cat", "dog")),
    "names-like-numbers": (["007", "1e3"], ("007", "1e3")),
    "names-like-yaml": (["on", "yes"], ("on", "yes")),
    "texts-of-booleans": (["true", "FALSE"], ("False", "True")),
    "texts-of-numbers": (["0.0", "1"], ("0", "1")),
}


def write(path: Path, values: Sequence[Any]) -> Path:
    """Write a table of such labels as people's programs do."""
    frame = pd.DataFrame({"path": [f"{at}.jpg" for at in range(len(values))], "label": values})
    if path.suffix == ".parquet":
        frame.to_parquet(path)
        return path
    if path.suffix == ".jsonl":
        known = bool | int | float | str | None
        plain = [float(str(value)) if isinstance(value, np.float32) else value for value in values]
        plain = [value.decode() if isinstance(value, bytes) else value for value in plain]
        plain = [value if isinstance(value, known) else str(value) for value in plain]
        rows = [{"path": where, "label": value} for where, value in zip(frame["path"], plain, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path
    frame["label"] = [value.decode() if isinstance(value, bytes) else value for value in values]
    frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def source(path: Path, **options: Any) -> CSVSource:
    return CSVSource(path, test_fraction=0.0, val_fraction=0.0, **options)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", VALUES)
def test_a_value_is_the_same_class_in_every_kind_of_file(kind: str, ending: str, tmp_path: Path) -> None:
    values, expected = VALUES[kind]
    read = source(write(tmp_path / f"mine{ending}", values))
    assert read.class_names == expected
    named = {name: f"class {name}" for name in expected}
    assert source(tmp_path / f"mine{ending}", class_names=named).class_names == tuple(named.values())
    assert sorted(source(tmp_path / f"mine{ending}", class_names=[*expected]).table("train").labels) == [0, 1]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("missing", [None, float("nan"), "", "  ", "nan", "NaN"], ids=repr)
def test_what_is_missing_is_missing_in_every_kind_of_file(missing: object, ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"mine{ending}", ["cat", missing, "dog"])
    place = "row 2" if ending == ".parquet" else "line 2" if ending == ".jsonl" else "line 3"
    with pytest.raises(DataError, match=rf"the column 'label' is empty \(or NaN\) in 1 row, {place}"):
        source(path).class_names  # noqa: B018


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("column", ["attribute", "group", "split"])
def test_attributes_groups_and_splits_mean_the_same_everywhere(column: str, ending: str, tmp_path: Path) -> None:
    words = [b"train", b"test"] if column == "split" else [True, False]
    frame = pd.DataFrame({"path": list("abcd"), "label": [0.0, 1.0] * 2, column: [words[0]] * 2 + [words[1]] * 2})
    path = tmp_path / f"mine{ending}"
    if ending == ".parquet":
        frame.to_parquet(path)
    else:
        frame[column] = [value.decode() if isinstance(value, bytes) else value for value in frame[column]]
        if ending == ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        else:
            frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    read = source(path)
    expected = {"attribute": ("0, False", "0, True", "1, False", "1, True"), "group": ("False", "True"), "split": ()}
    assert (read.class_names, read.group_names) == (("0", "1"), expected[column])
    assert read.splits == (("train", "test") if column == "split" else ("train",))


@pytest.mark.parametrize("names", [{"0.0": "cat", "1.0": "dog"}, {"0": "cat", "1": "dog"}, ["cat", "dog"]], ids=repr)
@pytest.mark.parametrize("ending", ENDINGS)
def test_names_are_given_for_numbers_however_they_are_written(names: Any, ending: str, tmp_path: Path) -> None:
    read = source(write(tmp_path / f"mine{ending}", [0.0, 1.0]), class_names=names)
    assert (read.class_names, read.table("train").labels.tolist()) == (("cat", "dog"), [0, 1])


def test_one_value_in_two_spellings_counts_once_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("path,label\na.jpg,1.1\nb.jpg,1.10\nc.jpg,2\n")
    read = source(path)
    assert read.class_names == ("1.1", "2")
    assert read.notes == ("the column 'label' writes one value in several ways, 1.1, 1.10; they count as one",)


def test_a_key_that_is_given_twice_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [0.0, 1.0])
    with pytest.raises(ValueError, match="twice, written in two ways"):
        source(path, class_names={"0": "cat", "0.0": "dog"}).class_names  # noqa: B018


WRONG = {"list": [1, 2], "struct": {"name": "cat"}, "bytes": b"\xff\xfe", "empty-list": []}


@pytest.mark.parametrize("column", ["path", "label", "attribute", "group", "split"])
@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_a_cell_of_several_values_is_refused_in_one_sentence(
    ending: str, kind: str, column: str, tmp_path: Path
) -> None:
    if ending == ".jsonl" and kind == "bytes":
        pytest.skip("JSON has no bytes")
    rows = [{"path": "a.jpg", "label": "cat"}, {"path": "b.jpg", "label": "dog"}]
    rows = [row | {column: WRONG[kind]} for row in rows]
    path = tmp_path / f"mine{ending}"
    if ending == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pd.DataFrame(rows).to_parquet(path)
    with pytest.raises(DataError, match=rf"the column '{column}' holds") as caught:
        source(path).splits  # noqa: B018
    assert len(str(caught.value)) < 400


def test_images_in_a_table_are_named_and_not_printed(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).bytes(80_000)
    frame = pd.DataFrame({"path": [{"bytes": pixels, "path": "a.jpg"}] * 2, "label": ["cat", "dog"]})
    frame.to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="holds struct<bytes: binary, path: string> in each cell") as caught:
        source(tmp_path / "mine.parquet").class_names  # noqa: B018
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["\\ud800", "a\\u0000b"])
@pytest.mark.parametrize("column", ["path", "label"])
def test_what_is_no_text_is_refused(column: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"path": "a.jpg", "label": "cat"}\n'.replace({"path": "a.jpg", "label": "cat"}[column], text))
    with pytest.raises(DataError, match=rf"the column '{column}' holds .*isn't text; mend it \(line 1\)"):
        source(path).class_names  # noqa: B018


LONG = "x" * 50_000


@pytest.mark.parametrize("column", ["path", "label", "attribute", "group", "split"])
def test_a_message_bounds_what_it_quotes(column: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": ["a", "b"], "label": ["cat", "dog"], "split": "train", column: [LONG + "1", LONG]})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    options: dict[str, Any] = {"class_names": ["cat", "dog"]} if column == "label" else {}
    try:
        read = source(tmp_path / "mine.csv", **options)
        texts = [*read.notes, *read.splits]
    except DataError as error:
        texts = [str(error)]
    assert max(map(len, texts), default=0) < 2000


def test_a_column_that_was_an_index_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]}).set_index("path")
    frame.to_parquet(tmp_path / "mine.parquet")
    assert TableFile(tmp_path / "mine.parquet").read({"": "path"})["path"].tolist() == ["a.jpg", "b.jpg"]
