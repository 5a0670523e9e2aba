"""Images in shards: read as they lie, in their order, with labels, groups and splits; what is wrong is one sentence."""

import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from fakes.own_images import write_folders
from fakes.shards import (
    Part,
    clip_benchmark,
    hub_celeba,
    hub_waterbirds,
    image_table,
    picture,
    samples,
    wilds_copy,
    write_shards,
    write_table_file,
    write_tar,
)
from starft.data import ImageDataModule, ImageFolder, ImageFolderSource, ImageTable, Packed, PackedSource
from starft.data.facts import changes, facts_of
from starft.data.fast_decoding import FastTransform, prepared_fast
from starft.data.images import BadImageError
from starft.data.packed import scan
from starft.data.packed.index import PackedBytes
from starft.data.packed.shard_writer import pack
from starft.errors import ConfigError, DataError
from starft.types import ImagePreprocessing


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


def contents(table: ImageTable) -> list[bytes]:
    assert table.file_bytes is not None
    return [table.file_bytes(os.path.join(table.root, path)) for path in table.paths]  # noqa: PTH118  # as it is read


LONG = "x" * 60 + "/" + "y" * 80
"""A key that needs a header of its own in two of tar's three formats."""


@pytest.mark.parametrize(
    ("form", "label"), [(tarfile.USTAR_FORMAT, "json"), (tarfile.GNU_FORMAT, "cls"), (tarfile.PAX_FORMAT, "json")]
)
@pytest.mark.parametrize("key", ["n01/a b#1", LONG, "grün/é"])
def test_a_tar_shard_of_anybody(form: int, key: str, label: str, tmp_path: Path) -> None:
    """Pillow's formats in any case; other members, folders and a second ending of the key are nobody's."""
    said = (b" 1\n", b"0") if label == "cls" else (b'{"label": 1}', b'{"label": 0.0, "more": [1]}')
    parts: list[Part] = [
        *[("./README", b"?"), (f"{key}.JPG", picture(1)), (f"{key}.seg.png", b"?"), (f"{key}.{label}", said[0])],
        *[(f"z/2.{label}", said[1]), ("z/2.webp", picture(2, "webp"))],
    ]
    write_tar(tmp_path / "d" / "train.tar", parts, form)
    source = PackedSource(str(tmp_path / "d"), val_fraction=0)
    table = source.table("train")
    assert [*table.paths] == [f"train.tar#{key}", "train.tar#z/2"]
    assert (table.labels.tolist(), source.class_names) == ([1, 0], ("0", "1"))
    assert contents(table) == [parts[1][1], parts[5][1]]
    assert (table.files, table.packed, table.root) == (("train.tar",), True, tmp_path / "d")
    assert table.reader(f"{table.root}/train.tar#z/2").size == (24, 20)


def test_groups_splits_and_options(tmp_path: Path) -> None:
    source = PackedSource(str(write_shards(tmp_path, train=8, validation=4, test=4)))
    assert source.splits == ("train", "val", "test")
    assert source.group_names == ("boot, grass", "boot, sand", "sandal, grass", "sandal, sand")
    groups = source.table("val").groups
    assert groups is not None
    assert groups.tolist() == [0, 2, 1, 3]
    assert source.table("test").paths[1:3] == ("test-000000.tar#shoes/013", "test-000000.tar#shoes/014")
    plain = PackedSource(str(tmp_path), attribute_column="", class_names={"sandal": "a", "boot": "b"})
    assert (plain.class_names, plain.group_names, plain.table("val").groups) == (("a", "b"), (), None)
    assert plain.table("val").labels.tolist() == [1, 0, 1, 0]
    fewer = PackedSource(str(tmp_path), splits={"train": "train", "test": "validation"})
    assert (fewer.splits, len(fewer.table("test")), fewer.table("test").files) == (
        ("train", "test"),
        4,
        ("validation-000000.tar",),
    )
    one = PackedSource(
        str(tmp_path), "t*st-*.tar", split_column="", attribute_column="", test_fraction=0.5, val_fraction=0
    )
    assert {split: len(one.table(split)) for split in one.splits} == {"train": 2, "test": 2}
    write_tar(tmp_path / "more" / "0.tar", [*samples(4, split="train"), *samples(2, 4, split="dev")])
    assert PackedSource(str(tmp_path / "more")).splits == ("train", "val")


