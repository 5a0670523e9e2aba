"""A run folder on an S3 server of this machine: copied there by the run, and fetched where another goes on."""

import errno
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from torch import Tensor

from fakes.s3_server import faulty, s3_server
from starft.__main__ import main
from starft.cli.fit import build
from starft.errors import DataError, RunFolderError
from starft.files import remote, stores
from starft.files.yaml_reader import load_yaml
from starft.runs import remote_folder
from starft.runs.layout import LAST, LOCK, MANIFEST, UNFINISHED
from starft.runs.local_copy import local_folder
from starft.runs.manifest import read_manifest, replace_listed_file
from starft.runs.remote_folder import RemoteFolder
from starft.training.stopping import StopSafely

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NUMBERS = count()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and short waits."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "WAITS", (0.0,))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with s3_server():
        yield


@pytest.fixture
def address(server: None) -> str:
    """A run folder in a new bucket."""
    bucket = f"bucket-{next(NUMBERS)}"
    store().mkdir(bucket)
    return f"s3://{bucket}/runs/a"


def store() -> Any:
    return fsspec.filesystem("s3", use_listings_cache=False)


def stored(address: str) -> dict[str, bytes]:
    """What a bucket has of a folder, by name."""
    start = f"{address.removeprefix('s3://')}/"
    return {name.removeprefix(start): store().cat_file(name) for name in store().find(address)}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def elsewhere(address: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> RemoteFolder:
    """The same run folder on a machine with another cache, fetched."""
    monkeypatch.setenv("STARFT_CACHE", str(cache / "elsewhere"))
    other = RemoteFolder(address)
    other.fetch()
    return other


def words(folder: str | Path, *options: str) -> list[str]:
    return [
        "fit",
        f"--config={ROOT / 'lightning_configs' / 'mini' / 'starft.yaml'}",
        "--data.init_args.train_size=24",
        "--data.init_args.val_size=12",
        "--data.init_args.batch_size=6",
        "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={folder}",
        *options,
    ]


def state(path: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    return checkpoint


def test_a_run_goes_on_from_the_store_on_another_machine(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tmp_path / "whole")) == 0
    on_train_batch_end = StopSafely.on_train_batch_end

    def signalled(self: StopSafely, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 6:
            signal.raise_signal(signal.SIGTERM)
        on_train_batch_end(self, trainer, *args)

    with monkeypatch.context() as patch, faulty("PUT", [503]):
        patch.setattr(StopSafely, "on_train_batch_end", signalled)
        assert main(words(address)) == 143
    folder, told = local_folder(address), capsys.readouterr().err
    assert f"Note: The run works in {folder}, and is copied to {address}.\n" in told
    assert "trying again in 0 s." in told
    assert stored(address) == stored_of(folder)
    assert UNFINISHED in stored(address)

    shutil.rmtree(folder)
    assert main(words(address)) == 2
    last = folder / "checkpoints" / LAST
    assert f"or continue it with --ckpt_path {last}." in capsys.readouterr().err
    assert main(words(address, f"--ckpt_path={address}/checkpoints/{LAST}")) == 0
    assert stored(address) == stored_of(folder)
    assert UNFINISHED not in stored(address)

    ended, expected = state(last), state(tmp_path / "whole" / "checkpoints" / LAST)
    assert (ended["global_step"], expected["global_step"]) == (8, 8)
    assert ended["state_dict"].keys() == expected["state_dict"].keys()
    assert all(torch.equal(value, expected["state_dict"][key]) for key, value in tensors(ended).items())
    assert len(tensors(ended)) > 50

    shutil.rmtree(folder.parent)
    config = [f"--config={ROOT / 'lightning_configs' / 'mini' / 'starft.yaml'}", "--data.init_args.test_size=12"]
    test = ["test", *config, f"--trainer.default_root_dir={address}", f"--ckpt_path={address}/checkpoints/{LAST}"]
    assert main(test) == 0
    assert {"results.json", "samples.npz"} <= stored(address).keys()
    assert stored(address) == stored_of(folder)


def tensors(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    return {key: value for key, value in checkpoint["state_dict"].items() if isinstance(value, Tensor)}


def stored_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [
        ("s3://no-bucket/run", "There is no bucket no-bucket, as in s3://no-bucket/run; check the address."),
        (
            "https://host/run",
            "The run folder https://host/run can't be written to; give one of this machine, or one that begins with "
            "s3:// or gs://.",
        ),
    ],
)
@pytest.mark.usefixtures("server")
def test_what_cannot_be_written_is_told_before_training(
    folder: str, sentence: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"starft: {sentence}"
    assert not local_folder(folder).exists()


def test_a_store_that_refuses_is_told_before_training(address: str) -> None:
    with ExitStack() as at_end, faulty("PUT", [403]), pytest.raises(DataError) as caught:
        RemoteFolder(address).begin({"ckpt_path": None}, at_end, first=True, trial=False)
    assert str(caught.value).startswith(f"{address}/.writable.")
    assert " may not be written with these credentials, or without any, " in str(caught.value)


def test_missing_credentials_are_told_before_training(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with (
        ExitStack() as at_end,
        pytest.raises(DataError, match=f"^{address} needs credentials, and there are none; set"),
    ):
        RemoteFolder(address).begin({"ckpt_path": None}, at_end, first=True, trial=False)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_the_mark_is_copied_first_and_the_manifest_last(address: str) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"logs/m.csv": "1", "config.yaml": "a", "old.csv": "", UNFINISHED: "{}"})
    write(run.folder, {".lock": "", "kept_activations-0": ""})
    replace_listed_file(run.folder / "last.ckpt", b"one", run.folder)
    with faulty() as seen:
        run.copy()
    puts = [line.rpartition("/runs/a/")[2] for line in seen.asked if line.startswith("PUT")]
    assert puts == [UNFINISHED, "config.yaml", "last.ckpt", "old.csv", "logs/m.csv", MANIFEST]

    (run.folder / UNFINISHED).unlink()
    (run.folder / "old.csv").unlink()
    write(run.folder, {"results.json": "{}", "samples.npz": "x"})
    with faulty() as seen:
        run.copy()
    changes = [line for line in seen.asked if line.startswith(("PUT", "DELETE"))]
    names = ["samples.npz", "results.json", "old.csv", UNFINISHED]
    assert [line.rpartition("/runs/a/")[2] for line in changes] == names
    with faulty() as seen:
        run.copy()
    assert [line.partition(" ")[0] for line in seen.asked] == ["GET"], "nothing is new, and one listing says so"


def test_a_copy_that_was_cut_short_is_a_run_that_goes_on(
    address: str, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store has the new checkpoint, or the old one, and a manifest that knows it."""
    run = RemoteFolder(address)
    run.folder.mkdir(parents=True)
    replace_listed_file(run.folder / "best.ckpt", b"zero", run.folder)
    run.copy()
    for content in (b"one", b"two", b"three"):  # more than the run's own manifest keeps
        replace_listed_file(run.folder / "best.ckpt", content, run.folder)
    answered, kept_out = stores.answer, "best.ckpt"

    def lost(where: str, ask: Any, writes: bool = False) -> Any:
        if where.endswith(kept_out):
            raise stores.ConnectionLost(f"{where} can't be written.")
        return answered(where, ask, writes)

    with monkeypatch.context() as patch:
        patch.setattr("starft.runs.remote_folder.answer", lost)
        run.copy_or_tell()
    assert capsys.readouterr().err == (
        f"Warning: {address}/best.ckpt can't be written. The copy is tried again at the next checkpoint.\n"
    )
    other = elsewhere(address, monkeypatch, cache)
    assert (other.folder / "best.ckpt").read_bytes() == b"zero"
    assert len(read_manifest(other.folder)["files"]["best.ckpt"]) >= 3
    run.copy()
    other.fetch()
    assert stored_of(other.folder) == stored_of(run.folder)
    assert (other.folder / "best.ckpt").read_bytes() == b"three"


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("changes", range(7))
def test_the_same_machine_goes_on_after_a_kill_in_a_copy(
    address: str, monkeypatch: pytest.MonkeyPatch, changes: int, written: bool
) -> None:
    run = RemoteFolder(address)
    write(run.folder, {UNFINISHED: "{}", "config.yaml": "a", "old.csv": "x", "logs/m.csv": "1"})
    replace_listed_file(run.folder / "last.ckpt", b"one", run.folder)
    run.copy()
    replace_listed_file(run.folder / "last.ckpt", b"two, longer", run.folder)
    write(run.folder, {"logs/m.csv": "1, 2", "results.json": "{}"})
    (run.folder / "old.csv").unlink()
    (run.folder / UNFINISHED).unlink()
    killed(monkeypatch, run, changes, written)

    replace_listed_file(run.folder / "last.ckpt", b"three, longer still", run.folder)
    write(run.folder, {"logs/m.csv": "1, 2, 3"})
    again = RemoteFolder(address)
    again.fetch()
    again.copy()
    assert stored(address) == stored_of(run.folder)
    assert (run.folder / "last.ckpt").read_bytes() == b"three, longer still"


class Killed(BaseException):
    """The process is gone."""


def killed(monkeypatch: pytest.MonkeyPatch, run: RemoteFolder, changes: int, written: bool) -> None:
    """Let a copy be cut short by a kill, so many changes of the store after its beginning."""
    answered, left = stores.answer, iter([*[True] * changes, False])

    def cut_short(where: str, ask: Any, writes: bool = False) -> Any:
        goes_on = not writes or next(left)
        result = answered(where, ask, writes) if goes_on or written else None
        if not goes_on:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(remote_folder, "answer", cut_short)
        with pytest.raises(Killed):
            run.copy()


def test_a_copy_that_was_cut_short_leaves_what_another_machine_wrote(
    address: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "last.ckpt": "one", "logs/m.csv": "1"})
    run.copy()
    write(run.folder, {"config.yaml": "b", "last.ckpt": "two", "logs/m.csv": "2"})
    killed(monkeypatch, run, 1, written=False)  # at last.ckpt
    store().pipe_file(f"{address}/logs/m.csv", b"theirs")
    with pytest.raises(RunFolderError, match=rf"^Another machine has written to {address} \(logs/m.csv\), so nothing"):
        run.copy()
    assert stored(address)["logs/m.csv"] == b"theirs"
    with pytest.raises(
        RunFolderError, match=r" went on apart from each other \(last.ckpt, logs/m.csv\); move the local"
    ):
        run.fetch()


def test_a_local_copy_that_was_emptied_is_fetched_again(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RemoteFolder(address)
    files = {"config.yaml": "a", "logs/m.csv": "1", "results.json": "{}", "samples/1.png": "x", UNFINISHED: "{}"}
    write(run.folder, files)
    run.copy()
    for emptied in range(len(files) + 1):
        shutil.rmtree(run.folder)
        if emptied % 2 == 0:
            run.folder.mkdir()
        fetched, left = remote.fetch, iter([*[True] * emptied, False])

        def cut_short(file: Any, fetched: Any = fetched, left: Iterator[bool] = left) -> Path:
            if not next(left):
                raise Killed
            path: Path = fetched(file)
            return path

        with monkeypatch.context() as patch, suppress(Killed):
            patch.setattr(remote_folder, "fetch", cut_short)
            patch.setattr(RemoteFolder, "_remember", forgetful(RemoteFolder._remember))
            run.fetch()
        run.fetch()
        run.copy()
        assert stored(address) == stored_of(run.folder)
        assert stored(address).keys() == files.keys()


def forgetful(remember: Any) -> Any:
    """Keep a record from being written after a kill."""

    def write(run: RemoteFolder, known: Any) -> None:
        if not isinstance(sys.exception(), Killed):
            remember(run, known)

    return write


def test_what_the_run_removed_is_not_fetched_again(address: str) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "logs/m.csv": "1", UNFINISHED: "{}"})
    run.copy()
    (run.folder / UNFINISHED).unlink()
    run.fetch()
    assert not (run.folder / UNFINISHED).exists()
    (run.folder / "logs" / "m.csv").rename(run.folder / "logs" / "m-1.csv")
    run.fetch(first=False)  # by a later process of the same run
    assert stored_of(run.folder) == {"config.yaml": b"a", "logs/m-1.csv": b"1"}
    run.copy()
    assert stored(address) == stored_of(run.folder)


def test_one_command_at_a_time_fetches_and_copies(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, section = RemoteFolder(address), {"ckpt_path": None}
    locked: list[bool] = []
    for name in ("fetch", "copy"):
        monkeypatch.setattr(RemoteFolder, name, noting(getattr(RemoteFolder, name), locked))
    with ExitStack() as at_end:
        run.begin(section, at_end, first=True, trial=False)
        with ExitStack() as other, pytest.raises(RunFolderError, match=r"^Another starft is at work in "):
            RemoteFolder(address).begin(section, other, first=True, trial=False)
        write(run.folder, {"config.yaml": "a"})
    assert locked == [True, True]
    assert stored(address) == {"config.yaml": b"a"}
    assert not (run.folder / LOCK).exists()


def noting(method: Any, locked: list[bool]) -> Any:
    """Note whether the run folder is locked when a method is called."""

    def called(self: RemoteFolder, *args: Any) -> None:
        locked.append((self.folder / LOCK).exists())
        method(self, *args)

    return called


def test_a_linked_folder_is_copied_and_one_that_leads_nowhere_removes_nothing(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, disk = RemoteFolder(address), tmp_path / "disk"
    write(disk, {"last.ckpt": "one"})
    write(run.folder, {"config.yaml": "a", "logs/m.csv": "1"})
    (run.folder / "checkpoints").symlink_to(disk)
    (run.folder / "latest").symlink_to(run.folder / "logs")
    run.copy()
    expected = {"config.yaml": b"a", "logs/m.csv": b"1", "checkpoints/last.ckpt": b"one"}
    assert stored(address) == expected
    (disk / "last.ckpt").unlink()
    run.fetch()
    assert (disk / "last.ckpt").read_bytes() == b"one"
    shutil.rmtree(disk)
    run.copy_or_tell()
    assert capsys.readouterr().err == (
        f"Warning: The local copy {run.folder} of {address} can't be used: the link leads nowhere "
        f"({run.folder / 'checkpoints'}); check that disk. The copy is tried again at the next checkpoint.\n"
    )
    assert stored(address) == expected


def test_a_full_disk_ends_no_training_and_is_told_at_its_end(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RemoteFolder(address)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def command(error: BaseException | None) -> None:
        with monkeypatch.context() as patch, ExitStack() as at_end:
            run.begin({"ckpt_path": None}, at_end, first=True, trial=False)
            write(run.folder, {"config.yaml": "a"})
            patch.setattr(remote_folder, "replace_file", full)
            run.copy_or_tell()
            if error is not None:
                raise error

    copy, why = f"The local copy {run.folder} of {address}", f"No space left on device ({run.folder}.json)"
    problem = f"{copy} can't be used: {why}; check that disk."
    rest = f"in {run.folder}; its next command copies what is missing."
    with pytest.raises(RunFolderError) as caught:
        command(None)
    assert str(caught.value) == f"{problem} The run has ended, and is whole {rest}"
    with pytest.raises(KeyboardInterrupt):
        command(KeyboardInterrupt())
    *_, first, last = capsys.readouterr().err.splitlines()
    assert first == f"Warning: {problem} The copy is tried again at the next checkpoint."
    assert last == f"Warning: {problem} What the run has is {rest}"


def test_a_local_file_that_cannot_be_read_is_no_fault_of_the_store(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "gone.csv": "1", "last.ckpt": "one"})
    listed, opened = RemoteFolder._here, Path.open

    def vanishing(self: RemoteFolder) -> dict[str, list[int]]:
        here = listed(self)
        (self.folder / "gone.csv").unlink(missing_ok=True)
        return here

    def closed(self: Path, *args: Any, **options: Any) -> Any:
        if self.name != "last.ckpt":
            return opened(self, *args, **options)
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(RemoteFolder, "_here", vanishing)
    run.copy()
    assert stored(address) == {"config.yaml": b"a", "last.ckpt": b"one"}
    write(run.folder, {"last.ckpt": "two, longer"})
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(DataError) as caught:
        run.copy()
    last = run.folder / "last.ckpt"
    assert (
        str(caught.value)
        == f"The local copy {run.folder} of {address} can't be used: Permission denied ({last}); check that disk."
    )


def test_what_is_left_uncopied_at_the_end_is_an_error(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    run, section = RemoteFolder(address), {"ckpt_path": f"{address}/checkpoints/last.ckpt"}

    def command(statuses: list[int]) -> None:
        with faulty("PUT") as faults, ExitStack() as at_end:
            run.begin(section, at_end, first=True, trial=False)
            write(run.folder, {"config.yaml": "a"})
            faults.statuses += statuses

    with pytest.raises(RunFolderError) as caught:
        command([503, 503])
    assert section["ckpt_path"] == str(run.folder / "checkpoints" / "last.ckpt")
    assert str(caught.value).startswith(f"{address}/config.yaml can't be written: ")
    assert str(caught.value).endswith(
        f" The run has ended, and is whole in {run.folder}; its next command copies what is missing."
    )
    command([])
    assert stored(address) == {"config.yaml": b"a"}


def test_two_machines_that_go_on_apart_are_told(address: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "last.ckpt": "one", UNFINISHED: "{}", "logs/m.csv": "1"})
    run.copy()
    other = elsewhere(address, monkeypatch, cache)
    assert stored_of(other.folder) == stored_of(run.folder)
    write(other.folder, {"last.ckpt": "two"})
    (other.folder / UNFINISHED).unlink()
    other.copy()
    write(run.folder, {"logs/m.csv": "1, 2"})
    with pytest.raises(RunFolderError, match=rf"^Another machine has written to {address} \(last.ckpt\), so nothing"):
        run.copy()
    run.fetch()
    assert stored_of(run.folder) == stored_of(other.folder) | {"logs/m.csv": b"1, 2"}
    run.copy()
    write(other.folder, {"logs/m.csv": "1, 3"})
    with pytest.raises(RunFolderError) as caught:
        other.fetch()
    assert str(caught.value) == (
        f"{address} and its local copy {other.folder} went on apart from each other (logs/m.csv); move the local copy "
        "away to go on with the store's, or give another --trainer.default_root_dir."
    )
    write(other.folder, {"logs/m.csv": "1, 2"})
    other.fetch()  # the same, whoever wrote it


def test_a_local_copy_that_went_on_apart_stays_as_it_is(
    address: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its best.ckpt is the only one of its run: the store has another training's."""
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "best.ckpt": "one", "last.ckpt": "one", "results.json": "{}"})
    run.copy()
    other = elsewhere(address, monkeypatch, cache)
    write(other.folder, {"best.ckpt": "theirs", "last.ckpt": "theirs"})
    (other.folder / "results.json").rename(other.folder / "results-1.json")
    other.copy()
    write(run.folder, {"last.ckpt": "ours"})
    before = stored_of(run.folder)
    with pytest.raises(RunFolderError, match=r" went on apart from each other \(last.ckpt\); move the local copy away"):
        run.fetch()
    assert stored_of(run.folder) == before


def test_what_is_written_while_it_is_fetched_is_told(
    address: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "last.ckpt": "one", "logs/m.csv": "1"})
    run.copy()
    fetched = remote.fetch

    def meanwhile(file: Any) -> Path:
        if file.address.endswith("m.csv") and (run.folder / "last.ckpt").read_text() == "one":
            write(run.folder, {"last.ckpt": "two", "logs/m.csv": "1, 2"})
            run.copy()
        path: Path = fetched(file)
        return path

    monkeypatch.setattr(remote_folder, "fetch", meanwhile)
    with pytest.raises(DataError) as caught:
        elsewhere(address, monkeypatch, cache)
    assert str(caught.value) == (
        f"Another machine wrote to {address} while its files were fetched (last.ckpt, logs/m.csv), which don't belong "
        "together now; run the command again when that has ended."
    )
    other = elsewhere(address, monkeypatch, cache)
    assert stored_of(other.folder) == stored_of(run.folder)


