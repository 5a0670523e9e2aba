"""What is found before a run: each problem by itself, and all of them together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fakes.own_images import write_jpeg
from starft.data import EvalOn, ImageDataModule, ImageTable, Published, Source
from starft.data.check import Checked, caption_problems, check_split, complain, told_once, unlike_train
from starft.data.decode_check import decode, files, look_deep
from starft.data.paths import path_problems, shared_paths
from starft.data.problem_texts import some
from starft.errors import DataError
from starft.types import EvalSet


class Shoes(Source):
    """Whatever a test says."""

    title = "Shoes"
    tree = "shoes/"

    def __init__(
        self, root: Path, tables: dict[str, ImageTable], published: dict[str, Published] | None = None
    ) -> None:
        super().__init__(root)
        self.tables, self.numbers = tables, published or {}
        self.names: tuple[str, ...] = ("boot", "sandal")
        self.groups: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names

    @property
    def templates(self) -> tuple[str, ...]:
        return ("a {}.",)

    @property
    def group_names(self) -> tuple[str, ...]:
        return self.groups

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.tables)

    def table(self, split: str) -> ImageTable:
        return self.tables[split]

    def published(self, split: str) -> Published | None:
        return self.numbers.get(split)


def table(root: Path, paths: Sequence[str], labels: Sequence[int], groups: Sequence[int] | None = None) -> ImageTable:
    for number, path in enumerate(dict.fromkeys(paths)):
        if ".." not in path and not (root / path).exists():
            write_jpeg(root / path, number)
    return ImageTable(root, paths, np.array(labels), np.array(groups) if groups is not None else None)


def problems(source: Shoes, split: str = "train", allow_partial: bool = False) -> list[tuple[str, bool]]:
    found = check_split(source, "id", split, lambda: source.table(split), allow_partial)
    return [(problem.whole, problem.stops) for problem in found.problems]


FOUR = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]


def test_good_data(tmp_path: Path) -> None:
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1], [0, 1, 0, 1])}, {"train": Published(4)})
    source.groups = ("left", "right")
    found = check_split(source, "id", "train", lambda: source.table("train"))
    assert found.problems == []
    assert (found.images, found.published, found.classes) == (4, 4, (2, 2))
    assert found.groups == [("left", 2, None), ("right", 2, None)]
    assert found.example == f"{tmp_path}/a.jpg"


def test_counts(tmp_path: Path) -> None:
    published = Published(5, {"left": 3, "right": 2})
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1], [0, 1, 0, 1])}, {"train": published})
    source.groups = ("left", "right")
    assert problems(source) == [
        (
            "4 images where 5 are published: the copy is truncated or of another version; get it again, or set "
            "data.init_args.allow_partial to true",
            True,
        ),
    ]
    assert [stops for _, stops in problems(source, allow_partial=True)] == [False]
    source.numbers = {"train": Published(4, {"left": 3, "right": 1})}
    assert problems(source, allow_partial=True) == [
        (
            "the groups have other sizes than published, 'left' 2 of 3, 'right' 2 of 1: the copy is truncated or of "
            "another version; get it again",
            False,
        )
    ]


def test_what_splits_share_is_told_once(tmp_path: Path) -> None:
    """Three truncated splits are one sentence, and so is a missing folder that all of them need."""
    tables = {split: table(tmp_path / split, FOUR, [0, 1, 0, 1]) for split in ("train", "val", "test")}
    source = Shoes(tmp_path, tables, {split: Published(2000) for split in tables})
    checked = [check_split(source, "id", split, lambda split=split: tables[split]) for split in tables]  # type: ignore[misc]
    assert [(problem.text, problem.stops) for problem in told_once(checked)] == [
        (
            "Shoes: in train 4 images where 2,000 are published, in val 4 images where 2,000 are published, in test 4 "
            "images where 2,000 are published: the copy is truncated or of another version; get it again, or set "
            "data.init_args.allow_partial to true",
            True,
        )
    ]

    def gone() -> ImageTable:
        raise DataError("Shoes: shoes/ doesn't exist; give the root of a folder like this:\nshoes/\n  a.jpg")

    checked = [check_split(source, "id", split, gone) for split in tables]
    expected = "Shoes, train, val, test: shoes/ doesn't exist; give the root of a folder like this:\nshoes/\n  a.jpg"
    assert [problem.text for problem in told_once(checked)] == [expected]
    with pytest.raises(DataError) as caught:
        complain(checked)
    assert str(caught.value) == expected, "no period behind the tree"


def test_missing_images_of_several_splits_are_told_once(tmp_path: Path) -> None:
    tables = {split: table(tmp_path, ["a.jpg", "b.jpg", f"{split}.jpg"], [0, 1, 0]) for split in ("train", "val")}
    for split in tables:
        (tmp_path / f"{split}.jpg").unlink()
    source = Shoes(tmp_path, tables)
    checked = [check_split(source, "id", split, lambda split=split: tables[split]) for split in tables]  # type: ignore[misc]
    assert [problem.text for problem in told_once(checked) if problem.stops] == [
        f"Shoes: in train 1 of 3 images is missing below {tmp_path} (train.jpg), in val 1 of 3 images is missing below "
        f"{tmp_path} (val.jpg): bring them back, or take their rows out"
    ]


def test_sentences_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    def asks() -> ImageTable:
        raise DataError("no column 'path'. Did you mean Path?")

    checked = [check_split(Shoes(Path(), {}), "id", "train", asks)]
    with pytest.raises(DataError, match=r"Did you mean Path\?$"):
        complain(checked)


def test_names_are_listed_with_what_they_do_not_hold() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(["boot, grass", "boot, sand"]) == "boot, grass; boot, sand"
    assert some(["b, c", "a", "d"], most=2) == "b, c; a; ... (3)"


def test_class_names_and_captions_are_found(tmp_path: Path) -> None:
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1])})
    found = check_split(source, "id", "train", lambda: source.table("train"))
    assert (found.class_names, found.templates) == (("boot", "sandal"), ("a {}.",))
    source.names = ("0", "1")
    number = 'the classes are bare numbers, in captions such as "a 0."; give their names as class_names'
    assert problems(source) == [(number, False)]
    source.numbers = {"train": Published(4)}
    assert problems(source) == [], "a published set is as it is"


def test_notes_of_the_source_are_told(tmp_path: Path) -> None:
    class Noted(Shoes):
        notes = ("the heels are high",)

    source = Noted(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1])})
    assert problems(source) == [("the heels are high", False)]


def test_a_label_with_a_slip_is_told(tmp_path: Path) -> None:
    paths = [f"{number}.jpg" for number in range(24)]
    source = Shoes(tmp_path, {"train": table(tmp_path, paths, [0] * 12 + [1] * 10 + [2, 3])})
    source.names = ("sandal", "boot", "sandla", "clog")
    told = "the class 'sandla' has 1 image and is written much like 'sandal', which has 12; one class?"
    assert problems(source) == [(told, False)]
    source.tables = {"train": table(tmp_path, paths, [0] * 12 + [1] * 6 + [2] * 4 + [3] * 2)}
    assert problems(source) == [], "four images are no slip"


def test_labels_that_are_all_different(tmp_path: Path) -> None:
    """Of four classes three have one image: these look like names of images."""
    paths = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    source = Shoes(tmp_path, {"train": table(tmp_path, paths, [0, 1, 2, 3, 3])})
    source.names = ("boot", "sandal", "clog", "pump")
    told = "3 of 4 classes have one image only: boot, sandal, clog; are these the right labels?"
    assert problems(source) == [(told, False)]
    source.tables = {"train": table(tmp_path, paths, [0, 1, 2, 2, 3]), "test": table(tmp_path, FOUR, [0, 1, 2, 3])}
    assert problems(source, "test") == [], "a test may have one of each"
    source.tables = {"train": table(tmp_path, [*paths, *(f"t/{p}" for p in paths)], [0, 1, 2, 3, 3, 0, 1, 2, 0, 1])}
    assert problems(source) == []


def test_classes_of_one_split_only(tmp_path: Path) -> None:
    def found(split: str, labels: Sequence[int]) -> Checked:
        images = table(tmp_path, FOUR[: len(labels)], labels)
        return Checked("id", "Shoes", split, class_names=("boot", "sandal", "clog"), table=images)

    train = found("train", [0, 0, 1, 1])
    assert unlike_train(train, found("val", [0, 1])) == []
    assert [(p.text, p.stops) for p in unlike_train(train, found("test", [0, 2]))] == [
        ("1 class never met in train: clog", False),
        ("1 class of train has no image here: sandal", False),
    ]


def test_labels(tmp_path: Path) -> None:
    outside = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 2, -1])})
    assert problems(outside) == [("2 labels lie outside of the 2 classes, such as 2 of c.jpg", True)]
    one = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [1, 1, 1, 1])})
    assert problems(one) == [("4 images are of one class, 'sandal'; there must be at least two", True)]
    none = Shoes(tmp_path, {"train": table(tmp_path, [], [])})
    assert problems(none) == [(f"there are no images below {tmp_path}", True)]
    rare = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1]), "test": table(tmp_path, FOUR, [0, 1, 0, 1])})
    rare.names = ("boot", "sandal", "clog")
    assert problems(rare) == [("1 of 3 classes have no images: clog", False)]
    assert problems(rare, "test") == []


def test_groups(tmp_path: Path) -> None:
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1], [0, 1, 0, 3])})
    source.groups = ("a", "b", "c", "d")
    assert problems(source) == [("1 of 4 groups have no images in this split: c", False)]
    source.groups = ("a", "b", "c")
    assert problems(source) == [("group ids run from 0 to 3; there are 3 groups", True)]


def test_paths(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_jpeg(tmp_path / "outside.jpg", 1)
    write_jpeg(tmp_path / "far" / "away.jpg", 1)
    write_jpeg(root / "in" / "a.jpg", 2)
    (root / "in" / "folder.jpg").mkdir()
    (root / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (root / "fine.jpg").symlink_to(root / "in" / "a.jpg")
    (root / "dead.jpg").symlink_to(root / "nothing.jpg")
    (root / "far").symlink_to(tmp_path / "far")
    paths = ["in/a.jpg", "in/../in/a.jpg", "fine.jpg"]
    assert path_problems(ImageTable(root, paths, np.zeros(3, dtype=np.int64))) == []
    paths += ["../outside.jpg", "link.jpg", "far/away.jpg", "in/b.jpg", "in/folder.jpg", "dead.jpg", "gone/c.jpg"]
    texts = [problem.whole for problem in path_problems(ImageTable(root, paths, np.zeros(10, dtype=np.int64)))]
    assert texts == [
        f"4 of 10 images are missing below {root} (in/b.jpg, in/folder.jpg, dead.jpg, gone/c.jpg): "
        "bring them back, or take their rows out",
        f"3 paths leave {root}, by .. or a symbolic link: link.jpg, ../outside.jpg, far/away.jpg; "
        "give a root that holds all images",
    ]


def test_a_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "real" / "a.jpg", 0)
    (tmp_path / "root").symlink_to(tmp_path / "real")
    assert path_problems(ImageTable(tmp_path / "root", ["a.jpg"], np.zeros(1, dtype=np.int64))) == []


def test_absolute_paths_elsewhere(tmp_path: Path) -> None:
    found = path_problems(ImageTable(tmp_path, ["/etc/hostname.jpg"], np.zeros(1, dtype=np.int64)))
    assert found[0].text.startswith(f"1 absolute path lies outside of {tmp_path}: /etc/")


def test_wrong_root_and_duplicates(tmp_path: Path) -> None:
    wrong = path_problems(ImageTable(tmp_path, ["x/a.jpg", "x/b.jpg"], np.zeros(2, dtype=np.int64)))
    assert [one.whole for one in wrong] == [
        f"none of the 2 images is below {tmp_path}, such as x/a.jpg: give another root"
    ]
    double = path_problems(table(tmp_path, ["a.jpg", "b.jpg", "a.jpg"], [0, 1, 0]))
    assert [one.text for one in double] == ["1 image is listed more than once: a.jpg; keep one row of each"]


def test_captions() -> None:
    def found(*names: str, templates: tuple[str, ...] = ("a {}.", "the {}.")) -> list[str]:
        return [problem.text for problem in caption_problems(EvalSet("id", names, templates))]

    assert found("boot", "sandal") == []
    assert found("Boot", "clog", "boot ", "BOOT") == [
        "class names have equal captions: 'Boot' = 'boot ' = 'BOOT'; no text tells them apart"
    ]
    assert found("boot", "sandal", templates=("a shoe",)) == ["each template must hold {} exactly once; got a shoe"]
    assert found("boot", "sandal", templates=()) == ["each template must hold {} exactly once; got no template"]
    assert found("boot", " ") == ["a class name is empty"]


def test_published_names_that_collide_are_a_note(tmp_path: Path) -> None:
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1])}, {"train": Published(4)})
    source.names = ("boot", "boot")
    assert [stops for _, stops in problems(source)] == [False]
    assert [stops for _, stops in problems(Shoes(tmp_path, source.tables))] == []


def test_train_and_test_share_an_image(tmp_path: Path) -> None:
    train = table(tmp_path, ["x/a.jpg", "x/b.jpg"], [0, 1])
    assert shared_paths(train, table(tmp_path, ["x/c.jpg"], [0])) == []
    assert [p.text for p in shared_paths(train, table(tmp_path, ["x/b.jpg"], [0]))] == [
        "1 image of it is in train too: x/b.jpg; keep each in one split"
    ]
    nested = table(tmp_path / "x", ["b.jpg", "d.jpg"], [0, 1])
    assert [p.text for p in shared_paths(train, nested)] == [
        "1 image of it is in train too: b.jpg; keep each in one split"
    ]


def test_all_problems_at_once(tmp_path: Path) -> None:
    """The sets that can be listed are checked though another can't; the run is refused with all of it."""

    class Gone(Shoes):
        def table(self, split: str) -> ImageTable:
            raise DataError("shoes/ is missing.")

    train = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 3]), "test": table(tmp_path, ["a.jpg"], [0])})
    gone = Gone(tmp_path, {"test": train.tables["train"]})
    data = ImageDataModule(train, evals=[EvalOn(gone, "far")], val_fraction=0)
    checked = data.check("fit", "test")
    assert [(one.name, one.split, [p.text for p in one.problems]) for one in checked] == [
        ("train", "train", ["1 label lies outside of the 2 classes, such as 3 of d.jpg"]),
        (
            "id",
            "test",
            [
                "1 image is of one class, 'boot'; there must be at least two",
                "1 image of it is in train too: a.jpg; keep each in one split",
            ],
        ),
        ("far", "test", ["shoes/ is missing"]),
    ]
    with pytest.raises(DataError) as caught:
        complain(checked)
    assert str(caught.value) == (
        "Shoes, train: 1 label lies outside of the 2 classes, such as 3 of d.jpg; Shoes, test: 1 image is of one "
        "class, 'boot'; there must be at least two; Shoes, test: 1 image of it is in train too: a.jpg; "
        "keep each in one split; "
        "Shoes (far), test: shoes/ is missing."
    )


