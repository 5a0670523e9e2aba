"""``starft data pack``: a config's data as shards that train to the same weights; a stop leaves nothing half."""

import json
import os
import signal
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fakes.group_sets import iwildcam, waterbirds
from fakes.own_images import write_captions, write_folders, write_jpeg, write_table
from fakes.processes import forking, launched
from fakes.quiet_trainer import trainer
from fakes.shards import write_shards
from fakes.transfer_sets import pcam
from starft.__main__ import main
from starft.data import (
    CSVSource,
    ImageFolder,
    ImageFolderSource,
    ImageTable,
    Packed,
    PackedSource,
    Source,
)
from starft.data.datasets.iwildcam import IWildCamSource
from starft.data.datasets.pcam import PatchCamelyonSource
from starft.data.datasets.waterbirds import WaterbirdsSource
from starft.data.images import read_image
from starft.data.packed import shard_writer
from starft.data.packed.shard_writer import pack
from starft.errors import DataError
from starft.losses import Contrastive
from starft.training.module import FinetuneModule

CONFIGS = Path(__file__).parents[2] / "lightning_configs"


def words(file: Path, to: Path, *options: str, config: str = "csv/starft") -> list[str]:
    kind = "file" if config.startswith("csv") else "root"
    return [
        "data",
        "pack",
        f"--config={CONFIGS / config}.yaml",
        f"--data.init_args.{kind}={file}",
        f"--to={to}",
        *options,
    ]


def same(packed: Source, source: Source, tables: dict[str, ImageTable]) -> None:
    """Hold a packed source to what it was made of: names, order, labels, groups, and each picture."""
    assert packed.class_names == source.class_names
    assert packed.group_names == source.group_names
    assert packed.attribute_names == source.attribute_names
    assert packed.templates == source.templates
    assert {*packed.splits} == {*tables}
    for split, table in tables.items():
        copy = packed.table(split)
        assert copy.labels.tolist() == table.labels.tolist()
        assert (copy.groups is None) == (table.groups is None)
        assert copy.groups is None or table.groups is None or copy.groups.tolist() == table.groups.tolist()
        for one, other in zip(copy.paths, table.paths, strict=True):
            pictures = copy.reader(f"{copy.root}/{one}"), table.reader(f"{table.root}/{other}")
            assert np.array_equal(*map(np.asarray, pictures))
        assert packed.eval_set("a", split) == source.eval_set("a", split)


