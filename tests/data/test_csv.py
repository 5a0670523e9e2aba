"""The user's own table: every kind of file, and everything that can be wrong with it."""

import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from starft.data import CSVSource
from starft.errors import ConfigError, DataError

PLAIN = "path,label\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n"
Make = Callable[..., CSVSource]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(text: str | bytes, name: str = "mine.csv", **options: Any) -> CSVSource:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return CSVSource(path, **{"test_fraction": 0.0, "val_fraction": 0.0} | options)

    return made


def rows(source: CSVSource, split: str = "train") -> list[tuple[str, str]]:
    table = source.table(split)
    return [(path, source.class_names[label]) for path, label in zip(table.paths, table.labels, strict=True)]


FOUR = [("a.jpg", "cat"), ("b.jpg", "dog"), ("c.jpg", "cat"), ("d.jpg", "dog")]


def test_plain(make: Make, tmp_path: Path) -> None:
    source = make(PLAIN)
    assert rows(source) == FOUR
    assert source.class_names == ("cat", "dog")
    assert source.templates == ("a photo of a {}.",)
    assert source.splits == ("train",)
    assert source.group_names == ()
    assert source.table("train").groups is None
    assert source.table("train").root == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN.replace("\n", "\r\n").replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace(",", " , "),
        PLAIN.rstrip("\n"),
        PLAIN + "\n\n",
        "label,extra,path\ncat,1,a.jpg\ndog,2,b.jpg\ncat,,c.jpg\ndog,x,d.jpg\n",
        "path;label;note\na.jpg;cat;one, two\nb.jpg;dog;\nc.jpg;cat;\nd.jpg;dog;\n",
        PLAIN.replace("a.jpg", "./x/../a.jpg").replace("b.jpg", ".\\b.jpg"),
    ],
    ids=[
        "bom",
        "crlf",
        "bom-crlf-semicolons",
        "tabs",
        "pipes",
        "spaces",
        "no-last-newline",
        "blank-lines",
        "other-columns",
        "semicolons-with-commas",
        "dots-and-backslashes",
    ],
)
def test_files_as_programs_write_them(text: str, make: Make) -> None:
    assert rows(make(text)) == FOUR


def test_quoted_commas_quotes_and_non_ascii(make: Make) -> None:
    text = 'path,label\n"ordner/grün, alt.jpg","Müller\'s ""Hund"""\n日本/犬.jpg,"猫, klein"\n'
    assert rows(make(text)) == [("ordner/grün, alt.jpg", 'Müller\'s "Hund"'), ("日本/犬.jpg", "猫, klein")]


