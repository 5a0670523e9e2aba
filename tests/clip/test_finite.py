"""NaN and infinity stop a training at once, and no door lets weights that hold one in or out."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from safetensors.torch import load_file, save_file

from fakes import checkpoints
from fakes.small_training import SmallModule, last_of, train
from starft import load
from starft.__main__ import main
from starft.callbacks import DFR, JTT
from starft.clip.build import build_clip
from starft.clip.finite import LossWatch, first_not_finite, tensors_in
from starft.clip.model_names import MINI_FOLDER
from starft.errors import ConfigError, NotFiniteError, WeightsError
from starft.evaluation.evaluator import Evaluator
from starft.files.digests import write_sums
from starft.inference.classifier import Classifier
from starft.inference.run_writer import _rows
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import check_checkpoint
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.runs.results import read_results
from starft.training.averaging import read_member, write_averaged
from starft.training.probe import rows_of
from starft.types import EvalSet

NAN, INF = float("nan"), float("inf")
pytestmark = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:`ModelCheckpoint")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_the_first_tensor_that_is_not_finite(bad: float) -> None:
    held = {
        "a": [torch.ones(2), torch.tensor([3])],
        "b": {"c": torch.tensor([1.0, bad]), "d": torch.tensor(bad)},
        "e": 1,
    }
    assert [name for name, _ in tensors_in(held)] == ["a.0", "a.1", "b.c", "b.d"]
    assert first_not_finite(tensors_in(held)) == "b.c"
    assert first_not_finite(tensors_in({"a": held["a"], "empty": torch.ones(0)})) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_numbers_are_finite_and_infinities_do_not_cancel(dtype: torch.dtype) -> None:
    large = torch.full((100,), torch.finfo(dtype).max, dtype=dtype)
    assert first_not_finite([("large", large)]) is None
    assert first_not_finite([("large", large), ("both", torch.tensor([INF, 1, -INF], dtype=dtype))]) == "both"


def test_losses_are_looked_at_when_asked_and_in_their_order() -> None:
    watch = LossWatch()
    assert watch.first() is None
    watch.note(1, {"a": torch.tensor(1.0)})
    watch.note(2, {"a": torch.tensor(2.0), "b": torch.tensor(INF, dtype=torch.bfloat16)})
    watch.note(3, {"a": torch.tensor(NAN)})
    assert watch.first() == (2, "b", INF)
    assert watch.first() is None


def test_nothing_is_fitted_to_features_that_are_not_finite() -> None:
    batches: Any = [{"label": torch.tensor([0, 1])}]
    assert rows_of(batches, lambda batch: torch.ones(2, 3)).features.shape == (2, 3)
    with pytest.raises(NotFiniteError, match=r"features of an image aren't finite; .* bf16-mixed or 32-true"):
        rows_of(batches, lambda batch: torch.tensor([[1.0], [NAN]]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JTT", "DFR"])
def test_what_acts_between_steps_looks_at_the_weights_first(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = checkpoints.write(tmp_path / "last.ckpt")
    module.clip.model.logit_scale.data.fill_(NAN)
    trainer: Any = SimpleNamespace(current_epoch=1, global_step=3, estimated_stepping_batches=3)
    monkeypatch.setattr(DFR, "_where", lambda *_: 0)
    act = {
        "JTT": lambda: JTT(1, 2)._begin_again(trainer, module),
        "DFR": lambda: DFR().on_train_batch_end(trainer, module, None, None, 0),
    }
    with pytest.raises(NotFiniteError, match=r"clip\.model\.logit_scale holds a NaN"):
        act[name]()


# A training


class Breaks(Callback):
    """Puts a number into a weight, behind a step."""

    def __init__(self, step: int, value: float) -> None:
        self.step, self.value = step, value

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        if trainer.global_step == self.step:
            pl_module.layer.weight.data[0, 0] = self.value  # type: ignore[union-attr,index,operator]


@pytest.mark.slow
def test_a_training_stops_at_the_first_loss_that_is_not_finite(tmp_path: Path) -> None:
    module = SmallModule()
    with pytest.raises(
        NotFiniteError, match=r"^In step 7 the loss of train/square is nan, so training stops and saves "
    ):
        train(tmp_path, Breaks(6, NAN), module=module)
    assert module.global_step == 7
    assert check_like(last_of(tmp_path)) == 4, "what was saved before is kept"


def test_where_the_device_is_waited_for_it_stops_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starft.training.guards.world_size", lambda: 2)
    module = SmallModule()
    with pytest.raises(NotFiniteError, match="In step 2 the loss of train/square is nan"):
        train(tmp_path, Breaks(1, NAN), module=module, log_every_n_steps=3)
    assert module.global_step == 3


@pytest.mark.parametrize("step", [4, 12], ids=["before-a-validation", "after-the-last-step"])
def test_weights_that_no_loss_has_seen_are_neither_scored_nor_saved(step: int, tmp_path: Path) -> None:
    module = SmallModule()
    with pytest.raises(
        NotFiniteError, match=rf"layer.weight holds a NaN or an infinity after step {step}; lower model.lr"
    ):
        train(tmp_path, Breaks(step, INF), module=module, every_n_train_steps=step)
    assert step not in [at for at, _ in module.validated]
    assert not last_of(tmp_path).exists() or check_like(last_of(tmp_path)) == 8


def check_like(path: Path) -> int:
    """Return the step of a checkpoint, whose numbers are all finite."""
    held = torch.load(path, weights_only=True)
    assert first_not_finite(tensors_in(held["state_dict"])) is None
    return int(held["global_step"])


def test_a_metric_that_is_not_finite_chooses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Unclear(SmallModule):
        def validation_step(self, *args: Any, **options: Any) -> None:
            self.log("val/id/acc", NAN if self.global_step < 8 else 0.5)

    _, trainer = train(tmp_path, module=Unclear())
    (best,) = (one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint))
    assert best.best_model_score == 0.5
    assert torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == 8
    assert "Note: val/id/acc is nan after step 4: no checkpoint is chosen." in capsys.readouterr().err


def test_a_metric_that_was_never_a_number_is_why_there_is_no_best(tmp_path: Path) -> None:
    class Unclear(SmallModule):
        def validation_step(self, *args: Any, **options: Any) -> None:
            self.log("val/id/acc", NAN)

    _, trainer = train(tmp_path, module=Unclear())
    (best,) = (one for one in trainer.checkpoint_callbacks if isinstance(one, BestCheckpoint))
    assert best.why_none(trainer).startswith("There is no best.ckpt: val/id/acc was never a number, ")


@pytest.mark.slow
def test_the_command_says_step_term_and_what_to_try(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [f"--data.init_args.{one}" for one in ("train_size=24", "val_size=12", "batch_size=6")]
    folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert main(["fit", "--config=mini/starft", *small, folder, "--model.lr=1e30"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "starft: In step 2 the loss of train/contrastive is nan, so training stops and saves nothing of it; lower "
        "model.lr (it is 1e+30) or the weights of the terms, or check the data."
    )
    assert not (tmp_path / "run").exists()


# Doors


@pytest.fixture
def broken(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint with one NaN."""
    held = torch.load(checkpoint, weights_only=True)
    held["state_dict"]["clip.model.visual.proj"][0, 0] = NAN
    held |= {"optimizer_states": [], "global_step": 3}
    WholeCheckpointIO().save_checkpoint(held, tmp_path / "nan.ckpt")
    return tmp_path / "nan.ckpt"


