"""Shards on an S3 server and on a web server of this machine: read as those of a folder, and fetched once."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.file_server import FileServer, file_server
from fakes.own_images import write_folders
from fakes.s3_server import s3_server, upload
from fakes.shards import image_table, picture, samples, write_shards, write_table_file, write_tar
from starft.__main__ import main
from starft.data import ImageFolderSource, ImageTable, PackedSource
from starft.data.facts import changes, facts_of
from starft.data.images import BadImageError
from starft.data.packed import scan
from starft.data.packed.shard_writer import pack
from starft.errors import DataError
from starft.files import stores


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and short waits."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "WAITS", (0.0,))
    return tmp_path / "cache" / "remote"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tar shards, and a Parquet table beside them."""
    folder = write_shards(tmp_path_factory.mktemp("shoes"), train=6, test=4)
    write_table_file(folder / "data" / "train.parquet", image_table([1, 0, 1]))
    write_tar(folder / "bad" / "0.tar", [("a.jpg", picture(0))]).write_bytes(b"x" * 600)
    return folder


@pytest.fixture(scope="module")
def s3(local: Path) -> Iterator[None]:
    with s3_server():
        upload("shards", {f"of/all/{name}": content for name, content in files(local).items()})
        yield


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture
def server(running: FileServer, local: Path) -> FileServer:
    running.files = {f"/{name}": content for name, content in files(local).items()}
    running.faults, running.asked = [], []
    return running


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents(table: ImageTable) -> list[bytes]:
    assert table.file_bytes is not None
    return [table.file_bytes(table.location(at)) for at in range(len(table))]


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize("shards", ["t*-000000.tar", "data/*.parquet"])
def test_shards_of_a_bucket_are_those_of_the_folder(shards: str, local: Path, cache: Path) -> None:
    remote = PackedSource("s3://shards/of/all", shards, val_fraction=0)
    theirs = PackedSource(str(local), shards, val_fraction=0)
    assert (remote.splits, remote.class_names) == (theirs.splits, theirs.class_names)
    for split in remote.splits:
        table, same = remote.table(split), theirs.table(split)
        assert (contents(table), [*table.paths], table.labels.tolist()) == (
            contents(same),
            [*same.paths],
            same.labels.tolist(),
        )
    assert table.location(0).startswith("s3://shards/of/all/")
    assert len([*cache.glob("??/*")]) == (1 if shards.endswith("parquet") else 2)


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("s3://nobodys/of", "There is no bucket nobodys, as in s3://nobodys/of; check the address."),
        ("s3://shards/none", "s3://shards/none holds no shards; they end in .tar, .parquet, .pq, .arrow, .feather."),
        (
            "s3://shards/of/all/bad",
            "The shard s3://shards/of/all/bad/0.tar isn't a tar file; get it again, or give data.init_args.shards "
            "without it.",
        ),
    ],
)
def test_what_is_wrong_with_a_bucket_is_one_sentence(root: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        PackedSource(root).table("train")
    assert str(caught.value) == sentence


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(stores, "STALLED", 21.0)  # not the file system of the tests before
    words = ["data", "check", "--config", "packed/starft", "--data.init_args.root=s3://shards/of"]
    assert main(words) == 2
    told = " ".join("".join(capsys.readouterr()).split())
    assert "s3://shards/of/packed.json needs credentials, and there are none; set AWS_ACCESS_KEY_ID and" in told
    assert "a-secret" not in told


def test_shards_of_a_web_server_are_fetched_once(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named one by one or by a range; a refusal and a broken answer are tried again; the index is kept for them."""
    server.files["/train-000001.tar"] = server.files["/test-000000.tar"]
    shards = "train-{000000..000001}.tar"
    server.faults = [503, None, None, 503, None, "reset"]
    monkeypatch.setattr(scan, "LARGE", 2)
    table = PackedSource(server.address, shards, val_fraction=0).table("train")
    assert contents(table) == [picture(number) for number in range(10)]
    assert server.faults == []
    server.asked = []
    again = PackedSource(server.address, shards, val_fraction=0).table("train")
    assert contents(again) == contents(table)
    assert not [line for line in server.asked if line.startswith("GET") and ".tar" in line]
    monkeypatch.setattr(scan, "tar_samples", None)  # nothing is read again
    assert len(PackedSource(server.address, shards, val_fraction=0).table("train")) == 10
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"is on a web server, which lists no files; name its shards with data.init_ar"):
        PackedSource(server.address).check_there()


def test_what_data_pack_wrote_may_lie_on_a_web_server(server: FileServer, tmp_path: Path) -> None:
    """Its ``packed.json`` names the shards, classes and groups."""
    source = ImageFolderSource(write_folders(tmp_path / "d", {"train": 3, "test": 2}, attribute=True), True)
    pack(source, {split: source.table(split) for split in source.splits}, tmp_path / "packed", 10**6)
    server.files = {f"/p/{name}": content for name, content in files(tmp_path / "packed").items()}
    packed = PackedSource(f"{server.address}/p", val_fraction=0)
    assert (packed.splits, packed.class_names, packed.group_names) == (
        source.splits,
        source.class_names,
        source.group_names,
    )
    assert len(contents(packed.table("train"))) == len(source.table("train"))


def test_a_cache_that_is_smaller_than_the_shards_is_told_first(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STARFT_CACHE_SIZE", "30KB")
    shards = "['train-000000.tar', 'test-000000.tar']"
    words = [f"--data.init_args.root={server.address}", f"--data.init_args.shards={shards}"]
    assert main(["data", "check", "--config", "packed/starft", *words]) == 2
    size = sum(len(server.files[f"/{name}-000000.tar"]) for name in ("train", "test"))
    assert (
        f"{server.address}/train-000000.tar and 1 other shard hold {size:,} bytes, more than the cache may, 30,000 "
        "bytes, so that they would be fetched over and over; set STARFT_CACHE_SIZE to more."
    ) in " ".join("".join(capsys.readouterr()).split())
    assert not [line for line in server.asked if line.startswith("GET") and ".tar" in line]


def test_a_shard_that_left_the_cache_is_fetched_again_unless_it_changed(server: FileServer, cache: Path) -> None:
    table = PackedSource(server.address, "train-000000.tar", val_fraction=0).table("train")
    (copy,) = cache.glob("??/*.tar")
    copy.unlink()
    assert contents(table) == [picture(number) for number in range(6)]
    before = facts_of(table)
    table = PackedSource(server.address, "train-000000.tar", val_fraction=0).table("train")
    copy.unlink()
    write_tar(path := cache.parent / "new.tar", samples(6, 1))
    server.files["/train-000000.tar"] = path.read_bytes()
    with pytest.raises(BadImageError, match="its shard has changed, or its copy has left the cache, since it was"):
        contents(table)
    now = facts_of(PackedSource(server.address, "train-000000.tar", val_fraction=0).table("train"))
    assert changes({"train": before}, {"train": now}).other[-1].endswith("first train-000000.tar")
    assert os.fspath(copy)[:-4] not in {os.fspath(path) for path in cache.glob("??/*.tar")}
