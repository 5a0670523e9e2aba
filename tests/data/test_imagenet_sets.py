"""ImageNet and its test sets, each on a fake folder in its real layout."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from open_clip import IMAGENET_CLASSNAMES

from fakes.imagenet import (
    ALARM_CLOCK,
    BACKPACK,
    adversarial,
    counteranimal,
    imagenet,
    objectnet,
    renditions,
    sketch,
    v2,
    vid_robust,
)
from starft.data import (
    CounterAnimalSource,
    ImageNetASource,
    ImageNetRSource,
    ImageNetSketchSource,
    ImageNetSource,
    ImageNetV2Source,
    ImageNetVidRobustSource,
    ObjectNetSource,
)
from starft.data.datasets.published import PublishedSource
from starft.data.imageset import ImageSet
from starft.errors import ConfigError, DataError


def test_imagenet_lists_synset_folders_in_order(tmp_path: Path) -> None:
    source = ImageNetSource(imagenet(tmp_path))
    train, test = source.table("train"), source.table("test")
    assert train.labels.tolist() == [0] * 12 + [1] * 12 + [2] * 12 + [6] * 12
    assert test.labels.tolist() == [0, 0, 1, 1, 2, 2, 6, 6]
    assert test.paths[-1] == "val/n01498041/n01498041_1.JPEG"
    assert (source.published("train").images, source.published("test").images) == (1_281_167, 50_000)
    assert source.splits == ("train", "test")


def test_imagenet_has_openais_names_and_80_templates(tmp_path: Path) -> None:
    source = ImageNetSource(tmp_path)
    assert (source.class_names[0], source.class_names[6], len(source.class_names)) == ("tench", "stingray", 1000)
    assert len(source.templates) == 80
    assert all(template.count("{}") == 1 for template in source.templates)


def test_names_and_templates_can_be_replaced(tmp_path: Path) -> None:
    names = [f"thing {number}" for number in range(1000)]
    source = ImageNetSource(tmp_path, names, ["a photo of a {}."])
    assert (source.class_names, source.templates) == (tuple(names), ("a photo of a {}.",))
    with pytest.raises(ConfigError, match="ImageNet has 1000 classes; got 2 class_names"):
        _ = ImageNetSource(tmp_path, ["a", "b"]).class_names
    with pytest.raises(ConfigError, match=r"Each template of ImageNet must hold \{\} exactly once; got 'a photo\.'\."):
        ImageNetSource(tmp_path, templates=["a photo."])


def test_imagenet_val_without_folders_says_what_to_do(tmp_path: Path) -> None:
    imagenet(tmp_path)
    for file in [*(tmp_path / "val").rglob("*.JPEG")]:
        file.rename(tmp_path / "val" / file.name)
    with pytest.raises(DataError, match=r"val holds images in none of the 1000 class folders; sort the images into"):
        ImageNetSource(tmp_path).table("test")


def test_a_folder_of_no_class_is_named(tmp_path: Path) -> None:
    (imagenet(tmp_path) / "train" / "n01440764").rename(tmp_path / "train" / "goldfish")
    with pytest.raises(DataError, match=r"train/goldfish isn't a folder of one of its 1000 classes; move it away"):
        ImageNetSource(tmp_path).table("train")


def test_v2_sorts_its_folders_as_numbers(tmp_path: Path) -> None:
    table = ImageNetV2Source(v2(tmp_path)).table("test")
    assert table.labels.tolist() == [0, 0, 9, 9, 10, 10, 100, 100]
    assert [path.split("/")[0] for path in table.paths] == ["0", "0", "9", "9", "10", "10", "100", "100"]


def test_r_and_a_are_scored_among_their_200_classes(tmp_path: Path) -> None:
    for source, labels, places, names in (
        (ImageNetRSource(renditions(tmp_path)), [0, 0, 2, 2], [1, 4], ["goldfish", "hammerhead shark"]),
        (ImageNetASource(adversarial(tmp_path)), [0, 0, 2, 2], [6, 13], ["stingray", "junco"]),
    ):
        assert source.table("test").labels.tolist() == labels
        described = source.eval_set("x", "test", ood=True)
        assert len(described.merge) == described.num_labels == 200
        assert [described.merge[label] for label in (0, 2)] == [(place,) for place in places]
        assert [described.prediction_names[label] for label in (0, 2)] == names
        assert described.class_names == tuple(IMAGENET_CLASSNAMES), "one head for all ImageNet sets"
        assert described.ood


def test_sketch(tmp_path: Path) -> None:
    assert ImageNetSketchSource(sketch(tmp_path)).table("test").labels.tolist() == [0, 0, 1, 1]


def test_objectnet_maps_folders_to_imagenet_through_its_own_files(tmp_path: Path) -> None:
    source = ObjectNetSource(objectnet(tmp_path))
    table = source.table("test")
    # Labels count the folders that overlap, in the order of their names: alarm_clock, backpack.
    assert table.labels.tolist() == [0, 0, 1, 1, 1]
    assert table.paths[0] == "images/alarm_clock/0.png"
    assert source.eval_set("objectnet", "test").merge == (ALARM_CLOCK, BACKPACK)
    assert source.published("test").images == 18_574


def test_objectnets_red_border_is_cut_off(tmp_path: Path) -> None:
    table = ObjectNetSource(objectnet(tmp_path)).table("test")
    pixels = ImageSet(table, np.asarray)[0]["image"]  # type: ignore[arg-type]  # no tensor, the plain pixels
    assert pixels.shape == (10, 10, 3)
    assert (pixels == (0, 0, 255)).all()


def test_objectnet_with_files_that_do_not_fit_together(tmp_path: Path) -> None:
    top = objectnet(tmp_path)
    (top / "mappings" / "objectnet_to_imagenet_1k.json").write_text('{"Backpack": "rucksack"}')
    with pytest.raises(DataError, match=r"mappings don't fit together .'rucksack'.; get a whole copy"):
        ObjectNetSource(top).table("test")
    (top / "mappings" / "objectnet_to_imagenet_1k.json").write_text('{"Backpack": ')
    with pytest.raises(DataError, match=r"objectnet_to_imagenet_1k.json isn't valid JSON; get a whole copy"):
        ObjectNetSource(top).table("test")


def test_vid_robust_lists_each_frame_once_and_tells_the_sets(tmp_path: Path) -> None:
    source = ImageNetVidRobustSource(vid_robust(tmp_path))
    table = source.table("test")
    frames = ["0/000001", "0/000000", "0/000002", "0/000003", "7/000000", "7/000001"]
    assert list(table.paths) == [f"val/ILSVRC2015_val_0000000{frame}.JPEG" for frame in frames]
    assert table.labels.tolist() == [0, 0, 0, 0, 1, 2]  # 2: airplane and antelope at once
    described = source.eval_set("vid", "test")
    assert described.merge == ((404, 895), (351, 352, 353))
    assert described.accepted == ((0,), (1,), (0, 1))
    assert described.frame_sets == ((0, 1, 2), (3, 2), (4, 5))


def test_counteranimal_is_scored_by_background(tmp_path: Path) -> None:
    """Labels are ImageNet's, of all 1000 classes; the folder of the background tells the group."""
    source = CounterAnimalSource(counteranimal(tmp_path))
    table = source.table("test")
    assert [path.rpartition("/")[0] for path in table.paths] == [
        *["9 ostrich/common-ground", "9 ostrich/counter-water", "9 ostrich/counter-water"],
        *["296 ice bear/common-snow"] * 3,
        "296 ice bear/counter-grass",
    ]
    assert table.labels.tolist() == [9, 9, 9, 296, 296, 296, 296]
    assert table.groups is not None
    assert table.groups.tolist() == [0, 1, 1, 0, 0, 0, 1]
    assert table.left_out == ("imagenet_names.txt",)
    assert (source.class_names[9], source.class_names[296]) == ("ostrich", "polar bear")
    described = source.eval_set("x", "test")
    assert (described.num_labels, described.group_names, described.num_attributes) == (1000, ("common", "counter"), 0)
    published = source.published("test")
    assert (published.images, published.groups) == (13_100, {"common": 7_174, "counter": 5_926})