def test_what_was_cleared_during_the_run_stays_in_the_store(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "checkpoints/best.ckpt": "one", "checkpoints/last.ckpt": "one"})
    run.copy()
    before = stored(address)
    shutil.rmtree(run.folder)
    write(run.folder, {"checkpoints/last.ckpt": "two", "logs/m.csv": "2"})
    run.copy_or_tell()
    assert capsys.readouterr().err == (
        f"Warning: Somebody has cleared {run.folder} (checkpoints/best.ckpt, config.yaml), so nothing more is copied "
        f"from there to {address}, which stays as it is; end the run, move what is left of that folder away, and go on "
        "from the store's last checkpoint. The copy is tried again at the next checkpoint.\n"
    )
    assert stored(address) == before


def test_what_a_user_put_beside_a_run_stays_and_holds_nothing_up(address: str) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "last.ckpt": "one", "notes.md": "mine"})
    run.copy()
    store().pipe_file(f"{address}/about.md", b"theirs")
    store().pipe_file(f"{address}/notes.md", b"theirs")
    write(run.folder, {"last.ckpt": "two"})
    (run.folder / "notes.md").unlink()
    run.copy()
    expected = {"config.yaml": b"a", "last.ckpt": b"two", "about.md": b"theirs", "notes.md": b"theirs"}
    assert stored(address) == expected
    run.fetch()
    assert stored_of(run.folder) == expected

    store().pipe_file(f"{address}/notes.md", b"theirs, again")
    write(run.folder, {"notes.md": "ours, again"})
    with pytest.raises(RunFolderError, match=rf"^Another machine has written to {address} \(notes.md\), so nothing"):
        run.copy()


