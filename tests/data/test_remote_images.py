"""Tables and images on an S3 server and on a web server of this machine, through the commands and the data sets."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from fakes.file_server import FileServer, file_server
from fakes.own_images import write_table
from fakes.s3_server import s3_server, upload
from starft.__main__ import main
from starft.data import CSV, CSVSource
from starft.data.datasets.new_images import NewImages
from starft.data.facts import changes, facts_of
from starft.data.images import BadImageError
from starft.data.imageset import Guarded, ImageSet, gathered
from starft.data.transforms import eval_transform
from starft.errors import DataError
from starft.files import remote, stores
from starft.types import ImagePreprocessing

CHECK = ["data", "check", "--config", "csv/ce", "--model.model_name", "starft-mini", "--data.init_args.file"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images and their table."""
    folder = tmp_path_factory.mktemp("shoes")
    write_table(folder, images=8)
    return folder


@pytest.fixture(scope="module")
def files(local: Path) -> dict[str, bytes]:
    return {path.relative_to(local).as_posix(): path.read_bytes() for path in local.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def s3(files: dict[str, bytes]) -> Iterator[None]:
    addresses = "path,label\n" + "".join(
        f"s3://shoes/{name},{number % 2}\n" for number, name in enumerate(sorted(files)) if name.endswith(".jpg")
    )
    rows = [{"path": f"images/{number:03}.jpg", "label": number % 2} for number in range(8)]
    more = {"elsewhere/a.csv": addresses.encode(), "lines.jsonl": "\n".join(map(json.dumps, rows)).encode()}
    missing = {"gap.csv": b"path,label,split\nimages/000.jpg,a,train\nimages/900.jpg,b,train\nimages/001.jpg,b,train\n"}
    with s3_server():
        upload("shoes", files | more | missing)
        yield


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "WAITS", ())


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[FileServer]:
    with file_server() as running:
        running.files = {f"/{name}": content for name, content in files.items()}
        yield running


