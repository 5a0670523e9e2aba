"""A part of a run isn't taken for the whole: it is marked and told, and going on does all that is left."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer

from fakes.small_training import Killed, SmallModule, last_of, train
from starft.errors import ConfigError, Stopped
from starft.runs.ending import MarkUnfinished, read_early_stopping
from starft.runs.layout import EARLY, UNFINISHED
from starft.runs.limits import check_limits, limits
from starft.training.stopping import TIMED_OUT, StopSafely

pytestmark = pytest.mark.filterwarnings(
    "ignore:Checkpoint directory", "ignore:When using `Trainer", "ignore:`ModelCheckpoint"
)


def weights(folder: Path, name: str = "last") -> dict[str, Any]:
    held = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return {key: held[key] for key in ("state_dict", "optimizer_states", "global_step", "epoch")}


def same(folder: Path, reference: Path, *names: str) -> None:
    for name in names or ("last", "best"):
        ours, theirs = weights(folder, name), weights(reference, name)
        torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=0, atol=0)
        assert (ours["global_step"], ours["epoch"]) == (theirs["global_step"], theirs["epoch"]), name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, SmallModule]]:
    """The folder and the module of a run that nothing stopped, made when first asked for."""
    made: dict[str, tuple[Path, SmallModule]] = {}

    def run(**options: Any) -> tuple[Path, SmallModule]:
        key = str(options)
        if key not in made:
            folder = tmp_path_factory.mktemp("whole")
            made[key] = folder, train(folder, **options)[0]
        return made[key]

    return run


class AtStep(Callback):
    """Does something after a step, once."""

    def __init__(self, step: int, does: Callable[[L.Trainer], None]) -> None:
        self.step, self.does = step, does

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            self.does(trainer)


def ask_to_stop(trainer: L.Trainer) -> None:
    trainer.should_stop = True


def end_time(trainer: L.Trainer) -> None:
    (stop,) = (one for one in trainer.callbacks if isinstance(one, StopSafely))  # type: ignore[attr-defined]
    stop._deadline = time.monotonic()


# A run stopped in an epoch trains the rest of it


@pytest.mark.slow
@pytest.mark.parametrize("step", [6, 8], ids=["in-its-middle", "at-its-end"])
@pytest.mark.parametrize("how", ["max_steps", "should_stop", "max_time"])
def test_a_run_stopped_in_an_epoch_trains_the_rest_of_it(
    how: str, step: int, undisturbed: Callable[..., tuple[Path, SmallModule]], tmp_path: Path
) -> None:
    reference, whole = undisturbed()
    run = tmp_path / "run"
    if how == "max_steps":
        first, _ = train(run, max_steps=step)
        assert not (run / UNFINISHED).exists(), "this end was planned"
    elif how == "should_stop":
        first, _ = train(run, AtStep(step, ask_to_stop))
        assert json.loads((run / UNFINISHED).read_text(encoding="utf-8")) == {"step": step, "steps": 12}
    else:
        first = SmallModule()
        with pytest.raises(Stopped, match=rf"after step {step} of 12, as trainer.max_time is over; continue") as stop:
            train(run, AtStep(step, end_time), module=first, max_time="00:01:00:00")
        assert stop.value.status == TIMED_OUT
        assert json.loads((run / UNFINISHED).read_text(encoding="utf-8")) == {"step": step, "steps": 12}
    rest, _ = train(run, goes_on=True)
    assert first.trained + rest.trained == whole.trained
    assert not (run / UNFINISHED).exists()
    same(run, reference, *(["last"] if how == "should_stop" else []))  # Lightning validates where it is asked to stop


def test_max_time_is_that_of_a_process(tmp_path: Path) -> None:
    """Lightning's own timer would go on from the time of the first part, and end at once."""
    for steps in (1, 2):
        with pytest.raises(Stopped, match=f"after step {steps} of 12"):
            train(tmp_path, max_time="00:00:00:00", goes_on=steps > 1)


def test_a_timer_of_a_config_is_told_too(tmp_path: Path) -> None:
    timer = Timer(duration="00:01:00:00")
    with pytest.raises(Stopped, match="after step 3 of 12"):
        train(tmp_path, timer, AtStep(3, end_time))