def test_notes_are_told_and_do_not_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Shoes(tmp_path, {"train": table(tmp_path, FOUR, [0, 1, 0, 1])})
    source.names = ("boot", "sandal", "clog")
    complain([check_split(source, "id", "train", lambda: source.table("train"))])
    assert capsys.readouterr().err == "Note: Shoes, train: 1 of 3 classes have no images: clog.\n"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_deep(workers: int, tmp_path: Path) -> None:
    """A test image that is a training image under another name, one that is cut, and one twice in train."""
    train = table(tmp_path, ["a.jpg", "b.jpg", "c.jpg"], [0, 1, 0])
    (tmp_path / "c.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    test = table(tmp_path, ["t/x.jpg", "t/cut.jpg", "t/y.jpg"], [0, 1, 1])
    (tmp_path / "t" / "x.jpg").write_bytes((tmp_path / "b.jpg").read_bytes() + b"other bytes, same pixels")
    (tmp_path / "t" / "cut.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-300])
    write_jpeg(tmp_path / "t" / "y.jpg", 99)
    source = Shoes(tmp_path, {"train": train, "test": test})
    checked = [check_split(source, "id", split, lambda split=split: source.table(split)) for split in ("train", "test")]  # type: ignore[misc]
    assert [one.problems for one in checked] == [[], []]
    done: list[int] = []
    decoded = decode([*files(train), *files(test)], workers, done.append)
    assert sum(done) == 6
    look_deep(checked, train, decoded)
    assert [(p.text, p.stops) for p in checked[0].problems] == [
        (f"1 picture is there more than once: {tmp_path}/a.jpg = {tmp_path}/c.jpg", False)
    ]
    cut, shared = checked[1].problems
    assert cut.text.startswith(f"1 image can't be read: {tmp_path}/t/cut.jpg (")
    assert (shared.text, shared.stops) == (
        f"1 picture is in train too: {tmp_path}/t/x.jpg = {tmp_path}/b.jpg; keep each in one split",
        True,
    )