def test_a_run_that_was_removed_from_the_store_is_not_copied_there_again(address: str) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "last.ckpt": "one"})
    run.copy()
    store().rm(address, recursive=True)
    with ExitStack() as at_end, pytest.raises(RunFolderError) as caught:
        run.begin({"ckpt_path": None}, at_end, first=True, trial=False)
    record = run.folder.with_name(f"{run.folder.name}.json")
    assert str(caught.value) == (
        f"{address} is empty, though its run was copied there from {run.folder}; move that folder away to begin anew, "
        f"or delete {record} to have it copied there again."
    )
    assert stored(address) == {}
    away = run.folder.rename(run.folder.with_name("away"))
    run.fetch()
    assert not run.folder.exists()

    away.rename(run.folder)
    record.unlink()
    run.fetch()
    run.copy()
    assert stored(address) == stored_of(run.folder)


@pytest.mark.parametrize("name", ["../b/x.csv", "/root.csv", "logs//m.csv", "logs/./m.csv"])
def test_a_name_that_leads_out_of_the_folder_is_refused(address: str, name: str) -> None:
    run = RemoteFolder(address)
    store().pipe_file(f"{address}/config.yaml", b"a")
    bucket, _, folder = address.removeprefix("s3://").partition("/")
    store().call_s3("put_object", Bucket=bucket, Key=f"{folder}/{name}", Body=b"x")
    with pytest.raises(RunFolderError) as caught:
        run.fetch()
    assert str(caught.value) == (
        f"{address} holds {name!r}, which can't be the name of a file in a folder; remove it there."
    )
    assert not (run.folder / "config.yaml").exists()