def test_other_kinds_of_file(make: Make, tmp_path: Path) -> None:
    assert rows(make(PLAIN.replace(",", "\t"), "mine.tsv")) == FOUR
    lines = "\n".join(f'{{"path": "{path}", "label": "{label}", "n": 1}}' for path, label in FOUR)
    assert rows(make(lines, "mine.jsonl")) == FOUR
    pd.DataFrame(FOUR, columns=["path", "label"]).to_parquet(tmp_path / "mine.parquet")
    assert rows(CSVSource(tmp_path / "mine.parquet", test_fraction=0, val_fraction=0)) == FOUR
    numbers = pd.DataFrame({"path": ["a", "b", "c"], "label": [3, 10, 3]})
    numbers.to_parquet(tmp_path / "numbers.parquet")
    source = CSVSource(tmp_path / "numbers.parquet", test_fraction=0, val_fraction=0)
    assert source.class_names == ("3", "10")
    holes = pd.DataFrame({"path": ["a", "b", "c"], "label": [3, None, 10]})
    holes.to_json(tmp_path / "holes.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match=r"the column 'label' is empty \(or NaN\) in 1 row, line 2"):
        _ = CSVSource(tmp_path / "holes.jsonl").splits


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd.DataFrame(FOUR, columns=["path", "label"]).to_parquet(tmp_path / "mine.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow; install it with `pip install 'starft\[parquet\]'`"):
        _ = CSVSource(tmp_path / "mine.parquet").splits


def test_other_column_names(make: Make) -> None:
    text = "file,species,part,place\na,owl,training,sea\nb,duck,TEST,land\nc,duck,Valid,sea\n"
    source = make(text, path_column="file", label_column="species", split_column="part", attribute_column="place")
    assert source.splits == ("train", "val", "test")
    assert [rows(source, split) for split in source.splits] == [[("a", "owl")], [("c", "duck")], [("b", "duck")]]
    assert source.group_names == ("duck, land", "duck, sea", "owl, land", "owl, sea")
    assert source.attribute_names == ("land", "sea")
    groups = [source.table(split).groups for split in source.splits]
    assert [one.tolist() for one in groups if one is not None] == [[3], [1], [0]]


def test_groups_from_their_column(make: Make) -> None:
    text = "path,label,attribute,group\na,x,0,north\nb,y,1,south\nc,y,0,north\n"
    source = make(text)
    assert source.group_names == ("north", "south")
    assert source.attribute_names == (), "a group needn't be a pair"
    groups = source.table("train").groups
    assert groups is not None
    assert groups.tolist() == [0, 1, 0]
    assert make(text, group_column="").group_names == ("x, 0", "x, 1", "y, 0", "y, 1")
    assert make(text, group_column="", attribute_column="").group_names == ()


CAPTIONED = pd.DataFrame(
    {
        "path": ["a", "b", "c", "d"],
        "label": ["owl", "duck", "duck", "owl"],
        "split": ["train", "val", "train", "train"],
        "caption": ["An owl, at night.", "007", " two  ducks ", "An owl, at night."],
    }
)


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl", "mine.parquet"])
def test_captions_go_with_their_images(name: str, tmp_path: Path) -> None:
    """A text is taken as it stands, whatever cells of labels are read as."""
    write: dict[str, Callable[..., object]] = {
        "mine.csv": partial(CAPTIONED.to_csv, index=False),
        "mine.jsonl": partial(CAPTIONED.to_json, orient="records", lines=True),
        "mine.parquet": CAPTIONED.to_parquet,
    }
    write[name](tmp_path / name)
    table = CSVSource(tmp_path / name).table("train")
    assert table.captions == ("An owl, at night.", "two  ducks", "An owl, at night.")
    assert table.take(np.array([1])).captions == ("two  ducks",)
    assert CSVSource(tmp_path / name).table("val").captions == ("007",)
    assert CSVSource(tmp_path / name, caption_column="").table("train").captions is None


def test_captions_by_another_name_and_none(make: Make) -> None:
    text = "path,label,says\na,x,one\nb,y,two\n"
    assert make(text).table("train").captions is None
    assert make(text, caption_column="says").table("train").captions == ("one", "two")
    with pytest.raises(DataError, match=r"no column 'say';.* Did you mean 'says'\? Name it with .*caption_column\."):
        _ = make(text, caption_column="say").splits


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("", r"the column 'caption' is empty \(or NaN\) in 1 row, line 3\.$"),
        ("   ", r"the column 'caption' is empty \(or NaN\) in 1 row, line 3\.$"),
        ("N/A", r"the caption 'N/A' \(line 3\) often means that nothing is known; write what the image shows"),
    ],
)
def test_captions_that_say_nothing(cell: str, sentence: str, make: Make) -> None:
    with pytest.raises(DataError, match=sentence):
        _ = make(f"path,label,caption\na,x,one\nb,y,{cell}\nc,x,two\n").splits


def test_numbers_as_labels(make: Make) -> None:
    text = "path,label\na,10\nb,2\nc,10\n"
    assert rows(make(text)) == [("a", "10"), ("b", "2"), ("c", "10")]
    assert make(text).class_names == ("2", "10"), "numbers are sorted as numbers"
    positions = "path,label\na,1\nb,0\nc,2\n"
    assert rows(make(positions, class_names=["ant", "bee", "fly"])) == [("a", "bee"), ("b", "ant"), ("c", "fly")]
    meant = {"10": "ten", "2": "two"}
    source = make(text, class_names=meant)
    assert source.class_names == ("ten", "two")
    assert rows(source) == [("a", "ten"), ("b", "two"), ("c", "ten")]
    codes = "path,label\na,007\nb,010\n"
    assert make(codes).class_names == ("007", "010"), "zeros in front are kept"