DOORS: dict[str, Callable[[Path], list[str]]] = {
    "fit": lambda path: ["fit", "--config=mini/flyp", f"--ckpt_path={path}"],
    "test": lambda path: ["test", "--config=mini/flyp", f"--ckpt_path={path}"],
    "validate": lambda path: ["validate", "--config=mini/flyp", f"--ckpt_path={path}"],
    "predict": lambda path: ["predict", "--config=mini/flyp", f"--ckpt_path={path}"],
    "predict-images": lambda path: ["predict", str(path), str(path.parent / "a.png")],
    "export": lambda path: ["export", str(path), "--to", str(path.parent / "export")],
    "interpolate": lambda path: [
        "interpolate",
        f"--ckpt_path={path}",
        "--alpha=0.5",
        "--out=x.ckpt",
    ],
    "soup": lambda path: ["soup", f"--ckpt_paths={path},{path.parent / 'other.ckpt'}", "--out=x.ckpt"],
}


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_checkpoint_with_a_nan_is_refused(
    door: str, broken: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken.parent)
    Image.new("RGB", (8, 8)).save("a.png")
    Path("other.ckpt").write_bytes(broken.read_bytes())
    before = sorted(broken.parent.iterdir())
    assert main(DOORS[door](broken)) == 2
    assert f"{broken} can't be used: clip.model.visual.proj in it holds a NaN" in capsys.readouterr().err
    assert sorted(broken.parent.iterdir()) == before