@pytest.mark.parametrize(
    "name", ["train-00000-of-00001.parquet", "train/data.arrow", "train.feather", "packed/train.arrow"]
)
def test_tables_of_images(name: str, tmp_path: Path, cache: Path) -> None:
    """Of Arrow files the bytes are read where they lie; those of Parquet and of compressed files from a copy."""
    table = image_table([1, 0, 2, 1, 1, 0, 0], ("cat", "dog", "cow"), attribute=["a", "b", *"abaab"], more=[[0]] * 7)
    options = {"compression": "lz4"} if name.startswith("packed") else {}
    write_table_file(tmp_path / "d" / name, table, **options)
    source = PackedSource(str(tmp_path / "d"), val_fraction=0)
    listed = source.table("train")
    assert source.class_names == ("cat", "dog", "cow")
    assert listed.labels.tolist() == [1, 0, 2, 1, 1, 0, 0]
    assert listed.groups is not None
    assert listed.groups.tolist() == [2, 1, 4, 3, 2, 0, 1]
    assert contents(listed) == [picture(number, "png") for number in range(7)]
    assert listed.paths[6] == f"{name}#6"
    copied = name.endswith("parquet") or bool(options)
    assert bool([*cache.glob("*.images")]) == copied
    mapped = PackedSource(str(tmp_path / "d"), label_map={"cat": "pet", "dog": "pet", "cow": "cattle"}, val_fraction=0)
    assert (mapped.class_names, mapped.table("train").labels.tolist()) == (("cattle", "pet"), [1, 1, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        ([-1, -1], {}, r"Each label of .* is -1, first train.parquet#0: nobody says what these images show; take shar"),
        (
            [0, 1, 5],
            {},
            r"the label 5 \(train.parquet#2\) is none of the 2 classes that the shards name, boot, sandal",
        ),
        (
            [0, 1, None],
            {},
            r"1 sample has no label, first train.parquet#2; mend the shards, or set data.init_args.on_bad",
        ),
        ([0, 1], {"label_column": "lable"}, r"no column 'lable'.* Did you mean 'label'\? Name it with .*label_column"),
        (
            [0, 1],
            {"attribute_column": "place"},
            r"has no column 'place'; its columns are image, label\. .*Name it with .*attribute_col",
        ),
        (
            [0, 1],
            {"image_column": "label"},
            r"no column 'label' of images, which hold bytes.*label \(int64\)\. Name it",
        ),
    ],
)
def test_a_table_that_lacks_something(labels: list[Any], options: Any, sentence: str, tmp_path: Path) -> None:
    write_table_file(tmp_path / "train.parquet", image_table(labels))
    with pytest.raises(DataError, match=sentence):
        PackedSource(str(tmp_path), **options).table("train")


def test_rows_without_bytes_are_counted(tmp_path: Path) -> None:
    table = image_table([0, 1, 0, 1])
    images = table.column("image").to_pylist()
    images[1:3] = [None, {"bytes": None, "path": "elsewhere.png"}]
    table = table.set_column(0, "image", pa.array(images, table.schema.field("image").type))
    write_table_file(tmp_path / "train.arrow", table)
    with pytest.raises(DataError, match=r"2 samples have no image, first train.arrow#1; mend the shards"):
        PackedSource(str(tmp_path)).table("train")
    kept = PackedSource(str(tmp_path), on_bad_image="skip", val_fraction=0)
    assert [*kept.table("train").paths] == ["train.arrow#0", "train.arrow#3"]
    assert kept.notes == ("2 samples have no image, first train.arrow#1; left out, as on_bad_image is skip",)
    assert contents(kept.table("train")) == [picture(0, "png"), picture(3, "png")]