def test_labels_that_may_mean_nothing(make: Make) -> None:
    """NA may be Namibia, or a cell that nobody filled: it is a class only where somebody says so."""
    text = "path,label\na,NA\nb,owl\nc,NA\nd,None\n"
    with pytest.raises(DataError) as caught:
        _ = make(text).splits
    assert str(caught.value).endswith(
        "mine.csv: the label 'NA' (lines 2, 4) often means that nothing is known; take the rows out, or list it in "
        "class_names if it is a class; the label 'None' (line 5) often means that nothing is known; take the rows out, "
        "or list it in class_names if it is a class."
    )
    assert make(text, class_names=["NA", "None", "owl"]).class_names == ("NA", "None", "owl")
    named = make(text, class_names={"NA": "Namibia", "owl": "owl", "None": "nothing"})
    assert rows(named) == [("a", "Namibia"), ("b", "owl"), ("c", "Namibia"), ("d", "nothing")]
    with pytest.raises(DataError, match=r"the label 'NA' \(lines 2, 4\) is none of the 2 classes"):
        _ = make(text, class_names={"None": "nothing", "owl": "owl"}).splits


def test_attributes_that_may_mean_nothing_are_noted(make: Make) -> None:
    source = make("path,label,attribute\na,x,None\nb,y,sea\nc,y,None\n")
    assert source.notes == (
        "the column 'attribute' says None (lines 2, 4), which often means that nothing is known; "
        "it counts as a value like any other",
    )
    assert source.group_names == ("x, None", "x, sea", "y, None", "y, sea")
    assert make(PLAIN).notes == ()


@pytest.mark.parametrize(
    ("text", "name", "where"),
    [
        ("path,label\na,x\nb,NA\n", "mine.csv", "line 3"),
        ("path,label\n\n  \na,x\n\nb,NA\n", "mine.csv", "line 6"),
        ('path,label\r\n"a\r\nb",x\r\nc,"NA"\r\nd,NA\r\n', "mine.csv", "lines 4, 5"),
        ("\ufeffpath\tlabel\na\tx\n\tNA\n", "mine.tsv", "line 3"),
        ('{"path": "a", "label": "x"}\n\n{"path": "b", "label": "NA"}\n', "mine.jsonl", "line 3"),
    ],
    ids=["plain", "blank-lines", "breaks-in-cells", "tabs", "json"],
)
def test_lines_are_those_of_the_file(text: str, name: str, where: str, make: Make) -> None:
    with pytest.raises(DataError, match=rf"the label 'NA' \({where}\)"):
        _ = make(text, name).splits


def test_parquet_has_rows(tmp_path: Path) -> None:
    pd.DataFrame({"path": ["a", "b"], "label": ["x", "NA"]}).to_parquet(tmp_path / "mine.parquet")
    with pytest.raises(DataError, match=r"the label 'NA' \(row 2\)"):
        _ = CSVSource(tmp_path / "mine.parquet").splits