def test_to_go_on_from_moments_with_an_infinity_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    held = torch.load(checkpoint, weights_only=True)
    held["optimizer_states"] = [{"state": {0: {"exp_avg_sq": torch.tensor([INF])}}}]
    WholeCheckpointIO().save_checkpoint(held, tmp_path / "inf.ckpt")
    check_checkpoint(tmp_path / "inf.ckpt")
    with pytest.raises(WeightsError, match=r"optimizer_states.0.state.0.exp_avg_sq in it holds"):
        check_checkpoint(tmp_path / "inf.ckpt", continues=True)


def test_an_export_with_a_nan_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert main(["export", str(checkpoint), "--to", str(tmp_path / "export")]) == 0
    path = tmp_path / "export" / "open_clip_model.safetensors"
    state = {key: value.clone() for key, value in load_file(path).items()}
    state["visual.proj"][0, 0] = NAN
    save_file(state, path)
    write_sums(tmp_path / "export")
    with pytest.raises(WeightsError, match=r"export can't be used: visual.proj in it holds a NaN"):
        load(tmp_path / "export")


def test_pretrained_weights_with_a_nan_are_refused(tmp_path: Path) -> None:
    state = {key: value.clone() for key, value in load_file(MINI_FOLDER / "starft-mini.safetensors").items()}
    state["logit_scale"] = torch.tensor(INF, dtype=state["logit_scale"].dtype)
    save_file(state, tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"mine.safetensors can't be used: logit_scale holds a NaN or an infinity"):
        build_clip("starft-mini", str(tmp_path / "mine.safetensors"))


def test_a_mean_that_is_not_finite_is_not_written(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"x.ckpt isn't written: the mean of clip.a holds"):
        write_averaged(tmp_path / "x.ckpt", read_member(checkpoint), {"clip.a": torch.tensor([INF])}, {})
    assert not (tmp_path / "x.ckpt").exists()


def test_logits_and_probabilities_that_are_not_finite_are_not_scored(checkpoint: Path) -> None:
    model: Classifier = load(checkpoint, "cpu")
    pixels = torch.zeros(2, 3, *model.preprocessing.size)
    with pytest.raises(ConfigError, match="holds a NaN or an infinity; give finite pixels"):
        model.predict(pixels + NAN)
    with pytest.raises(NotFiniteError, match="probabilities of an image aren't finite"):
        model.ranked(pixels + INF, 1)
    evaluator = Evaluator([EvalSet("birds", model.class_names, model.templates)])
    evaluator.prepare(model.clip, model.class_names, None)
    labels = torch.zeros(2, dtype=torch.int64)
    features = torch.full((2, model.head.shape[1]), NAN)
    evaluator.update(0, features, {"image": pixels, "label": labels, "group": labels, "index": labels})
    with pytest.raises(NotFiniteError, match="logits on the eval set birds aren't finite"):
        evaluator.compute()
    with pytest.raises(NotFiniteError, match="probability of image 7 of the eval set at position 1 isn't finite"):
        list(_rows(1, {"index": torch.tensor([7]), "label": torch.tensor([0]), "probability": torch.tensor([NAN])}))
    with torch.no_grad():
        model.clip.model.logit_scale.fill_(200.0)
    with pytest.raises(NotFiniteError, match="The head that this model's weights make isn't finite"):
        model.with_classes(["a", "b"]).predict(pixels)


def test_results_with_an_infinity_are_damaged(tmp_path: Path) -> None:
    groups = [{"name": "all", "n": 2, "acc": INF, "ci95": None}]
    held = {"eval_sets": {"id": {"ood": False, "metrics": {}, "groups": groups}}}
    (tmp_path / "results.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(ValueError, match=r"results.json is damaged"):
        read_results(tmp_path / "results.json")