def cut(content: bytes) -> bytes:
    """In the fourth image: a sample takes five blocks, of header, picture (two), header and text."""
    return content[: 3 * 5 * 512 + 600]


@pytest.mark.parametrize(
    ("change", "sentence", "left"),
    [
        (lambda parts: [*parts, ("x.json", b'{"label": "boot"}')], "1 sample has no image, first train.tar#x", 8),
        (lambda parts: [*parts, ("x.png", picture(1))], "1 sample has no label, first train.tar#x", 8),
        (
            lambda parts: [*parts, ("x.png", picture(1)), ("x.json", b"[1]")],
            "1 sample has a .json that isn't an obj",
            8,
        ),
        (lambda parts: [*parts, *parts[:2]], r"1 key is there twice, first train.tar#shoes/000; members of one key", 8),
        (lambda parts: [parts[0], *parts], r"1 key is there twice, first train.tar#shoes/000.jpg; members of one", 8),
        (lambda parts: cut, r"1 shard is cut short or damaged, first train.tar at byte [\d,]+ of [\d,]+; what lies", 3),
    ],
)
def test_what_is_wrong_with_samples_is_one_sentence_or_counted(
    change: Callable[[Any], Any], sentence: str, left: int, tmp_path: Path
) -> None:
    path = write_tar(tmp_path / "train.tar", samples(8))
    changed = change(samples(8))
    if callable(changed):
        path.write_bytes(changed(path.read_bytes()))
    else:
        write_tar(path, changed)
    with pytest.raises(DataError, match=sentence):
        PackedSource(str(tmp_path)).table("train")
    kept = PackedSource(str(tmp_path), on_bad_image="skip", val_fraction=0)
    assert len(kept.table("train")) == left
    assert any(sentence[:8] in note and note.endswith("left out, as on_bad_image is skip") for note in kept.notes)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"The shard .*train.tar is empty \(0 bytes\); get it again\."),
        (b"\x1f\x8b" + bytes(600), r"train.tar is compressed, .* unpack it with `gzip -d`\."),
        (b"x" * 600, r"train.tar isn't a tar file; get it again, or give data.init_args.shards without it\."),
    ],
)
def test_what_is_no_shard(content: bytes, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "train.tar").write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        PackedSource(str(tmp_path)).table("train")


def test_what_a_folder_lacks(tmp_path: Path) -> None:
    for root, sentence in (
        ("gone", r"There is no folder gone of shards; check its path"),
        (str(tmp_path), r"holds no shards; they end in \.tar, \.parquet"),
    ):
        with pytest.raises(DataError, match=sentence):
            PackedSource(root).check_there()
    shard = write_tar(tmp_path / "one" / "train.tar", samples(2))
    for root in (str(shard), "s3://bucket/one/train.tar"):
        with pytest.raises(DataError, match=r"train.tar is one shard, .*; give .*/one as root, and .*shards train.tar"):
            PackedSource(root).check_there()
    with pytest.raises(
        ConfigError, match=r"The address ftp://x can't be read; data.init_args.root takes a folder, hf://OWNER/NAME,"
    ):
        PackedSource("ftp://x").check_there()
    shard.unlink()
    write_shards(tmp_path, train=2, more=2)
    with pytest.raises(DataError, match=r"Of the 2 shards .* such as train-000000.tar, and 1 don't: more-000000.tar;"):
        PackedSource(str(tmp_path)).check_there()
    write_tar(tmp_path / "two" / "train.tar", [("a.jpg", picture(0)), ("a.png", picture(0, "png")), ("a.cls", b"0")])
    with pytest.raises(
        DataError, match=r"two pictures of the key a, jpg and png; name the one to take with .*image_col"
    ):
        PackedSource(str(tmp_path / "two")).table("train")
    write_tar(tmp_path / "none" / "train.tar", [("a.jpg", picture(0)), ("a.md", b"a boot")])
    with pytest.raises(
        DataError, match=r"No image of .* has a cls or label; name what holds the labels with .*label_col"
    ):
        PackedSource(str(tmp_path / "none"), on_bad_image="skip").table("train")
    write_tar(tmp_path / "list" / "train.tar", [("a.jpg", picture(0)), ("a.json", b'{"label": [1, 2]}')])
    with pytest.raises(DataError, match=r"train.tar#a: its label holds a list"):
        PackedSource(str(tmp_path / "list")).table("train")
    write_table_file(tmp_path / "bad" / "train.parquet", image_table([0, 1])).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"The table .*train.parquet can't be read: .*; get it again\."):
        PackedSource(str(tmp_path / "bad")).table("train")