def test_one_column_is_not_two_things(make: Make) -> None:
    for options, sentence in (
        ({"label_column": "path"}, "path_column and label_column both name 'path'; give each a column of its own"),
        ({"split_column": "label"}, "label_column and split_column both name 'label'"),
        ({"attribute_column": "label"}, "label_column and attribute_column both name 'label'"),
        ({"group_column": "path"}, "path_column and group_column both name 'path'"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            make(PLAIN, **options)
    assert make(PLAIN, group_column="label").group_names == ("cat", "dog")
    text = PLAIN.replace("label", "attribute")
    assert make(text, label_column="attribute").group_names == (), "a column that is the label already"


def test_names_and_templates_from_files(make: Make, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\ufeffdog\n\ncat \n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a {}.\nthe {}.\n", encoding="utf-8")
    names, templates = str(tmp_path / "names.txt"), str(tmp_path / "templates.txt")
    source = make(PLAIN, class_names=names, templates=templates)
    assert source.class_names == ("dog", "cat")
    assert source.templates == ("a {}.", "the {}.")
    assert rows(source) == FOUR
    with pytest.raises(ConfigError) as caught:
        _ = make(PLAIN, class_names=str(tmp_path / "name.txt")).splits
    assert str(caught.value) == (
        f"class_names names the file {tmp_path / 'name.txt'}, which doesn't exist; check its path. "
        "Did you mean names.txt?"
    )
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "latin.txt").write_bytes("Hündin".encode("latin-1"))
    for name, why in (("folder", "can't be read: Is a directory; give a text file"), ("latin", "isn't UTF-8 text")):
        with pytest.raises(ConfigError, match=rf"templates names (the file )?.*{name}\.txt, which {why}"):
            _ = make(PLAIN, templates=str(tmp_path / f"{name}.txt")).templates
    with pytest.raises(ConfigError, match=r"class_names must be a list, a mapping, or a file that ends in .txt"):
        _ = make(PLAIN, class_names="cat").splits


def test_drawn_splits_are_stratified_and_seeded(make: Make) -> None:
    text = "path,label,attribute\n" + "".join(f"{n}.jpg,{'ab'[n % 2]},{n % 4 // 2}\n" for n in range(200))
    source = make(text, test_fraction=0.2, val_fraction=0.1)
    assert {split: len(source.table(split)) for split in source.splits} == {"train": 140, "val": 20, "test": 40}
    assert np.bincount(source.table("test").groups).tolist() == [10, 10, 10, 10]
    again = make(text, test_fraction=0.2, val_fraction=0.1)
    assert again.table("test").paths == source.table("test").paths
    other = make(text, test_fraction=0.2, val_fraction=0.1, split_seed=1)
    assert other.table("test").paths != source.table("test").paths
    with pytest.raises(ConfigError, match=r"below 1 together; got 0\.5 and 0\.5"):
        make(text, test_fraction=0.5, val_fraction=0.5)


def test_absolute_paths_below_the_root(make: Make, tmp_path: Path) -> None:
    text = f"path,label\n{tmp_path}/in/a.jpg,x\nin/b.jpg,y\n"
    assert rows(make(text)) == [("in/a.jpg", "x"), ("in/b.jpg", "y")]
    assert make(text, root=tmp_path / "in").table("train").root == tmp_path / "in"


# What is wrong, in one sentence


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("", {}, r"mine\.csv is empty \(0 bytes\); it needs a header and rows"),
        ("path,label\n", {}, "has a header but no rows"),
        ("\n\n", {}, "mine.csv"),
        ("Path,label\na,x\n", {}, "has no column 'path'; its columns are Path, label. Did you mean 'Path'?"),
        ("path,lable\na,x\n", {}, "has no column 'label'; its columns are path, lable. Did you mean 'lable'?"),
        (PLAIN, {"split_column": "spilt"}, "has no column 'spilt'; its columns are path, label"),
        ("path,label,label\na,x,y\n", {}, "has the column 'label' twice; rename one"),
        ("path,label\na,x\nb,x\n", {}, "the column 'label' holds one class only, x; there must be at least two"),
        (
            "path,label\na,x\nb,\nc,NaN\nd,y\n",
            {},
            r"the column 'label' is empty \(or NaN\) in 2 rows, lines 3, 4",
        ),
        ("path,label\n,x\nb,y\n", {}, r"the column 'path' is empty \(or NaN\) in 1 row, line 2"),
        (
            "path,label,attribute\na,x,1\nb,y,\n",
            {},
            r"the column 'attribute' is empty \(or NaN\) in 1 row, line 3",
        ),
        (
            PLAIN,
            {"class_names": ["cat", "dogs"]},
            r"the label 'dog' \(lines 3, 5\) is none of the 2 classes: cat, dogs \(did you mean 'dogs'\?\); mend",
        ),
        ("path,label\na,0\nb,2\n", {"class_names": ["x", "y"]}, r"the label '2' \(line 3\) is none of the 2 classes"),
        ("path,label\na,-1\nb,1\n", {"class_names": ["x", "y"]}, r"the label '-1' .* is none of the 2 classes"),
        ("path,label\na,0.5\nb,1\n", {"class_names": ["x", "y"]}, r"the label '0.5' .* is none of the 2 classes"),
        (
            "path,label,split\na,x,train\nb,y,tset\nc,y,\n",
            {},
            "split column says an empty cell in line 4; .*; the split column says tset in line 3; .* train, val or",
        ),
        (
            "path,label,split\na,x,vla\n",
            {},
            r"vla in line 2; it must be train, val or test \(did you mean 'val'\?\)",
        ),
        (
            "path,label\na,x,\nb,grey, old\nc,y\n",
            {},
            "has 1 row with more cells than its header, line 3; quote cells that hold the separator",
        ),
    ],
)
def test_bad_tables(text: str, options: dict[str, Any], sentence: str, make: Make) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        _ = make(text, **options).splits
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "options", "hint", "option"),
    [
        ("file,what,where", {}, "", "path_column"),
        ("image_path,label", {}, " Did you mean 'image_path'?", "path_column"),
        ("path,Label", {}, " Did you mean 'Label'?", "label_column"),
        ("path,label,part", {"split_column": "split"}, "", "split_column"),
        ("path,label,parts", {"split_column": "part"}, " Did you mean 'parts'?", "split_column"),
        ("path,label,place", {"attribute_column": "palce"}, " Did you mean 'place'?", "attribute_column"),
        ("path,label,place", {"group_column": "places"}, " Did you mean 'place'?", "group_column"),
    ],
)
def test_a_missing_column(header: str, options: dict[str, str], hint: str, option: str, make: Make) -> None:
    name = options.get(option, option.removesuffix("_column"))
    source = make(f"{header}\n{header}\n", **options)
    asked = f"{source.file} has no column {name!r}; its columns are {header.replace(',', ', ')}.{hint} Name it with "
    with pytest.raises(DataError) as caught:
        _ = source.splits
    assert str(caught.value) == f"{asked}data.init_args.{option}."
    with pytest.raises(DataError) as early:
        source.check_there()
    assert str(early.value) == str(caught.value)
    with pytest.raises(DataError) as caught:
        _ = source.as_eval().splits
    assert str(caught.value) == f"{asked}init_args.{option} of its source."