def test_a_table_is_packed_as_a_run_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Drawn splits stay as they were drawn; files are copied byte for byte; packing again does nothing."""
    table = write_table(tmp_path)
    write_jpeg(tmp_path / "images" / "a.b.c.JPG", 50)
    table.write_text(table.read_text().replace("images/001.jpg", "images/a.b.c.JPG"))
    assert main(words(table, tmp_path / "packed", "--shard-size=20KB")) == 0
    told = capsys.readouterr().out
    files = sorted((tmp_path / "packed").iterdir())
    assert told.startswith(
        f"40 images lie in {len(files) - 1} shards of {tmp_path}/packed; train on them with class_path"
    )
    source = CSVSource(table)
    packed = PackedSource(str(tmp_path / "packed"))
    same(packed, source, {split: source.table(split) for split in source.splits})
    images, train = packed.table("train"), source.table("train")
    assert len(images.files) > 1
    assert images.file_bytes is not None
    for one, other in zip(images.paths, train.paths, strict=True):
        assert images.file_bytes(f"{images.root}/{one}") == (tmp_path / other).read_bytes()
    with tarfile.open(files[-1]) as shard:  # as anybody reads it
        names = shard.getnames()
        member = shard.extractfile(names[1])
        assert member is not None
        said = json.loads(member.read())
    assert names[0].removesuffix(".jpg") == names[1].removesuffix(".json")
    assert said.keys() == {"label", "class", "group", "attribute", "split", "path"}
    assert "a_b_c" in " ".join(path for split in packed.splits for path in packed.table(split).paths)
    before = {file: file.stat().st_mtime_ns for file in files if file.suffix == ".tar"}
    assert main(words(table, tmp_path / "packed", "--shard-size=20KB")) == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_what_is_held_out_is_packed_as_val(tmp_path: Path) -> None:
    folder = write_folders(tmp_path / "folders", {"train": 10, "test": 2})
    assert main(words(folder, tmp_path / "packed", config="imagefolder/starft")) == 0
    packed = PackedSource(str(tmp_path / "packed"))
    assert {split: len(packed.table(split)) for split in packed.splits} == {"train": 18, "val": 2, "test": 4}


@pytest.mark.parametrize("kind", ["waterbirds", "iwildcam", "pcam", "shards"])
def test_other_sets_are_packed(kind: str, tmp_path: Path) -> None:
    """Groups by other names, a metric of its own, pictures without a file of their own, and shards again."""
    made: dict[str, Any] = {
        "waterbirds": lambda: WaterbirdsSource(waterbirds(tmp_path / "d", val=2)),
        "iwildcam": lambda: IWildCamSource(iwildcam(tmp_path / "d")),
        "pcam": lambda: PatchCamelyonSource(pcam(tmp_path / "d")),
        "shards": lambda: PackedSource(str(write_shards(tmp_path / "d", train=6, test=4))),
    }
    source: Source = made[kind]()
    tables = {split: source.table(split) for split in source.splits if split in ("train", "val", "test")}
    pack(source, tables, tmp_path / "packed", 10**6)
    same(PackedSource(str(tmp_path / "packed")), source, tables)


@pytest.mark.parametrize("stop", [1, 9, 16])
def test_a_killed_command_goes_on(stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any member: half a pack is refused by name, and what is finished later is the same to the byte."""
    source = CSVSource(write_table(tmp_path, images=12), test_fraction=0.25, val_fraction=0)
    tables = {split: source.table(split) for split in source.splits}
    pack(source, tables, tmp_path / "whole", 8000)
    added, add = [0], shard_writer._add

    class Killed(BaseException):
        """As a kill from outside."""

    def last(*arguments: Any) -> None:
        added[0] += 1
        if added[0] > stop:
            raise Killed
        add(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(shard_writer, "_add", last)
        patched.setattr(Path, "unlink", lambda *_, **__: None)  # nobody gets to tidy up
        with pytest.raises(Killed):
            pack(source, tables, tmp_path / "packed", 8000)
    assert [*(tmp_path / "packed").glob(".*.tmp")]
    with pytest.raises(DataError, match="is packed in part only; run the same `starft data pack` again to finish it"):
        PackedSource(str(tmp_path / "packed")).table("train")
    advanced: list[int] = []
    about = pack(source, tables, tmp_path / "packed", 8000, advance=advanced.append)
    assert len(about.shards) > 3
    assert sum(advanced) == 12, "what lies there already counts"
    whole, packed = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("whole", "packed")
    )
    assert packed == whole