def test_an_index_is_kept_and_made_anew_when_a_shard_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "LARGE", 2)
    folder = write_shards(tmp_path / "d", train=4, test=2)
    first = PackedSource(str(folder)).table("train")
    before = contents(first)
    (entry,) = cache.glob("*.npz")
    monkeypatch.setattr(scan, "tar_samples", None)  # nothing is read again
    again = PackedSource(str(folder)).table("train")
    assert ([*again.paths], again.labels.tolist(), contents(again)) == ([*first.paths], first.labels.tolist(), before)
    monkeypatch.undo()
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    for damage in (b"", b"no archive", entry.read_bytes()[:100]):
        entry.write_bytes(damage)
        assert [*PackedSource(str(folder)).table("train").paths] == [*first.paths]
    write_tar(folder / "train-000000.tar", samples(6, 2))
    assert len(PackedSource(str(folder)).table("train")) == 6
    fresh = pickle.loads(pickle.dumps(first.file_bytes))  # as a worker process gets it
    with pytest.raises(BadImageError, match="its shard has changed since it was indexed"):
        fresh(f"{folder}/{first.paths[0]}")
    with pytest.raises(BadImageError, match="its shard holds no such key"):
        fresh(f"{folder}/train-000000.tar#gone")


def test_a_shard_that_is_written_over_or_goes_while_it_is_read_gives_no_image(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "d", train=4, test=2)
    table, other = PackedSource(str(folder)).table("train"), PackedSource(str(folder)).table("test")
    contents(table)
    shard = folder / "train-000000.tar"
    with shard.open("r+b") as file:  # the same file and size, other pictures
        file.write(shard.read_bytes()[::-1])
    os.utime(shard, (1, 1))
    with pytest.raises(BadImageError, match="its shard has changed since it was indexed"):
        contents(table)
    (folder / "test-000000.tar").unlink()
    transform = FastTransform(ImagePreprocessing(size=(8, 8)))
    path = os.path.join(other.root, other.paths[0])  # noqa: PTH118  # as it is read
    with pytest.raises(BadImageError, match="its shard can't be read: No such file"):
        prepared_fast(path, transform, other.file_bytes)


def test_few_shards_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starft.data.packed.index.OPEN", 2)
    for number in range(4):
        write_tar(tmp_path / f"train-{number}.tar", samples(2, 2 * number))
    table = PackedSource(str(tmp_path), val_fraction=0).table("train")
    assert contents(table) == [picture(number) for number in range(8)]
    assert isinstance(table.file_bytes, PackedBytes)
    assert len(table.file_bytes._open) == 2


