"""Run folders: claimed once, never overwritten, given back when a run was refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import pytest

from starft.errors import ConfigError, RunFolderError
from starft.runs.ending import MarkUnfinished
from starft.runs.folder import Traces, check_writable, claim, save_config
from starft.runs.kept_checkpoints import BestCheckpoint, check_monitor, checkpoint_callbacks
from starft.runs.layout import UNFINISHED
from starft.types import EvalSet


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def a_run(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(b"weights")
    (folder / "config.yaml").write_text("a: 1\n", encoding="utf-8")
    return last


def test_a_new_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    claim(folder, None)
    assert list(folder.iterdir()) == []
    claim(folder, None)  # an empty folder may be claimed again


def test_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    last = a_run(tmp_path / "run")
    before = listing(tmp_path)
    with pytest.raises(RunFolderError, match=r"isn't empty; .*move it away, or continue it with --ckpt_path ") as error:
        claim(tmp_path / "run", None)
    assert str(last) in str(error.value)
    assert listing(tmp_path) == before


def test_strange_files_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError) as error:
        claim(tmp_path, None)
    assert str(error.value) == (  # there is nothing to continue
        f"The run folder {tmp_path} isn't empty; give another --trainer.default_root_dir, or move it away."
    )
    assert listing(tmp_path) == {"notes.txt": b"mine"}


def test_a_run_is_continued_in_its_own_folder_alone(tmp_path: Path) -> None:
    last, other = a_run(tmp_path / "run"), a_run(tmp_path / "other")
    before = listing(tmp_path)
    claim(tmp_path / "run", last)
    assert listing(tmp_path) == before
    with pytest.raises(RunFolderError, match="isn't empty"):
        claim(tmp_path / "run", other)
    claim(tmp_path / "new", last)  # a run may be continued into a new folder
    assert (tmp_path / "new").is_dir()


def test_a_run_is_known_by_another_spelling_of_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = a_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    before = listing(tmp_path)
    claim(Path("run"), last)
    claim(tmp_path / "run", Path("run/../run/checkpoints/last.ckpt"))
    assert listing(tmp_path) == before


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"is a file; give another --trainer\.default_root_dir"):
        claim(path, None)
    assert path.read_text(encoding="utf-8") == "mine"


def test_what_cant_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"file/run can't be written to: Not a directory; give another"):
        check_writable(tmp_path / "file" / "run")


def test_the_config_is_saved_and_a_different_one_is_kept(tmp_path: Path) -> None:
    assert save_config(tmp_path, "a: 1\n").name == "config.yaml"
    assert save_config(tmp_path, "a: 1\n").name == "config.yaml", "the same again needs no second file"
    assert save_config(tmp_path, "a: 2\n").name == "config-2.yaml"
    assert save_config(tmp_path, "a: 3\n").name == "config-3.yaml"
    assert save_config(tmp_path, "a: 2\n").name == "config-2.yaml"
    assert listing(tmp_path) == {"config.yaml": b"a: 1\n", "config-2.yaml": b"a: 2\n", "config-3.yaml": b"a: 3\n"}


def refused_run(folder: Path) -> Traces:
    """What a run makes before it is refused."""
    traces = Traces(folder)
    number = len(list((folder / "logs").glob("*")))
    (folder / "logs" / f"version_{number}").mkdir(parents=True)
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "logs" / f"version_{number}" / "hparams.yaml").write_text("lr: 1\n", encoding="utf-8")
    save_config(folder, "a: 2\n")
    save_config(folder, "{}", "pool.json")
    return traces


def test_a_refused_run_takes_back_what_it_made_and_the_folders_above(tmp_path: Path) -> None:
    refused_run(tmp_path / "runs" / "csv" / "ce").remove()
    assert list(tmp_path.iterdir()) == [], "runs/ and runs/csv/ are its own too"
    (tmp_path / "runs").mkdir()
    refused_run(tmp_path / "runs" / "csv" / "ce").remove()
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"], "this one was there before"


def test_a_refused_run_leaves_an_earlier_one_alone(tmp_path: Path) -> None:
    """As a test or a continued run does: its second log and second config go, the first stay."""
    a_run(tmp_path)
    (tmp_path / "logs" / "version_0").mkdir(parents=True)
    (tmp_path / "logs" / "version_0" / "metrics.csv").write_text("work", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    traces = refused_run(tmp_path)
    assert (tmp_path / "config-2.yaml").is_file()
    assert (tmp_path / "logs" / "version_1" / "hparams.yaml").is_file()
    traces.remove()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kept", ["checkpoints/last.ckpt", "logs/version_0/metrics.csv"])
def test_a_run_that_has_begun_is_never_taken_back(kept: str, tmp_path: Path) -> None:
    traces = refused_run(tmp_path / "run")
    (tmp_path / "run" / kept).write_bytes(b"work")
    before = listing(tmp_path)
    traces.remove()
    assert listing(tmp_path) == before


@pytest.mark.parametrize("saved", [False, True])
def test_a_mistake_found_after_steps_takes_the_log_too_unless_something_is_saved(saved: bool, tmp_path: Path) -> None:
    """As an image does that can't be read: the same command must work when it is mended."""
    traces = refused_run(tmp_path / "run")
    (tmp_path / "run" / "logs" / "version_0" / "metrics.csv").write_bytes(b"three steps")
    (tmp_path / "run" / UNFINISHED).write_text("{}", encoding="utf-8")
    if saved:
        (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"work")
    before = listing(tmp_path)
    traces.remove(logs=True)
    assert listing(tmp_path) == (before if saved else {})


