"""The transfer sets, each on a fake folder in its real layout, with their own lists and with CoOp's split files."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from fakes.transfer_sets import caltech101, flowers102, pcam, rendered_sst2, stanford_cars, sun397
from starft.data import (
    Caltech101Source,
    Flowers102Source,
    PatchCamelyonSource,
    RenderedSST2Source,
    StanfordCarsSource,
    SUN397Source,
)
from starft.data.datasets.published import PublishedSource
from starft.data.images import BadImageError
from starft.data.imageset import ImageSet
from starft.data.paths import path_problems
from starft.errors import DataError


def test_caltech101_by_coops_file(tmp_path: Path) -> None:
    source = Caltech101Source(caltech101(tmp_path))
    assert source.class_names == ("accordion", "face close up")
    assert source.splits == ("train", "val", "test")
    assert source.table("train").labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.table("test").paths == (
        "101_ObjectCategories/Faces_easy/Faces_easy_5.jpg",
        "101_ObjectCategories/accordion/accordion_5.jpg",
    )
    assert [source.published(split).images for split in source.splits] == [4128, 1649, 2465]


def test_caltech101_without_it_draws_30_of_each_class(tmp_path: Path) -> None:
    source = Caltech101Source(caltech101(tmp_path, coop=False))
    assert source.class_names == ("faces easy", "accordion")  # capitals sort first; the clutter is no class
    train, test = source.table("train"), source.table("test")
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(test.labels).tolist() == [3, 3]
    assert not {*train.paths} & {*test.paths}
    assert train.paths == Caltech101Source(tmp_path).table("train").paths
    assert source.splits == ("train", "test")


def test_stanford_cars_by_the_authors_files(tmp_path: Path) -> None:
    source = StanfordCarsSource(stanford_cars(tmp_path))
    assert source.class_names == ("AM General Hummer SUV 2000", "smart fortwo Convertible 2012")
    assert source.table("train").labels.tolist() == [1, 0, 1, 0]
    assert source.table("test").labels.tolist() == [0, 1, 1]
    assert source.table("test").paths[2] == "cars_test/00003.jpg"
    assert [source.published(split).images for split in source.splits] == [8144, 8041]


def test_stanford_cars_by_coops_file(tmp_path: Path) -> None:
    source = StanfordCarsSource(stanford_cars(tmp_path, coop=True))
    assert source.class_names[0] == "2012 AM General Hummer SUV"
    assert source.table("val").paths == ("cars_train/00003.jpg", "cars_train/00004.jpg")


def test_flowers102_counts_images_and_labels_from_one(tmp_path: Path) -> None:
    source = Flowers102Source(flowers102(tmp_path))
    assert source.table("train").paths == ("jpg/image_00001.jpg", "jpg/image_00003.jpg", "jpg/image_00005.jpg")
    assert source.table("train").labels.tolist() == [76, 0, 101]
    assert source.table("test").labels.tolist() == [4, 101, 4]
    assert (source.class_names[0], len(source.class_names)) == ("pink primrose", 102)


def test_flowers102_by_coops_file(tmp_path: Path) -> None:
    source = Flowers102Source(flowers102(tmp_path, coop=True))
    assert source.class_names == ("pink primrose", "wild pansy")
    assert source.table("val").paths == ("jpg/image_00004.jpg", "jpg/image_00005.jpg")


def test_sun397_by_the_authors_lists(tmp_path: Path) -> None:
    source = SUN397Source(sun397(tmp_path))
    assert source.class_names == ("abbey", "indoor apse", "zen garden")
    assert source.table("train").labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert source.table("test").paths[1] == "SUN397/a/apse/indoor/sun_3.jpg"
    assert source.splits == ("train", "test")


def test_sun397_by_coops_file(tmp_path: Path) -> None:
    source = SUN397Source(sun397(tmp_path, coop=True))
    assert source.class_names == ("abbey", "indoor apse", "zen garden")
    assert source.table("val").paths[1] == "SUN397/a/apse/indoor/sun_2.jpg"
    assert source.published("train").images == 15_880


def test_rendered_sst2(tmp_path: Path) -> None:
    source = RenderedSST2Source(rendered_sst2(tmp_path))
    assert source.table("train").labels.tolist() == [0] * 4 + [1] * 4
    assert source.table("val").paths[0] == "valid/negative/negative_0.png"
    assert source.class_names == ("negative", "positive")


def test_pcam_reads_images_out_of_hdf5(tmp_path: Path) -> None:
    table = PatchCamelyonSource(pcam(tmp_path)).table("train")
    assert table.labels.tolist() == [0, 1, 1, 0]
    assert table.files == ("camelyonpatch_level_2_split_train_x.h5",)
    assert path_problems(table) == []
    images = pickle.loads(pickle.dumps(ImageSet(table, np.asarray)))  # as a worker process gets it
    grey = [images[row]["image"] for row in range(4)]
    assert [int(pixels[0, 0, 0]) for pixels in grey] == [0, 10, 20, 30]
    assert grey[0].shape == (8, 8, 3)


def test_pcam_tells_which_image_is_bad(tmp_path: Path) -> None:
    top = pcam(tmp_path)
    table = PatchCamelyonSource(top).table("test")
    broken = ImageSet(table.take(np.array([1])), np.asarray)  # type: ignore[arg-type]  # no tensor
    object.__setattr__(broken.table, "paths", ("camelyonpatch_level_2_split_test_x.h5#9",))
    with pytest.raises(BadImageError, match=r"The image .*_test_x.h5#9 can't be read: .*out of range"):
        broken[0]


def test_pcam_with_fewer_images_than_labels(tmp_path: Path) -> None:
    top = pcam(tmp_path)
    start = "camelyonpatch_level_2_split"
    (top / f"{start}_test_y.h5").unlink()
    (top / f"{start}_train_y.h5").rename(top / f"{start}_test_y.h5")
    with pytest.raises(DataError, match=r"test_x.h5 holds 3 images, .*test_y.h5 4 labels; get both again"):
        PatchCamelyonSource(top).table("test")
    (top / f"{start}_valid_y.h5").write_bytes(b"cut short")
    with pytest.raises(DataError, match=r"valid_y.h5 can't be read as HDF5 with a data set 'y'; get it again"):
        PatchCamelyonSource(top).table("val")


def test_a_matlab_file_that_is_cut_short(tmp_path: Path) -> None:
    labels = flowers102(tmp_path) / "imagelabels.mat"
    for content in (labels.read_bytes()[:100], b"", b"no matrix"):
        labels.write_bytes(content)
        with pytest.raises(DataError, match=r"imagelabels.mat can't be read as MATLAB's 'labels'; get a whole copy"):
            Flowers102Source(tmp_path).table("train")


def test_lists_that_are_no_text(tmp_path: Path) -> None:
    (sun397(tmp_path) / "ClassName.txt").write_bytes(b"/a/abb\xff\xfe")
    with pytest.raises(DataError, match=r"ClassName.txt can't be read as text .*; get a whole copy"):
        SUN397Source(tmp_path).table("train")


def test_a_split_file_that_is_none(tmp_path: Path) -> None:
    top = sun397(tmp_path, coop=True)
    (top / "split_zhou_SUN397.json").write_text('{"train": [["a/abbey/sun_0.jpg", 0]], "val": [], "test": []}')
    with pytest.raises(DataError, match=r"split_zhou_SUN397.json isn't a split file of CoOp .*; get it again"):
        SUN397Source(top).table("train")
    (top / "split_zhou_SUN397.json").write_text('{"train": [["a/abbey/sun_0.jpg", 1, "abbey"]], "val": [], "test": []}')
    with pytest.raises(DataError, match=r"the labels in .*split_zhou_SUN397.json have gaps; get it again"):
        _ = SUN397Source(top).class_names


@pytest.mark.parametrize(
    ("source", "first"),
    [
        (Caltech101Source, "101_ObjectCategories"),
        (StanfordCarsSource, "cars_train"),
        (Flowers102Source, "jpg"),
        (PatchCamelyonSource, "camelyonpatch_level_2_split_train_x.h5"),
        (RenderedSST2Source, "train"),
        (SUN397Source, "SUN397"),
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