def test_bytes_that_are_no_image_stop_or_are_skipped(tmp_path: Path) -> None:
    parts = samples(6)
    parts[4] = (parts[4][0], b"nothing")
    write_tar(tmp_path / "train.tar", parts)
    write_tar(tmp_path / "test.tar", [*samples(2), ("x.jpg", b""), ("x.json", samples(1)[1][1])])

    def read(bad: str) -> int:
        data = Packed(str(tmp_path), on_bad_image=bad, num_workers=0, val_fraction=0)  # type: ignore[arg-type]
        data.preprocessing = ImagePreprocessing(size=(8, 8))
        data.setup("test")
        (loader,) = data.test_dataloader()
        images = sum(len(batch["label"]) for batch in loader)
        data.teardown("test")
        return images

    with pytest.raises(BadImageError, match=r"The image .*test.tar#x can't be read: it is empty \(0 bytes\); mend"):
        read("stop")
    assert read("skip") == 2
    with pytest.raises(BadImageError, match=r"train.tar#shoes/002 can't be read: it isn't an image of a known format"):
        PackedSource(str(tmp_path)).table("train").reader(f"{tmp_path}/train.tar#shoes/002")


def test_what_a_run_knows_of_shards(tmp_path: Path) -> None:
    """The manifest's facts: files are shards, and a label or a byte that changes is named."""
    folder = write_shards(tmp_path, train=4)
    before = facts_of(PackedSource(str(folder), val_fraction=0).table("train"))
    assert (before.files, len(before.paths), before.sizes.tolist()) == (
        ("train-000000.tar",),
        4,
        [(folder / "train-000000.tar").stat().st_size],
    )
    parts = samples(4)
    parts[1] = (parts[1][0], parts[1][1].replace(b"boot", b"sand"))
    write_tar(folder / "train-000000.tar", parts)
    now = facts_of(PackedSource(str(folder), val_fraction=0).table("train"))
    assert now.digest() != before.digest()
    assert "train-000000.tar" in " ".join(changes({"train": before}, {"train": now}).other)


def batches(data: ImageDataModule, workers: int, skip: int = 0, world: int = 1, rank: int = 0) -> list[Any]:
    """Two epochs of one process, as a run gets them, less the first batches, behind which a checkpoint was written."""
    data.num_workers, data.preprocessing = workers, ImagePreprocessing(size=(16, 16))
    data.trainer = SimpleNamespace(world_size=world, global_rank=rank, is_global_zero=True)  # type: ignore[assignment]
    data.setup("fit")
    if skip:
        data.load_state_dict({"batches": skip})
    loader = data.train_dataloader()
    all_batches = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        all_batches += [*loader]
    return all_batches


@pytest.mark.parametrize(("workers", "skip", "world", "rank"), [(0, 0, 1, 0), (2, 2, 1, 0), (0, 1, 2, 1)])
def test_a_packed_copy_gives_the_batches_of_its_folder(
    workers: int, skip: int, world: int, rank: int, tmp_path: Path
) -> None:
    """Bit for bit, with workers, behind a resume in the middle of an epoch, in the second of two processes."""
    write_folders(tmp_path / "folder", {"train": 5, "val": 1, "test": 2}, attribute=True)
    source = ImageFolderSource(tmp_path / "folder", attribute_level=True)
    pack(source, {split: source.table(split) for split in source.splits}, tmp_path / "packed", 20_000)
    assert len([*(tmp_path / "packed").glob("train-*.tar")]) > 1
    options: dict[str, Any] = {"batch_size": 4, "sampling": "group_balanced", "seed": 3}
    folder = batches(ImageFolder(tmp_path / "folder", attribute_level=True, **options), workers, skip, world, rank)
    packed = batches(Packed(str(tmp_path / "packed"), **options), workers, skip, world, rank)
    assert len(folder) == len(packed) == 2 * (20 // 4 // world) - skip
    for one, other in zip(folder, packed, strict=True):
        assert one.keys() == other.keys() == {"image", "label", "group", "index"}
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_a_data_set_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Hub can't be asked here; a folder takes the place of a name, and goes the same way through `datasets`."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    for split, labels in (("train", [1, 0, 1, 0]), ("validation", [0, 1])):
        write_table_file(tmp_path / "d" / "data" / f"{split}-00000-of-00001.parquet", image_table(labels))
    source = PackedSource(f"hf://{tmp_path / 'd'}")
    assert (source.class_names, source.splits) == (("boot", "sandal"), ("train", "val"))
    assert source.table("train").labels.tolist() == [1, 0, 1, 0]
    assert contents(source.table("val")) == [picture(0, "png"), picture(1, "png")]
    with pytest.raises(
        DataError, match=r"hf://nobody/nothing can't be loaded: .*; check its name, or your connection\."
    ):
        PackedSource("hf://nobody/nothing").table("train")
    loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / "d" / "data"), split="train")
    loaded.save_to_disk(tmp_path / "disk" / "train")
    assert contents(PackedSource(str(tmp_path / "disk"), val_fraction=0).table("train")) == [
        picture(number, "png") for number in range(4)
    ]
    assert np.array(loaded["label"]).tolist() == [1, 0, 1, 0]