def test_a_checkpoint_that_another_process_lacks_is_fetched(address: str) -> None:
    run = RemoteFolder(address)
    write(run.folder, {"config.yaml": "a", "checkpoints/last.ckpt": "one", "logs/m.csv": "1"})
    run.copy()
    for name in ("checkpoints/last.ckpt", "logs/m.csv"):
        (run.folder / name).unlink()
    run.fetch(first=False)
    assert stored_of(run.folder) == {"config.yaml": b"a", "checkpoints/last.ckpt": b"one"}


def test_a_folder_of_something_else_is_refused(address: str) -> None:
    store().pipe_file(f"{address}/photos/1.jpg", b"x")
    with pytest.raises(RunFolderError, match=rf"^{address} holds other files than a run's \(photos/1.jpg\); give an"):
        RemoteFolder(address).fetch()


def test_the_folder_that_was_given_is_what_is_saved() -> None:
    config = ROOT / "lightning_configs" / "mini" / "starft.yaml"
    cli = build(["test", f"--config={config}", "--trainer.default_root_dir=null"])
    assert load_yaml(cli.resolved_config)["trainer"]["default_root_dir"] is None


def test_verbs_that_read_files_say_what_to_do(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["report", "s3://bucket/runs/a"], ["export", "s3://bucket/runs/a", "--to", str(cache / "out")]):
        assert main(words) == 2
        assert capsys.readouterr().err.splitlines()[-1] == (
            "starft: s3://bucket/runs/a is remote; copy it to this machine, or give its run's local copy, which lies "
            f"in {cache / 'runs'}."
        )


@pytest.mark.parametrize(
    "words",
    [
        ["export", "m.ckpt", "--to=s3://bucket/m"],
        ["report", "run", "--out=s3://bucket/m"],
        ["init", "photos", "--out=s3://bucket/m"],
        ["audit", "data", "--config=c.yaml", "--out=s3://bucket/m"],
    ],
)
def test_verbs_that_write_files_write_none_called_as_a_scheme(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    option = words[-1].partition("=")[0]
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"starft: {option} s3://bucket/m is remote, and this command writes to this machine; give a path here, and "
        "copy what is there when the command has ended."
    )
    assert not [*tmp_path.iterdir()]
