"""Images with captions and without labels: what stands for a label, how splits are drawn, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.own_images import caption_of, write_captions
from starft.data import CSV, CSVSource, EvalOn
from starft.data.pairs import draw_pictures
from starft.errors import ConfigError, DataError
from starft.types import ImagePreprocessing

PAIRS = "path,caption,attribute\na,two ducks,x\nb,an owl,y\nc,two ducks,x\nc,ducks at sea,x\n"


def source(folder: Path, text: str = PAIRS, **options: Any) -> CSVSource:
    (folder / "mine.csv").write_text(text, encoding="utf-8")
    return CSVSource(folder / "mine.csv", **{"test_fraction": 0.0, "val_fraction": 0.0} | options)


def ready(table: Path, **options: Any) -> CSV:
    data = CSV(table, **{"batch_size": 4, "num_workers": 0} | options)
    data.preprocessing = ImagePreprocessing(size=(16, 16))
    data.setup("fit")
    return data


def test_equal_captions_are_one_label_and_there_are_no_classes(tmp_path: Path) -> None:
    for options in ({}, {"label_column": ""}):
        made = source(tmp_path, **options)
        made.check_there()
        assert (made.class_names, made.group_names, made.attribute_names) == ((), (), ())
        table = made.table("train")
        assert table.labels.tolist() == [0, 1, 0, 2]
        assert table.captions == ("two ducks", "an owl", "two ducks", "ducks at sea")
        assert table.groups is None
        assert made.notes == (
            "there is no column of labels, so images are paired with their captions: no classes, and retrieval in the "
            "place of accuracy; the column 'attribute' isn't read",
        )


def test_an_image_with_several_captions_lies_in_one_split() -> None:
    paths = [f"{number // 3}.jpg" for number in range(60)]
    drawn = draw_pictures(paths, 0.2, 0.1, 0)
    assert {split: len(rows) for split, rows in drawn.items()} == {"train": 42, "val": 6, "test": 12}
    assert sorted(np.concatenate([*drawn.values()]).tolist()) == [*range(60)]
    assert all(len(rows) == 3 * len({paths[row] for row in rows}) for rows in drawn.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label_column": "species"}, "no column 'species'; its columns are path, caption, attribute"),
        ({"caption_column": ""}, "no column 'label'; its columns are path, caption, attribute"),
        (
            {"label_column": "", "caption_column": ""},
            r'label_column and caption_column are both ""; images need one of',
        ),
        ({"class_names": ["owl", "duck"]}, "class_names goes with labels, and .* has captions and no labels; leave "),
        ({"attribute_column": "attribute"}, "attribute_column goes with labels"),
        ({"label_map": {"a": "b"}}, "label_map goes with labels"),
    ],
)
def test_what_needs_labels(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, DataError), match=sentence):
        source(tmp_path, **options).check_there()


def test_sets_are_described_by_their_captions(tmp_path: Path) -> None:
    """Held out of train too; every row with the caption of its own image."""
    table = write_captions(tmp_path, labels=False)
    rows = dict(line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:])
    assert len({*rows.values()}) < len(rows)
    lines = [f"{path},{text},{'train' if at % 4 else 'test'}" for at, (path, text) in enumerate(rows.items())]
    table.write_text("\n".join(["path,caption,split", *lines]), encoding="utf-8")
    data = ready(table, val_fraction=0.2)
    assert data.class_names == ()
    for eval_set, count in ((data.val_sets[0], 6), (data.test_sets[0], 10)):
        assert len(eval_set.captions) == len(eval_set.pictures) == count
        assert eval_set.captions == tuple(rows[path] for path in eval_set.pictures)
    assert data.train_set is not None
    assert data.train_captions == tuple(rows[path] for path in data.train_set.table.paths)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"CSV \(far\), test: it has captions and no classes, .*; set its ood to false"):
        ready(table, evals=[EvalOn(CSVSource(table), "far", ood=True)])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampling": "group_balanced"}, "sampling group_balanced goes by classes, .*init_args.sampling to shuffle"),
        ({"shots": 2}, "shots 2 goes by classes, and the images have captions and no labels; .*shots to null"),
    ],
)
def test_options_by_class(options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        ready(write_captions(tmp_path, labels=False), **options)


def test_an_image_may_be_there_once_with_each_caption(tmp_path: Path) -> None:
    table = write_captions(tmp_path, images=12, labels=False)
    text = table.read_text(encoding="utf-8")
    table.write_text(f"{text}images/000.jpg,another boot\n", encoding="utf-8")
    ready(table, test_fraction=0, val_fraction=0)
    table.write_text(f"{text}images/000.jpg,{caption_of(0)}\n", encoding="utf-8")
    with pytest.raises(
        DataError, match=r"1 image is listed more than once with one caption: images/000\.jpg; keep one"
    ):
        ready(table, test_fraction=0, val_fraction=0)