def pixels(source: CSVSource) -> list[np.ndarray]:  # type: ignore[type-arg]
    table = source.as_eval().table("test")
    images = ImageSet(table, eval_transform(ImagePreprocessing()))
    return [images[at]["image"].numpy() for at in (0, 5)]


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("file", "root"),
    [
        ("s3://shoes/shoes.csv", None),
        ("s3://shoes/lines.jsonl", None),
        ("s3://shoes/elsewhere/a.csv", None),
        ("s3://shoes/elsewhere/a.csv", Path("s3://shoes")),
        ("{local}/shoes.csv", Path("s3://shoes")),
    ],
)
def test_images_of_a_bucket_are_those_of_the_folder(file: str, root: Path | None, local: Path) -> None:
    remote = CSVSource(Path(file.format(local=local)), root)
    for ours, theirs in zip(pixels(CSVSource(local / "shoes.csv")), pixels(remote), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert remote.as_eval().table("test").location(1) == "s3://shoes/images/001.jpg"


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_the_check_lists_a_bucket_and_fetches_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*CHECK, "s3://shoes/shoes.csv"])
    told = capsys.readouterr().out
    assert "s3://shoes/images/" in told
    assert "missing" not in told
    assert main([*CHECK, "s3://shoes/gap.csv", "--data.init_args.split_column=split"]) == 2
    problem = "CSV, train: 1 of 3 images is missing below s3://shoes (images/900.jpg): bring them back"
    assert problem in " ".join(capsys.readouterr().out.split())
    kept = sorted(path.name.partition("-")[2] for path in (tmp_path / "cache" / "remote").glob("??/*"))
    assert kept == ["gap.csv", "shoes.csv"]


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_a_table_of_new_images_may_be_remote(local: Path) -> None:
    table = NewImages(Path("s3://shoes/shoes.csv"), CSVSource(local / "shoes.csv")).table("test")
    assert len(ImageSet(table, eval_transform(ImagePreprocessing()))[3]["image"]) == 3
    with pytest.raises(DataError, match="no folder or table of new images at s3://shoes/images; give a folder of this"):
        NewImages(Path("s3://shoes/images"), CSVSource(local / "shoes.csv")).table("test")


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("s3://nobodys/shoes.csv", "There is no bucket nobodys, as in s3://nobodys/shoes.csv; check the address."),
        ("s3://shoes/none.csv", "There is no s3://shoes/none.csv; check the address."),
    ],
)
def test_what_is_not_there_is_one_sentence(address: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        CSVSource(Path(address)).check_there()
    assert str(caught.value) == sentence


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_named_and_present_ones_never_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setattr(stores, "STALLED", 20.0)  # not the file system of the tests before
    with pytest.raises(DataError) as caught:
        CSVSource(Path("s3://shoes/shoes.csv")).check_there()
    assert str(caught.value) == (
        "s3://shoes/shoes.csv needs credentials, and there are none; set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket FSSPEC_S3_ANON=true."
    )
    assert "a-secret" not in "".join(capsys.readouterr())


@pytest.mark.slow
@pytest.mark.usefixtures("s3")
def test_the_manifest_notices_an_image_that_was_replaced(
    files: dict[str, bytes], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the server says of it: a store that lists, and a web server that is asked for some, here every other."""
    upload("replaced", files)
    store = fsspec.filesystem("s3", use_listings_cache=False)
    monkeypatch.setattr(remote, "LOOKED", 4)
    name, same_size = "images/002.jpg", bytes(len(files["images/002.jpg"]))

    def replace() -> None:
        store.pipe_file(f"replaced/{name}", same_size)
        store.invalidate_cache()
        server.files[f"/{name}"] = same_size

    roots = ("s3://replaced", server.address)
    tables = [CSVSource(Path(f"{root}/shoes.csv")).as_eval().table("test") for root in roots]
    before, again = ([facts_of(table) for table in tables] for _ in range(2))
    assert [facts.digest() for facts in before] == [facts.digest() for facts in again]
    assert [len(facts.sampled) for facts in before] == [8, 4]
    replace()
    for old, table in zip(before, tables, strict=True):
        now = facts_of(table)
        assert now.digest() != old.digest()
        assert changes({"id": old}, {"id": now}).other == (f"1 of 8 images changed, first {name}",)


@pytest.mark.slow
def test_workers_fetch_each_image_once(server: FileServer) -> None:
    data = CSV(Path(f"{server.address}/shoes.csv"), test_fraction=0.25, val_fraction=0.25, batch_size=2, num_workers=2)
    data.preprocessing = ImagePreprocessing()
    data.setup("fit")
    for _ in range(2):
        assert len(list(data.train_dataloader())) == 2
    fetched = [line for line in server.asked if line.startswith("GET /images")]
    assert len(fetched) == len({*fetched}) == len(data.training_table())


def test_an_image_that_is_gone_is_bad_and_a_lost_connection_stops_the_run(server: FileServer) -> None:
    table = CSVSource(Path(f"{server.address}/shoes.csv")).as_eval().table("test")
    guard = Guarded(ImageSet(table, eval_transform(ImagePreprocessing())), "skip")
    del server.files["/images/002.jpg"]
    rows = gathered([guard[at] for at in (1, 2, 3)])
    batch = guard.receive(rows)
    assert batch is not None
    assert batch["index"].tolist() == [1, 3]
    assert guard.bad == {f"{server.address}/images/002.jpg": "its server doesn't have it"}
    server.faults = [503]
    with pytest.raises(DataError) as caught:
        guard.receive(gathered([guard[at] for at in (3, 0, 4)]))
    assert not isinstance(caught.value, BadImageError)
    assert str(caught.value).startswith(f"{server.address}/images/000.jpg can't be fetched: the server answered 503")


def test_paths_and_addresses_are_not_mixed(server: FileServer, local: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.csv"
    pd.DataFrame({"path": ["images/000.jpg", f"{server.address}/images/001.jpg"] * 4, "label": ["a", "b"] * 4}).to_csv(
        mixed, index=False
    )
    data = CSV(mixed, local, batch_size=1, num_workers=0)
    problems = " ".join(problem.text for checked in data.check("fit") for problem in checked.problems)
    assert f"address lies outside of {local}: {server.address}/images/001.jpg; give a root that holds all" in problems


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["data", "check", "--config", "imagefolder/ce", "--data.init_args.root", "s3://shoes/images"],
            "ImageFolder: s3://shoes/images is remote, and ImageFolder reads folders of this machine; copy it here, or "
            "list its images in a table for starft.data.CSV.",
        ),
        (
            ["demo", "--out", "s3://shoes/run"],
            "--out s3://shoes/run is remote, and this command writes to this machine; give a path here, and copy what "
            "is there when the command has ended.",
        ),
    ],
)
def test_folders_are_of_this_machine(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"starft: {sentence}"
