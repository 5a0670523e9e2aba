"""Waterbirds, CelebA, iWildCam and FMoW, each on a fake folder in its real layout."""

from pathlib import Path

import numpy as np
import pytest

from fakes.group_sets import celeba, fmow, iwildcam, waterbirds
from starft.data import CelebASource, FMoWSource, IWildCamSource, WaterbirdsSource
from starft.data.datasets.published import PublishedSource
from starft.errors import DataError


@pytest.mark.parametrize("folder", ["waterbird_complete95_forest2water2", "waterbirds_v1.0"])
def test_waterbirds_groups_by_hand(tmp_path: Path, folder: str) -> None:
    top = waterbirds(tmp_path, folder)
    for root in (tmp_path, top):
        source = WaterbirdsSource(root)
        assert source.root == top
        train = source.table("train")
        assert train.groups is not None
        assert np.bincount(train.groups).tolist() == [4, 1, 2, 5]
        assert np.bincount(train.labels).tolist() == [5, 7]
        assert (train.labels == train.groups // 2).all()
        assert [len(source.table(split)) for split in ("val", "test")] == [4, 4]
    # The metadata lists the last image first.
    assert train.paths[-1] == "000.Some_Bird/Some_Bird_0000_1.jpg"
    assert train.groups[-1] == 0


def test_waterbirds_is_scored_by_group_with_the_shares_of_training(tmp_path: Path) -> None:
    described = WaterbirdsSource(waterbirds(tmp_path)).eval_set("birds", "test")
    assert described.group_weights == pytest.approx((4 / 12, 1 / 12, 2 / 12, 5 / 12))
    assert described.class_names == ("landbird", "waterbird")
    assert described.templates == ("This is a picture of a {}.",)
    assert described.group_names[1:3] == ("landbird on water", "waterbird on land")


@pytest.mark.parametrize("source", [WaterbirdsSource(Path()), CelebASource(Path())])
def test_attributes_are_the_second_half_of_a_groups_name(source: PublishedSource) -> None:
    """As a group's id is label * 2 + attribute."""
    ends = [name.split()[-1] for name in source.group_names]
    assert ends == [*source.attribute_names, *source.attribute_names]


def test_a_folder_under_its_other_name_is_told(tmp_path: Path) -> None:
    """The shipped configs name one of them."""
    given, there = tmp_path / "waterbird_complete95_forest2water2", waterbirds(tmp_path, "waterbirds_v1.0")
    with pytest.raises(DataError) as caught:
        WaterbirdsSource(given).table("train")
    assert str(caught.value) == (
        f"Waterbirds: {given}/metadata.csv doesn't exist, but {there} does; give that as its root "
        "(data.init_args.root where it is trained on)."
    )
    given.mkdir()
    with pytest.raises(DataError, match=r"metadata\.csv doesn't exist; give the root of a folder like this:"):
        WaterbirdsSource(given).table("train")


def test_published_group_counts_add_up(tmp_path: Path) -> None:
    """Sums against the totals that the papers give separately."""
    totals = {
        WaterbirdsSource: {"train": 4795, "val": 1199, "test": 5794},
        CelebASource: {"train": 162_770, "val": 19_867, "test": 19_962},
    }
    for source, by_split in totals.items():
        for split, total in by_split.items():
            told = source(tmp_path).published(split)
            assert told is not None
            assert told.images == sum(told.groups.values()) == total


@pytest.mark.parametrize("kind", ["csv", "txt"])
@pytest.mark.parametrize("twice", [False, True])
def test_celeba_groups_by_hand(tmp_path: Path, kind: str, twice: bool) -> None:
    source = CelebASource(celeba(tmp_path, kind, twice))
    train, val, test = (source.table(split) for split in source.splits)
    folder = "img_align_celeba/img_align_celeba" if twice else "img_align_celeba"
    assert list(train.paths) == [f"{folder}/00000{number}.jpg" for number in (1, 2, 3, 4, 5)]
    assert train.labels.tolist() == [0, 0, 1, 1, 1]
    assert train.groups is not None
    assert train.groups.tolist() == [0, 1, 2, 3, 2]
    assert (val.labels.tolist(), test.labels.tolist()) == ([0, 1], [0, 1])
    assert source.eval_set("celeba", "test").group_weights == pytest.approx((0.2, 0.2, 0.4, 0.2))
    assert (tmp_path / "celeba" / test.paths[0]).is_file()


def test_celeba_with_an_image_of_no_split(tmp_path: Path) -> None:
    top = celeba(tmp_path)
    lists = top / "list_eval_partition.csv"
    lists.write_text("\n".join(lists.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"doesn't tell the split of 000009.jpg; get a whole copy"):
        CelebASource(top).table("train")


def test_celeba_lists_that_are_cut_short(tmp_path: Path) -> None:
    top = celeba(tmp_path, "txt")
    lists = top / "list_attr_celeba.txt"
    lists.write_text(lists.read_text()[:-6])
    with pytest.raises(DataError, match=r"the line of 000009.jpg in list_attr_celeba.txt is cut short"):
        CelebASource(top).table("train")


def test_iwildcam_has_five_splits_and_its_names(tmp_path: Path) -> None:
    source = IWildCamSource(iwildcam(tmp_path))
    assert source.table("train").labels.tolist() == [0, 3, 181, 0, 3, 181]
    assert source.table("test").labels.tolist() == [181, 3, 3]
    assert source.table("id_test").labels.tolist() == [3, 181]
    assert source.table("val").paths[0] == "train/8b31d3be-21bc-11ea-a13a-000000000006.jpg"
    assert len(source.class_names) == 182
    assert (source.class_names[0], source.class_names[181]) == ("an empty scene", "species 181")
    assert source.eval_set("x", "test").metrics == ("macro_f1",)
    assert [source.eval_set("x", split).ood for split in ("val", "test", "id_val", "id_test")] == [
        True,
        True,
        False,
        False,
    ]


def test_iwildcam_without_a_class_name(tmp_path: Path) -> None:
    top = iwildcam(tmp_path)
    names = (top / "categories.csv").read_text().splitlines()
    (top / "categories.csv").write_text("\n".join(line for line in names if not line.startswith("17,")))
    with pytest.raises(DataError, match=r"categories.csv doesn't name class 17; get a whole copy"):
        _ = IWildCamSource(top).class_names


def test_fmow_splits_by_given_split_and_year(tmp_path: Path) -> None:
    source = FMoWSource(fmow(tmp_path))
    rows = {split: [int(path[15:-4]) for path in source.table(split).paths] for split in source.splits}
    assert rows == {"train": [0, 1, 12, 13], "val": [5, 6], "test": [10, 11], "id_val": [4, 15], "id_test": [8, 16]}
    assert source.class_names[source.table("train").labels[0]] == "airport"
    assert source.class_names[source.table("test").labels[1]] == "zoo"
    assert "multi-unit residential" in source.class_names
    assert len(source.class_names) == 62


def test_fmow_groups_are_regions_and_the_unknown_are_other(tmp_path: Path) -> None:
    source = FMoWSource(fmow(tmp_path))
    train, late, early = (source.table(split).groups for split in ("train", "val", "id_val"))
    assert train is not None
    assert late is not None
    assert early is not None
    assert [source.group_names[group] for group in train] == ["Europe", "Asia", "Africa", "Asia"]
    assert [source.group_names[group] for group in late] == ["Other", "Africa"]  # a code that isn't listed
    assert [source.group_names[group] for group in early] == ["Other", "Asia"]  # a country without a region
    assert source.eval_set("x", "test").metrics == ("worst_region_acc",)


def test_fmow_with_an_unknown_category(tmp_path: Path) -> None:
    top = fmow(tmp_path)
    table = (top / "rgb_metadata.csv").read_text()
    (top / "rgb_metadata.csv").write_text(table.replace("airport", "spaceport"))
    with pytest.raises(DataError, match="unknown category spaceport; get a whole copy"):
        FMoWSource(top).table("train")


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (WaterbirdsSource, "metadata.csv"),
        (CelebASource, "list_attr_celeba.csv"),
        (IWildCamSource, "metadata.csv"),
        (FMoWSource, "rgb_metadata.csv"),
    ],
)
def test_a_missing_folder_is_named_and_the_tree_drawn(
    tmp_path: Path, source: type[PublishedSource], first: str
) -> None:
    with pytest.raises(DataError) as caught:
        source(tmp_path / "nowhere").table("train")
    told = str(caught.value)
    assert told.startswith(f"{source.title}: {tmp_path / 'nowhere' / first} doesn't exist; give the root of")
    assert told.endswith(source.tree)