def test_pictures_are_shrunk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """40 x 32 pixels to 20 x 16, PNG without loss; a smaller one stays as it is; a bad one stops, or is copied."""
    table = write_table(tmp_path, images=8)
    small, png = tmp_path / "images" / "000.jpg", tmp_path / "images" / "002.jpg"
    write_jpeg(small, 0, (16, 12))
    whole = Image.open(tmp_path / "images" / "003.jpg").convert("RGB")
    whole.save(png, "png")
    rows = [f"{row},train" for row in table.read_text().splitlines()]
    table.write_text("\n".join([rows[0].replace(",train", ",split"), *rows[1:]]))
    options = ["--data.init_args.val_fraction=0", "--resize=16"]
    assert main(words(table, tmp_path / "packed", *options)) == 0
    images = PackedSource(str(tmp_path / "packed"), val_fraction=0).table("train")
    read = [images.reader(f"{images.root}/{path}") for path in images.paths]
    assert [picture.size for picture in read] == [(16, 12), *[(20, 16)] * 7]
    assert images.file_bytes is not None
    assert images.file_bytes(f"{images.root}/{images.paths[0]}") == small.read_bytes()
    assert np.array_equal(read[2], whole.resize((20, 16), Image.Resampling.BICUBIC))
    exact = read_image(tmp_path / "images" / "001.jpg").resize((20, 16), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(read[1], float) - np.asarray(exact, float)).mean() < 3
    small.write_bytes(b"nothing")
    capsys.readouterr()
    assert main(words(table, tmp_path / "other", *options)) == 2
    assert "000.jpg can't be read: it isn't an image of a known format; mend or remove it" in capsys.readouterr().err
    assert main(words(table, tmp_path / "other", *options, "--data.init_args.on_bad_image=skip")) == 0
    assert PackedSource(str(tmp_path / "other"), val_fraction=0).table("train").paths[:] == images.paths[:]


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)

    def told(*given: str, to: str = "packed") -> str:
        assert main(words(table, tmp_path / to, *given)) == 2
        return capsys.readouterr().err.splitlines()[-1]

    def remote() -> str:
        assert main([*words(table, tmp_path)[:-1], "--to=s3://bucket/shards"]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    assert main(words(table, tmp_path / "packed")[:-1]) == 2
    assert "needs --to DIR, a folder for the shards." in capsys.readouterr().err
    assert "--shard-size must be a size such as 256MB or 50GB; got '3 bags'." in told("--shard-size=3 bags")
    assert "--resize must be at least 1; got 0." in told("--resize=0")
    assert "shoes.csv is a file; give a folder." in told(to="shoes.csv")
    assert "images holds other files, such as 000.jpg; give an empty folder with --to." in told(to="images")
    assert "gone.csv" in told("--data.init_args.file=gone.csv")
    assert not (tmp_path / "packed").exists()
    assert main(["data", "pack", f"--config={CONFIGS / 'mini' / 'ce.yaml'}", f"--to={tmp_path / 'packed'}"]) == 0
    assert "MiniWorld reads no images from disk: nothing to pack." in capsys.readouterr().out
    assert main(words(table, tmp_path / "packed")) == 0
    capsys.readouterr()
    other = "packed holds a pack of other images, labels, captions or options; give another folder"
    assert other in told("--resize=8")
    plain = table.read_text()
    header, *rows = plain.splitlines()
    table.write_text("\n".join([f"{header},caption", *(f"{row},a shoe" for row in rows)]))
    assert other in told(), "captions that were added or changed"
    table.write_text(plain)
    shard = next((tmp_path / "packed").glob("train-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-512])
    assert f"{shard.name} isn't as packed.json lists it; remove" in told()
    (tmp_path / "packed" / "packed.json").write_text("{")
    assert "packed.json can't be read: " in told()
    assert "--to s3://bucket/shards is remote, and shards are written to this machine; give a folder" in remote()
    assert main(["data", "pack", "--help"]) == 0
    assert "--shard-size SIZE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"schema_version": 9}, "its schema_version is 9, and this starft knows 1; pack"),
        ({"more": 1}, "it must have attribute_names, class_names, complete, group_names, of, schema_version, scoring,"),
        ({"class_names": "ab"}, "its names and templates must be lists of texts; pack the data again, into another"),
        ({"scoring": {"test": {"more": 1}}}, "its scoring must say of splits what an EvalSet has; pack"),
        ({"scoring": [1]}, "its scoring must say of splits what an EvalSet has; pack"),
        ({"shards": [{"file": "a.tar"}]}, "its shards must have bytes, file, images, split each; pack"),
        ([1], "it holds no object; pack"),
    ],
)
def test_a_description_that_somebody_changed(change: Any, sentence: str, tmp_path: Path) -> None:
    source = CSVSource(write_table(tmp_path), val_fraction=0)
    pack(source, {"train": source.table("train")}, tmp_path / "packed", 10**6)
    file = tmp_path / "packed" / "packed.json"
    file.write_text(json.dumps(change if isinstance(change, list) else {**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError) as caught:
        PackedSource(str(tmp_path / "packed")).table("train")
    assert f"packed.json can't be read: {sentence}" in str(caught.value)


def test_pairs_stay_pairs(tmp_path: Path) -> None:
    """Images with captions and without labels: a packed copy has no labels either, and the same texts and splits."""
    table = write_captions(tmp_path, labels=False)
    assert main(words(table, tmp_path / "packed", config="csv/pairs")) == 0
    source, packed = CSVSource(table, label_column=""), PackedSource(str(tmp_path / "packed"))
    assert packed.class_names == source.class_names == ()
    assert packed.splits == source.splits
    for split in source.splits:
        one, other = packed.table(split), source.table(split)
        assert list(one.captions or ()) == list(other.captions or ())
        assert np.array_equal(*(table.labels == table.labels[:, None] for table in (one, other))), "equal captions"


def trained(root: Path, packed: Path, processes: int) -> list[dict[str, torch.Tensor]]:
    """Return the weights after two steps on a folder, and on shards."""
    options: dict[str, Any] = {"batch_size": 8 // processes, "num_workers": 0, "val_fraction": 0}
    states = []
    for data in (ImageFolder(root, attribute_level=True, **options), Packed(str(packed), **options)):
        module = FinetuneModule(Contrastive(), "starft-mini", "mini", lr=1e-3, warmup_steps=0)
        made = trainer(max_steps=2, devices=processes, strategy="ddp" if processes > 1 else "auto")
        made.fit(module, datamodule=data)
        assert (made.global_step, made.world_size) == (2, processes)
        states.append(module.clip.state_dict())
    return states


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_packed_copy_trains_to_the_same_weights(processes: int, tmp_path: Path) -> None:
    """Pictures of 64 pixels, the embedded world's CLIP, two steps; test_packed.py compares batches."""
    folder = write_folders(tmp_path / "folders", {"train": 4, "test": 2}, attribute=True)
    source = ImageFolderSource(folder, attribute_level=True)
    pack(source, {split: source.table(split) for split in source.splits}, tmp_path / "packed", 20_000)
    given = folder, tmp_path / "packed", processes
    runs = [trained(*given)] if processes == 1 else launched(processes, trained, tmp_path / "p", *given)
    states = [state for run in runs for state in run]
    assert len(states) == 2 * processes
    assert all(torch.equal(states[0][name], state[name]) for state in states for name in states[0])


def pack_until_killed(words: list[str], stop: int) -> None:
    """Run the command in this process; at a member of a shard it gets a signal that nothing can hear."""
    added, add = [0], shard_writer._add

    def last(*arguments: Any) -> None:
        added[0] += 1
        if added[0] > stop:
            os.kill(os.getpid(), signal.SIGKILL)
        add(*arguments)

    shard_writer._add = last
    main(words)


@pytest.mark.slow
def test_a_command_that_was_killed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """By SIGKILL, in the middle of the third shard; the same command then goes on."""
    table = write_table(tmp_path, images=12)
    options = "--shard-size=8KB", "--data.init_args.val_fraction=0", "--data.init_args.test_fraction=0.34"
    process = forking().Process(target=pack_until_killed, args=(words(table, tmp_path / "packed", *options), 13))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    there = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert [name.endswith(".tmp") for name in there].count(True) == 1
    for name in ("packed", "whole"):
        assert main(words(table, tmp_path / name, *options)) == 0
    packed, whole = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("packed", "whole"))
    assert packed == whole
    assert {*there} - {*packed} == {name for name in there if name.endswith(".tmp")}


def test_more_eval_sets_get_folders_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of another source; a split of the training source is packed with it. One name may mean two sets."""
    table, other = write_table(tmp_path / "a"), write_table(tmp_path / "b", images=8)
    source = {"class_path": "starft.data.CSVSource", "init_args": {"file": str(other)}}
    wild = {"class_path": "starft.data.IWildCamSource", "init_args": {"root": str(iwildcam(tmp_path / "w"))}}
    evals = [
        {"source": source, "name": "more", "stage": "test", "split": "test"},
        {"source": wild, "name": "more", "stage": "validate", "split": "id_test"},
    ]
    data = {"class_path": "starft.data.CSV", "init_args": {"file": str(table), "evals": evals}}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"data": data}))
    assert main(["data", "pack", f"--config={config}", f"--to={tmp_path / 'packed'}"]) == 0
    told = capsys.readouterr().out
    own = CSVSource(table)
    same(PackedSource(str(tmp_path / "packed" / "id")), own, {split: own.table(split) for split in own.splits})
    more = CSVSource(other).as_eval()
    same(PackedSource(str(tmp_path / "packed" / "more")), more, {"test": more.table("test")})
    packed, made = PackedSource(str(tmp_path / "packed" / "more-validate")), IWildCamSource(tmp_path / "w")
    assert packed.table("test").labels.tolist() == made.table("id_test").labels.tolist()
    assert packed.eval_set("a", "test").metrics == ("macro_f1",)
    assert f"lie in 1 shard of {tmp_path}/packed/more; in evals they are source: starft.data.PackedSource with" in told