def test_a_counteranimal_of_another_layout(tmp_path: Path) -> None:
    top = counteranimal(tmp_path)
    (top / "9 ostrich" / "common-ground").rename(top / "9 ostrich" / "easy")
    with pytest.raises(DataError, match=r"LAION-final/9 ostrich/easy/0.jpg lies below no folder common-... or counter"):
        CounterAnimalSource(top).table("test")
    for folder in [path for path in top.iterdir() if path.is_dir()]:
        folder.rename(top / folder.name.partition(" ")[2])
    with pytest.raises(DataError, match=r"CounterAnimal: no folder of .*LAION-final begins with the number of a class"):
        CounterAnimalSource(tmp_path).table("test")


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        (ImageNetSource, "train"),
        (ImageNetV2Source, ""),
        (ImageNetRSource, ""),
        (ImageNetASource, ""),
        (ImageNetSketchSource, ""),
        (ObjectNetSource, "images"),
        (ImageNetVidRobustSource, "val"),
        (CounterAnimalSource, ""),
    ],
)
def test_a_missing_folder_is_named_and_the_tree_drawn(
    tmp_path: Path, source: type[PublishedSource], missing: str
) -> None:
    made = source(tmp_path / "nowhere")
    with pytest.raises(DataError) as caught:
        made.table(made.splits[0])
    told = str(caught.value)
    assert told.startswith(f"{source.title}: {tmp_path / 'nowhere' / missing} doesn't exist; give the root of")
    assert told.endswith(source.tree)
    assert len(source.tree.splitlines()) > 1


@pytest.mark.parametrize(
    ("write", "source"),
    [
        (v2, ImageNetV2Source),
        (renditions, ImageNetRSource),
        (adversarial, ImageNetASource),
        (sketch, ImageNetSketchSource),
        (objectnet, ObjectNetSource),
        (vid_robust, ImageNetVidRobustSource),
        (counteranimal, CounterAnimalSource),
    ],
)
def test_the_folder_around_it_serves_as_root_too(tmp_path: Path, write: object, source: type[PublishedSource]) -> None:
    top = write(tmp_path)  # type: ignore[operator]
    assert len(source(tmp_path).table("test")) > 0
    assert source(tmp_path).root == top


def test_a_class_that_is_missing_leaves_the_labels_of_the_others(tmp_path: Path) -> None:
    shutil.rmtree(imagenet(tmp_path) / "val" / "n01443537")
    assert ImageNetSource(tmp_path).table("test").labels.tolist() == [0, 0, 2, 2, 6, 6]