def test_lists_without_images_are_told(tmp_path: Path) -> None:
    for write, source, folder in ((celeba, CelebASource, "img_align_celeba"), (fmow, FMoWSource, "images")):
        top = write(tmp_path)
        (top / folder).rename(top / "elsewhere")
        with pytest.raises(DataError, match=f"{folder} doesn't exist; give the root of a folder like this"):
            source(top).table("train")


def test_a_table_without_its_column_or_with_a_short_row(tmp_path: Path) -> None:
    lists = waterbirds(tmp_path) / "metadata.csv"
    text = lists.read_text()
    lists.write_text(text.replace(",y,", ",Y,", 1))
    with pytest.raises(DataError, match=r"metadata.csv has no column y; get a whole copy"):
        WaterbirdsSource(tmp_path).table("train")
    lists.write_text(text + "21,001.x/x.jpg,1\n")
    with pytest.raises(DataError, match=r"line 22 of .*metadata.csv is cut short"):
        WaterbirdsSource(tmp_path).table("train")
    lists.write_text(text.replace(",0,/f", ",2,/f", 1))
    with pytest.raises(DataError, match=r"place of metadata.csv must lie in \[0, 2\); got 2"):
        WaterbirdsSource(tmp_path).table("train")
    lists.write_text(text.replace(",0,/f", ",water,/f", 1))
    with pytest.raises(DataError, match=r"column place of metadata.csv must hold whole numbers: .*water"):
        WaterbirdsSource(tmp_path).table("train")
