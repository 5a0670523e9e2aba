"""A table with more columns: its rows as they were, whatever kind of file it is."""

import json
from pathlib import Path

import pandas as pd
import pytest

from starft.data import CSVSource
from starft.data.datasets.more_columns import check_no_column, with_columns
from starft.errors import ConfigError

MORE = {"attribute": ["on a lake", "at dawn"], "attribute_probability": [0.9, 0.5]}


def more(file: Path) -> str:
    table, paths = CSVSource(file).table_file()
    assert paths == ("a.jpg", "b.jpg")
    check_no_column(table, [*MORE])
    return with_columns(table, MORE).decode()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_text(tmp_path: Path, separator: str) -> None:
    rows = [["note", "path", "label"], ['"x, y; z"', "a.jpg", "cat"], ["", "b.jpg", "007"]]
    (tmp_path / "t.csv").write_text("\ufeff" + "\r\n".join(map(separator.join, rows)) + "\r\n\r\n", encoding="utf-8")
    quoted = "x, y; z" if separator == "\t" else '"x, y; z"'
    assert more(tmp_path / "t.csv").splitlines() == [
        separator.join(["note", "path", "label", "attribute", "attribute_probability"]),
        separator.join([quoted, "a.jpg", "cat", "on a lake", "0.9000"]),
        separator.join(["", "b.jpg", "007", "at dawn", "0.5000"]),
    ]


def test_lines_of_json_keep_their_values(tmp_path: Path) -> None:
    rows = [{"path": "a.jpg", "label": "cat", "n": 1.50}, {"path": "b.jpg", "label": "café", "note": "two\u2028lines"}]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "t.jsonl").write_text(lines, encoding="utf-8")
    new = [json.loads(line) for line in more(tmp_path / "t.jsonl").removesuffix("\n").split("\n")]
    assert new == [
        {**row, **dict(zip(MORE, cells, strict=True))}
        for row, cells in zip(rows, zip(*MORE.values(), strict=True), strict=True)
    ]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": ["cat", "dog"], "n": [1, 2]})
    frame.to_parquet(tmp_path / "t.parquet")
    table, _ = CSVSource(tmp_path / "t.parquet").table_file()
    (tmp_path / "new.parquet").write_bytes(with_columns(table, MORE))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "new.parquet"), frame.assign(**MORE))
    with pytest.raises(ConfigError, match="has a column 'attribute' already; rename it"):
        check_no_column(CSVSource(tmp_path / "new.parquet").table_file()[0], [*MORE])