@pytest.mark.parametrize("written", [b"path,label\xff\na,x\n", b"path,label\na,x,y\n", b"path,label\na,\n"])
def test_what_a_header_does_not_show_is_told_when_all_is_read(written: bytes, make: Make) -> None:
    source = make("-")
    source.file.write_bytes(written)
    source.check_there()
    with pytest.raises(DataError, match=r"(line|byte) \d"):
        _ = source.splits


def test_every_problem_is_told(make: Make) -> None:
    text = "path,label,split\n,x,train\nb,,train\nc,z,never\n"
    with pytest.raises(DataError) as caught:
        _ = make(text, class_names=["x", "y"]).splits
    told = str(caught.value)
    for part in ("the column 'path'", "the column 'label'", "the label 'z'", "the split column says never"):
        assert part in told


def test_bad_files(make: Make, tmp_path: Path) -> None:
    make(PLAIN)
    with pytest.raises(DataError, match=r"no file .*mine2\.csv; check its path, or .*file\. Did you mean mine\.csv\?"):
        _ = CSVSource(tmp_path / "mine2.csv").splits
    with pytest.raises(DataError, match=r"no file .*photos\.csv; check its path, or .* --data.init_args.file\.$"):
        _ = CSVSource(tmp_path / "photos.csv").splits
    with pytest.raises(DataError, match=r"mine\.xlsx must end in one of \.csv, \.tsv"):
        _ = make(PLAIN, "mine.xlsx").splits
    with pytest.raises(DataError, match=r"mine\.csv isn't UTF-8 text \(line 2, byte 2\); save it as UTF-8"):
        _ = make("path,label\nm\xfcll.jpg,x\n".encode("latin-1")).splits
    with pytest.raises(DataError, match=r"mine\.csv isn't UTF-8 text"):
        _ = make(PLAIN.encode("utf-16")).splits
    with pytest.raises(DataError, match=r"mine\.jsonl can't be read: line 1 isn't JSON; mend it"):
        _ = make("{not json\n", "mine.jsonl").splits
    with pytest.raises(DataError, match=r"mine\.jsonl can't be read: line 2 isn't an object in braces"):
        _ = make('{"path": "a", "label": "x"}\n[1]\n', "mine.jsonl").splits
    with pytest.raises(DataError, match=r"mine\.parquet can't be read"):
        _ = make("no parquet at all", "mine.parquet").splits


@pytest.mark.slow
def test_memory_grows_with_the_rows_and_stays_small(tmp_path: Path) -> None:
    """The million rows of benchmarks/input.py, at a size for a test."""
    peaks = []
    for size in (10_000, 40_000):
        path = tmp_path / f"{size}.csv"
        path.write_text(
            "path,label\n" + "".join(f"images/{n % 100:03}/{n:07}.jpg,class {n % 100}\n" for n in range(size))
        )
        tracemalloc.start()
        source = CSVSource(path)
        assert sum(len(source.table(split)) for split in source.splits) == size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    per_row = (peaks[1] - peaks[0]) / 30_000
    assert per_row < 700, "a million rows must fit 1 GiB with room to spare"