def test_gradients_that_wait_for_more_batches_are_not_lost(
    undisturbed: Callable[..., tuple[Path, SmallModule]], tmp_path: Path
) -> None:
    reference, whole = undisturbed(accumulate_grad_batches=2)
    first = SmallModule()

    class InTheMiddle(Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.fit_loop.total_batch_idx == 4:  # the first of two batches
                end_time(trainer)

    with pytest.raises(Stopped, match="after step 3 of 6"):
        train(tmp_path / "run", InTheMiddle(), module=first, accumulate_grad_batches=2)
    rest, _ = train(tmp_path / "run", goes_on=True, accumulate_grad_batches=2)
    assert first.trained + rest.trained == whole.trained
    same(tmp_path / "run", reference)


# Killed in a validation


class KilledInValidation(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == self.step:
            raise Killed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "options"),
    [
        (8, {}),
        (12, {}),
        (8, {"check_val_every_n_epoch": 2}),
        (6, {"val_check_interval": 2}),
        (6, {"val_check_interval": 6, "check_val_every_n_epoch": None}),
    ],
)
def test_killed_in_a_validation_a_run_validates_anew(
    step: int, options: dict[str, Any], undisturbed: Callable[..., tuple[Path, SmallModule]], tmp_path: Path
) -> None:
    reference, whole = undisturbed(**options)
    run, first = tmp_path / "run", SmallModule()
    with pytest.raises(Killed):
        train(run, KilledInValidation(step), module=first, every_n_train_steps=2, **options)
    assert weights(run)["global_step"] == step
    rest, _ = train(run, goes_on=True, every_n_train_steps=2, **options)
    assert first.trained + rest.trained == whole.trained
    assert [*first.validated, *rest.validated] == whole.validated
    same(run, reference)


def test_a_checkpoint_where_no_validation_is_due_begins_the_next_epoch(
    undisturbed: Callable[..., tuple[Path, SmallModule]], tmp_path: Path
) -> None:
    options = {"check_val_every_n_epoch": 2}
    _, whole = undisturbed(**options)

    def kill(trainer: L.Trainer) -> None:
        trainer.save_checkpoint(last_of(tmp_path / "run"))
        raise Killed

    first = SmallModule()
    with pytest.raises(Killed):
        train(tmp_path / "run", AtStep(4, kill), module=first, **options)
    rest, _ = train(tmp_path / "run", goes_on=True, **options)
    assert first.trained + rest.trained == whole.trained
    assert rest.validated == whole.validated


# Early stopping


def test_early_stopping_is_told_and_gone_on_from_with_more_patience(
    undisturbed: Callable[..., tuple[Path, SmallModule]], tmp_path: Path
) -> None:
    options = {"val_check_interval": 2}
    reference, whole = undisturbed(**options)
    run = tmp_path / "run"
    first, trainer = train(run, EarlyStopping("val/id/acc", mode="max", patience=2), **options)
    assert not (run / UNFINISHED).exists()
    (mark,) = (one for one in trainer.callbacks if isinstance(one, MarkUnfinished))  # type: ignore[attr-defined]
    step, message = read_early_stopping(last_of(run))
    assert step == trainer.global_step < 12
    assert message == mark.message
    assert message.startswith(f"Early stopping ended the training after step {step} of 12: ")
    assert "val/id/acc" in message
    assert "Signaling" not in message
    rest, _ = train(run, EarlyStopping("val/id/acc", mode="max", patience=99), goes_on=True, **options)
    assert first.trained + rest.trained == whole.trained
    assert [*first.validated, *rest.validated] == whole.validated
    assert not (run / EARLY).exists()
    assert read_early_stopping(last_of(run)) == (-1, "")
    same(run, reference)


# Options that thin a run, or leave it nothing


def test_options_that_thin_a_run_are_told() -> None:
    trainer = {"limit_train_batches": 0.5, "limit_val_batches": 1, "limit_test_batches": 3}
    assert [note.split(":")[0] for note in limits(trainer, "fit")] == [
        "trainer.limit_train_batches is 0.5",
        "trainer.limit_val_batches is 1",
    ]
    assert limits(trainer, "test") == ["trainer.limit_test_batches is 3: the test is of a part of its data."]
    assert limits({"limit_train_batches": 1.0, "limit_val_batches": None}, "fit") == []


@pytest.mark.parametrize(
    ("verb", "trainer", "message"),
    [
        ("fit", {"max_epochs": 0}, "trainer.max_epochs is 0, so there is nothing to train; run `starft test`."),
        ("fit", {"max_steps": 0}, "trainer.max_steps is 0, so there is nothing to train; run `starft test`."),
        ("fit", {"limit_train_batches": 0}, "trainer.limit_train_batches is 0, so there is nothing to train"),
        ("test", {"limit_test_batches": 0.0}, "trainer.limit_test_batches is 0, so there is nothing to score"),
        ("predict", {"limit_predict_batches": 0}, "there is nothing to predict; leave it out"),
        ("fit", {"max_epochs": -1, "max_steps": -1}, "The run has no end, and the learning rate falls"),
        ("fit", {"max_epochs": None, "max_time": "00:01:00:00"}, "The run has no end"),
    ],
)
def test_a_command_with_nothing_to_do_is_refused(verb: str, trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_limits(trainer, verb)
    check_limits({**trainer, "max_epochs": 2, "max_steps": 3, **dict.fromkeys(trainer.keys() - {"max_time"}, 1)}, verb)