class Steps:
    """Stands in for a trainer."""

    is_global_zero, global_step, max_epochs, should_stop = True, 5, -1, False

    def __init__(self, planned: float) -> None:
        self.estimated_stepping_batches = planned


@pytest.mark.parametrize(("planned", "steps"), [(9, 9), (float("inf"), None)])
def test_a_training_is_marked_until_it_ends(planned: float, steps: int | None, tmp_path: Path) -> None:
    mark, trainer = MarkUnfinished(tmp_path), cast(Any, Steps(planned))
    mark.on_exception(trainer, trainer, ConfigError("refused before it began"))
    assert listing(tmp_path) == {}
    (tmp_path / UNFINISHED).write_text("of an earlier process")  # a run that goes on may be refused before it is set up
    mark.on_exception(cast(Any, None), trainer, ConfigError("an image is gone"))
    assert listing(tmp_path) == {UNFINISHED: b"of an earlier process"}
    mark.on_train_start(trainer, trainer)
    assert json.loads(listing(tmp_path)[UNFINISHED]) == {"step": None, "steps": steps}
    mark.on_exception(trainer, trainer, KeyboardInterrupt())
    assert json.loads(listing(tmp_path)[UNFINISHED]) == {"step": 5, "steps": steps}
    mark.on_train_end(trainer, trainer)
    assert json.loads(listing(tmp_path)[UNFINISHED]) == {"step": 5, "steps": steps}, "it ended before its last step"
    trainer.estimated_stepping_batches = 5
    mark.on_train_end(trainer, trainer)
    assert listing(tmp_path) == {}


def test_what_isnt_a_runs_stays_when_it_is_taken_back(tmp_path: Path) -> None:
    traces = refused_run(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine", encoding="utf-8")
    traces.remove()
    assert listing(tmp_path) == {"run/notes.txt": b"mine"}


def test_last_and_best_checkpoints_are_kept_by_name(tmp_path: Path) -> None:
    alone = checkpoint_callbacks(tmp_path, None, "max", None)
    assert [callback.filename for callback in alone] == ["last"]
    all_three = checkpoint_callbacks(tmp_path, "val/id/acc", "min", 5)
    assert [callback.filename for callback in all_three] == ["best", "last", "last"], (
        "last.ckpt knows the best of its epoch"
    )
    assert [callback.monitor for callback in all_three] == ["val/id/acc", None, None]
    assert all_three[0].mode == "min"
    assert {Path(callback.dirpath) for callback in all_three} == {tmp_path / "checkpoints"}


def test_a_monitor_of_a_set_that_is_not_validated_is_refused_with_what_to_set() -> None:
    for monitor in (None, "val/far/acc", "val/ood_acc", "train/loss", "val/far/ac"):  # the last: told with all metrics
        check_monitor(monitor, ["far"])
    for validated, sentence in (
        (["far"], "the validation set is called far; give --checkpoint.monitor val/far/worst_group_acc, or null."),
        (["a", "b"], "the validation sets are called a, b; give --checkpoint.monitor val/a/worst_group_acc, or null."),
        ([], "nothing is validated; give null."),
    ):
        with pytest.raises(ConfigError) as error:
            check_monitor("val/id/worst_group_acc", validated)
        assert str(error.value) == f"checkpoint.monitor is 'val/id/worst_group_acc', but {sentence}"


def test_the_monitor_is_looked_at_before_anything_is_trained(tmp_path: Path) -> None:
    """Also where no trial validation would show it."""
    best, *_ = checkpoint_callbacks(tmp_path, "val/id/acc", "max", None)
    data = SimpleNamespace(val_sets=[EvalSet("far", ("boot", "sandal"), ("a {}",))])
    trainer: Any = SimpleNamespace(datamodule=data)
    with pytest.raises(ConfigError, match="the validation set is called far"):
        best.setup(trainer, L.LightningModule(), "fit")


@pytest.mark.parametrize(
    ("limit", "every", "batches", "told"),
    [
        (
            0,
            1,
            30,
            "nothing is validated where trainer.limit_val_batches is 0; leave it out, or set check",
        ),
        (1.0, 4, 30, "trainer.check_val_every_n_epoch is 4 and it had 3 whole epochs; set it to at most 3, or train"),
        (1.0, 4, 19, "trainer.check_val_every_n_epoch is 4 and it had 1 whole epoch; set it to at most 1, or train"),
        (1.0, None, 30, "after 30 batches; set trainer.val_check_interval to at most 30, or train longer."),
        (1.0, 1, 9, "after 9 batches; set trainer.val_check_interval to at most 9, or train longer."),
        (
            1.0,
            4,
            1,
            "after 1 batch; set trainer.check_val_every_n_epoch to 1 and trainer.val_check_interval to at most",
        ),
    ],
)
def test_why_there_is_no_best_checkpoint(limit: float, every: int | None, batches: int, told: str) -> None:
    """Of epochs of 10 batches."""
    loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=batches - 1))
    trainer: Any = SimpleNamespace(
        limit_val_batches=limit, check_val_every_n_epoch=every, num_training_batches=10, fit_loop=loop
    )
    sentence = BestCheckpoint(monitor="val/id/acc").why_none(trainer)
    assert sentence.startswith("There is no best.ckpt: ")
    assert told in sentence


def test_a_metric_where_nothing_is_validated() -> None:
    trainer: Any = SimpleNamespace(callback_metrics={})
    with pytest.raises(ConfigError, match=r"is 'val/id/acc', but the data hold nothing to validate on; give them"):
        BestCheckpoint(monitor="val/id/acc").on_sanity_check_end(trainer, trainer)
