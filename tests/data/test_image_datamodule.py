"""One training set, many evaluation sets: what is held out, what is described, what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.trainer.states import TrainerFn

from fakes.group_sets import waterbirds
from fakes.own_images import CLASSES, write_folders, write_jpeg, write_table
from starft.data import CSV, CSVSource, EvalOn, ImageDataModule, ImageFolder, ImageFolderSource, WaterbirdsSource
from starft.errors import ConfigError, DataError
from starft.types import FinetuneData, ImagePreprocessing

SMALL = ImagePreprocessing(size=(16, 16))
Make = Callable[..., ImageDataModule]


def ready(data: ImageDataModule, stage: str = "fit") -> ImageDataModule:
    data.preprocessing = SMALL
    data.setup(stage)
    return data


@pytest.fixture
def own(tmp_path: Path) -> Make:
    """A table of 40 shoes in four groups of ten, without splits: 28 train, 4 val, 8 test."""
    path = write_table(tmp_path / "own")

    def made(**options: Any) -> ImageDataModule:
        return CSV(path, **{"batch_size": 4, "eval_batch_size": 3, "num_workers": 0} | options)

    return made


def test_fit_refuses_what_test_would(tmp_path: Path) -> None:
    """An image of train is in test too; fit reads train and val only, but looks at test."""
    table = write_table(tmp_path)
    header, *rows = table.read_text().splitlines()
    lines = [f"{row},{('train', 'train', 'val', 'test')[at // 4 % 4]}" for at, row in enumerate(rows)]
    table.write_text("\n".join([f"{header},split", *lines, f"{rows[0]},test"]))
    with pytest.raises(DataError, match=r"CSV, test: 1 image of it is in train too: images/000.jpg"):
        ready(CSV(table, batch_size=4, num_workers=0))
    far = EvalOn(CSVSource(table, split_column="", test_fraction=0.9, val_fraction=0), "far")
    with pytest.raises(DataError, match=r"CSV \(far\), test: .* in train too"):
        ready(CSV(table, batch_size=4, num_workers=0, evals=[far]))


def test_nothing_to_test_names_the_verb(own: Make) -> None:
    with pytest.raises(
        ConfigError,
        match=r"There is nothing to test: CSV at .* tells no splits, and those that are drawn are train and val: "
        r"test_fraction is 0; raise it, or data.init_args.evals\.$",
    ):
        ready(own(test_fraction=0.0), TrainerFn.TESTING)


@pytest.mark.parametrize("kind", ["table", "folders"])
def test_an_eval_set_without_splits_is_all_test(own: Make, tmp_path: Path, kind: str) -> None:
    """Nothing is trained on it, so nothing is held back; what draws splits all the same is what gives fractions."""

    def source(**options: Any) -> CSVSource | ImageFolderSource:
        if kind == "table":
            return CSVSource(write_table(tmp_path / "far", images=20), **options)
        return ImageFolderSource(write_folders(tmp_path / "far", {"": 10}), **options)

    whole = source()
    assert whole.splits == ("train", "val", "test"), "where it is trained on"
    data = ready(own(evals=[EvalOn(whole, "far"), EvalOn(source(test_fraction=0.5), "half")]), "test")
    assert [len(one) for one in data.test_data] == [8, 20, 10]
    assert whole.splits == ("train", "val", "test"), "the source itself is as it was"
    assert len(ready(ImageDataModule(whole, num_workers=0), "test").test_data[0]) == 4
    with pytest.raises(DataError, match=r"tells no splits, so all of it is test as an eval set; leave split: val out,"):
        ready(own(evals=[EvalOn(source(), "far", split="val")]), "test")
    with pytest.raises(DataError, match=r"tells no splits, .* are train and val: test_fraction is 0; raise it\.$"):
        ready(own(evals=[EvalOn(source(test_fraction=0.0), "far")]), "test")


def test_own_data_take_partial_eval_sets(own: Make, tmp_path: Path) -> None:
    birds = EvalOn(WaterbirdsSource(waterbirds(tmp_path)), "birds")
    with pytest.raises(DataError, match=r"Waterbirds \(birds\), test: 4 images where 5,794 are published: .*partial"):
        ready(own(evals=[birds]), "test")
    data = ready(own(evals=[birds], allow_partial=True), "test")
    assert [len(one) for one in data.test_data] == [8, 4]


def test_a_missing_eval_set_stops_fit(own: Make, tmp_path: Path) -> None:
    """A run of hours would end in it."""
    gone = EvalOn(ImageFolderSource(tmp_path / "gone"), "far")
    with pytest.raises(
        DataError,
        match=r"ImageFolder \(far\), test: There is no folder .*gone; .* with init_args.root of its source; expected",
    ):
        ready(own(evals=[gone]))


def test_an_image_of_val_in_test(tmp_path: Path) -> None:
    table = write_table(tmp_path)
    header, *rows = table.read_text().splitlines()
    lines = [f"{row},{('train', 'train', 'val', 'test')[at // 4 % 4]}" for at, row in enumerate(rows)]
    table.write_text("\n".join([f"{header},split", *lines, f"{rows[8]},test"]))
    with pytest.raises(
        DataError, match=r"^CSV, test: 1 image of it is in val too: images/008.jpg; keep each in one sp"
    ):
        ready(CSV(table, batch_size=4, num_workers=0))


def test_classes_of_one_split_only_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path, images=12, attribute=False)
    header, *rows = table.read_text().splitlines()
    rows[10], rows[11] = "images/010.jpg,clog", "images/011.jpg,pump"
    splits = ["train"] * 6 + ["val"] * 2 + ["test"] * 3 + ["train"]
    table.write_text(
        "\n".join([f"{header},split", *(f"{row},{split}" for row, split in zip(rows, splits, strict=True))])
    )
    ready(CSV(table, batch_size=4, num_workers=0))
    assert capsys.readouterr().err.splitlines() == [
        "Note: CSV, train: 1 of 4 classes have no images: clog.",
        "Note: CSV, val, test: 1 class of train has no image here: pump.",
        "Note: CSV, test: 1 class never met in train: clog.",
    ]


def test_every_problem_of_options_is_told_with_the_others(own: Make, tmp_path: Path) -> None:
    """A wrong class list is a problem beside those of other sets."""
    gone = EvalOn(ImageFolderSource(tmp_path / "gone"), "far")
    checked = own(class_names=str(tmp_path / "no.txt"), evals=[gone]).check("fit", "test")
    assert [problem.text.split(";")[0] for one in checked for problem in one.problems] == [
        f"class_names names the file {tmp_path}/no.txt, which doesn't exist",
        f"There is no folder {tmp_path}/gone",
    ]


def test_what_a_table_becomes(own: Make) -> None:
    data = own()
    assert isinstance(data, FinetuneData)
    assert data.class_names == CLASSES
    assert data.templates == ("a photo of a {}.",)
    ready(data)
    assert data.train_set is not None
    assert (len(data.train_set), [len(one) for one in data.val_data]) == (28, [4])  # type: ignore[arg-type]
    (val,) = data.val_sets
    assert (val.name, val.ood, len(val.group_names)) == ("id", False, 4)
    assert val.group_weights == (0.25,) * 4
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert {"image", "label", "group", "index"} == set(batch)
    assert len(data.train_dataloader()) == 7
    ready(data, "test")
    assert [len(batch["label"]) for batch in data.test_dataloader()[0]] == [3, 3, 2]
    assert [one.name for one in data.test_sets] == [one.name for one in data.predict_sets] == ["id"]


def test_group_weights_are_the_shares_in_train(tmp_path: Path) -> None:
    rows = ["path,label,attribute,split"]
    for number, (label, place, split) in enumerate(
        [("a", "x", "train")] * 3 + [("a", "y", "test"), ("b", "y", "train")]
    ):
        write_jpeg(tmp_path / f"{number}.jpg", number)
        rows.append(f"{number}.jpg,{label},{place},{split}")
    rows.append("0.jpg,b,x,test")
    (tmp_path / "t.csv").write_text("\n".join(rows))
    assert CSV(tmp_path / "t.csv").test_sets[0].group_weights == (0.75, 0.0, 0.0, 0.25)
    other = CSVSource(write_table(tmp_path / "other"))
    assert CSV(tmp_path / "t.csv", evals=[EvalOn(other, "far")]).test_sets[1].group_weights == ()


def test_validation_is_held_out_of_train(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 20, "test": 2})

    def halves(**options: Any) -> tuple[list[str], list[str]]:
        data = ready(ImageFolder(tmp_path, batch_size=2, **options))
        return list(data.train_set.table.paths), [path for one in data.val_data for path in one.table.paths]  # type: ignore[union-attr, attr-defined]

    train, val = halves(val_fraction=0.25, seed=1)
    assert (len(train), len(val)) == (30, 10)
    assert sorted(train + val) == sorted(ImageFolderSource(tmp_path).table("train").paths)
    assert sum("boot" in path for path in val) == 5
    assert halves(val_fraction=0.25, seed=2)[1] == val, "all seeds validate on the same images"
    assert halves(val_fraction=0.25, split_seed=2)[1] != val
    assert halves(val_fraction=0.0) == (list(ImageFolderSource(tmp_path).table("train").paths), [])


def test_few_shots_are_drawn_by_the_seed(own: Make) -> None:
    def labels(**options: Any) -> tuple[list[int], tuple[str, ...]]:
        table = own(**options).training_table()
        return np.bincount(table.labels).tolist(), tuple(table.paths)

    counts, paths = labels(shots=3, seed=1)
    assert counts == [3, 3]
    assert labels(shots=3, seed=1)[1] == paths
    assert labels(shots=3, seed=2)[1] != paths
    val = ready(own(shots=3)).val_data[0].table  # type: ignore[attr-defined]
    assert not {*val.paths} & {*paths}
    assert len(val) == 4, "validation stays whole"


def test_more_sets(own: Make, tmp_path: Path) -> None:
    far = ImageFolderSource(write_folders(tmp_path / "far", {"val": 2, "test": 3}))
    sets = [
        EvalOn(far, "far", ood=True),
        EvalOn(far, "far-val", "val", stage="both"),
        EvalOn(far, "v", "val", stage="validate"),
    ]
    data = own(evals=sets)
    assert [(one.name, one.ood) for one in data.test_sets] == [("id", False), ("far", True), ("far-val", False)]
    assert [one.name for one in data.val_sets] == ["id", "far-val", "v"]
    ready(data, "test")
    assert [len(one) for one in data.test_data] == [8, 6, 4]
    ready(data, "validate")
    assert [len(one) for one in data.val_data] == [4, 4, 4]
    assert [len(list(loader)) for loader in data.val_dataloader()] == [2, 2, 2]


@pytest.mark.parametrize("kind", ["table", "folders"])
def test_own_sets_have_a_name_and_the_test_may_be_ood(tmp_path: Path, kind: str) -> None:
    """What is validated on stays what a run is chosen by, and what probes and DFR are fitted on."""
    options: dict[str, Any] = {"name": "far", "ood": True}
    if kind == "table":
        data: ImageDataModule = CSV(write_table(tmp_path), **options)
    else:
        data = ImageFolder(write_folders(tmp_path, {"": 10}), **options)
    assert [(one.name, one.ood) for one in data.val_sets] == [("far", False)]
    assert [(one.name, one.ood) for one in data.test_sets] == [("far", True)]
    assert [(one.name, one.split) for one in data.check("test")] == [("far", "test")]


def test_new_images(own: Make, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for number in range(5):
        write_jpeg(folder / "deep" / f"{number}.jpg", number)
    data = ready(own(predict=str(folder)), "predict")
    assert [one.name for one in data.predict_sets] == ["new"]
    assert data.predict_sets[0].class_names == CLASSES
    assert [data.predict_path(0, index) for index in (0, 4)] == [f"{folder}/deep/0.jpg", f"{folder}/deep/4.jpg"]
    assert [batch["index"].tolist() for batch in data.predict_dataloader()[0]] == [[0, 1, 2], [3, 4]]
    (folder / "some.csv").write_text("name,path\nx,deep/3.jpg\n")
    data = ready(own(predict=str(folder / "some.csv")), "predict")
    assert data.predict_path(0, 0) == f"{folder}/deep/3.jpg"
    (folder / "some.csv").write_text("path,file\nnothing.jpg,deep/2.jpg\n")
    (tmp_path / "own" / "shoes.csv").write_text((tmp_path / "own" / "shoes.csv").read_text().replace("path", "file", 1))
    data = ready(own(predict=str(folder / "some.csv"), path_column="file"), "predict")
    assert data.predict_path(0, 0) == f"{folder}/deep/2.jpg", "its column is called as that of training"
    with pytest.raises(DataError, match=r"column 'files'; .* mean 'file'\? Name it with data.init_args.path_column\.$"):
        ready(own(predict=str(folder / "some.csv"), path_column="files"), "predict")
    (tmp_path / "own" / "shoes.csv").write_text((tmp_path / "own" / "shoes.csv").read_text().replace("file", "path", 1))
    with pytest.raises(DataError, match="New images, test: There is no folder or table of new images at gone"):
        ready(own(predict="gone"), "predict")
    (folder / "some.csv").write_text("path\ndeep/9.jpg\n")
    with pytest.raises(DataError, match=r"none of the 1 images is below .*new, such as deep/9\.jpg"):
        ready(own(predict=str(folder / "some.csv")), "predict")


def test_workers_live_on_between_epochs(own: Make) -> None:
    data = ready(own(num_workers=1))
    assert data.train_dataloader().persistent_workers
    assert all(loader.persistent_workers for loader in data.val_dataloader())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"val_fraction": 1.0}, "must be at least 0 and below 1 together"),
        ({"shots": 0}, "shots must be at least 1, or null for all images; got 0"),
        ({"split_seed": -1}, "split_seed must be at least 0; got -1"),
        ({"batch_size": 0}, "batch_size must be at least 1; got 0"),
    ],
)
def test_bad_arguments(options: dict[str, Any], sentence: str, own: Make) -> None:
    with pytest.raises(ConfigError, match=sentence):
        own(**options)


def test_names_of_sets(own: Make, tmp_path: Path) -> None:
    far = ImageFolderSource(write_folders(tmp_path / "far", {"test": 2}))
    for names in (["id"], ["a", "a"], ["a/b"], [""]):
        with pytest.raises(ConfigError, match="Each eval set needs a name of its own, without a slash; got id, "):
            own(evals=[EvalOn(far, name) for name in names])


def test_nothing_to_test(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 10})
    with pytest.raises(ConfigError, match=r"nothing to test: ImageFolder at .* has the splits train; give one more"):
        ready(ImageFolder(tmp_path), "test")
    with pytest.raises(ConfigError, match="There is nothing to validate"):
        ready(ImageFolder(tmp_path, val_fraction=0.0), "validate")
    ready(ImageFolder(tmp_path, val_fraction=0.0))


def test_too_large_a_batch(own: Make) -> None:
    with pytest.raises(ConfigError, match=r"batch_size 29 on 1 device is more than the 28 training images"):
        ready(own(batch_size=29)).train_dataloader()


def test_without_a_model_that_tells_its_preprocessing(own: Make) -> None:
    with pytest.raises(ConfigError, match=r"How the model wants its images isn't known \(no trainer\)"):
        own().setup("fit")


def test_skipped_images_are_told_once_at_the_end(own: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("001", "017"):
        (tmp_path / "own" / "images" / f"{name}.jpg").write_text("no image")
    data = own(on_bad_image="skip", test_fraction=0.5)
    ready(data)
    for loader in (data.train_dataloader(), *data.val_dataloader()):
        for _ in range(2):
            list(loader)
    ready(data, "test")
    list(data.test_dataloader()[0])
    data.teardown("test")
    told = capsys.readouterr().err
    assert told.startswith("2 images were skipped, as on_bad_image is skip: ")
    assert told.count("\n") == 1
    assert f"{tmp_path}/own/images/017.jpg (it isn't an image of a known format)" in told
    data.teardown("test")
    assert capsys.readouterr().err == ""