def test_layouts_of_the_hub(tmp_path: Path) -> None:
    """Names beside tar shards; columns of classes; booleans. Learnt from public pages, as no copy was at hand."""
    names = ("tench", "great white shark")
    copy = PackedSource(str(clip_benchmark(tmp_path / "wds", names))).as_eval()
    table = copy.table("test")
    assert (copy.class_names, table.labels.tolist()) == (names, [0, 1, 0, 1])
    assert copy.templates == ("a photo of a {}.", "art of the {}.")
    assert contents(table)[1] == picture(1, "webp")
    assert PackedSource(str(tmp_path / "wds"), class_names=["a", "b"], templates=["{}"]).templates == ("{}",)
    wild = PackedSource(str(wilds_copy(tmp_path / "wilds", names)), group_column="npy.0").as_eval()
    table = wild.table("test")
    assert (table.labels.tolist(), wild.group_names) == ([1, 0, 0, 1], ("1", "3", "5"))
    assert table.groups is not None
    assert table.groups.tolist() == [1, 0, 1, 2]
    assert (wild.templates, contents(table)[3]) == (("a photo of {}.", "{} in the wild."), picture(3, "png"))
    for column in ("npy.4", "npy.x"):
        with pytest.raises(DataError, match=rf"No image of .*wilds has a {column}; name what holds the groups with"):
            PackedSource(str(tmp_path / "wilds"), group_column=column).as_eval().table("test")
    birds = PackedSource(str(hub_waterbirds(tmp_path / "birds")), attribute_column="place")
    assert birds.group_names == ("landbird, land", "landbird, water", "waterbird, land", "waterbird, water")
    groups = birds.table("val").groups
    assert groups is not None
    assert groups.tolist() == [0, 3, 2, 1]
    named = {"False": "dark hair", "True": "blond hair"}
    options: dict[str, Any] = {"label_column": "Blond_Hair", "attribute_column": "Male", "class_names": named}
    faces = PackedSource(str(hub_celeba(tmp_path / "faces")), "img_align+identity+attr/*.parquet", **options)
    assert (faces.class_names, faces.splits) == (("dark hair", "blond hair"), ("train", "val", "test"))
    groups = faces.table("train").groups
    assert groups is not None
    assert groups.tolist() == [3, 1, 2, 0]


def test_captions_without_labels_are_pairs(tmp_path: Path) -> None:
    """A shard's texts are paired with its images; the labels that there are can be left out, too."""
    folder, texts = tmp_path / "pairs", ("a duck", "a crow", "a duck")
    parts = [
        (f"{number}.{end}", content)
        for number, text in enumerate(texts)
        for end, content in (("jpg", picture(number)), ("txt", text.encode()))
    ]
    write_tar(folder / "train-0.tar", parts)
    source = PackedSource(str(folder))
    table = source.table("train")
    assert source.class_names == ()
    assert list(table.captions or ()) == ["a duck", "a crow", "a duck"]
    assert table.labels.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match=r"No image of .* has a cls; name what holds the labels with"):
        PackedSource(str(folder), label_column="cls").table("train")
