"""A training run of the authors' code, step by step, through our module and Lightning's loop."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from starft.finetune import FinetuneModule
from starft.losses import Contrastive
from starft.regularizers import SpuriosityAlignment
from starft.types import Batch, EvalSet

GOLDEN = Path(__file__).parent / "golden"
ROWS, STEPS, EPOCHS = 8, 12, 3
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN / "trajectory.npz") as arrays:
        return {key: arrays[key] for key in arrays}


class GoldenRows(Dataset[Batch]):
    """The rows of one epoch after another: an epoch has 32, and the run goes on to the next 32."""

    def __init__(self, golden: dict[str, Any], trainer_epoch: "Epoch") -> None:
        self.golden, self.epoch = golden, trainer_epoch

    def __len__(self) -> int:
        return ROWS * STEPS // EPOCHS

    def __getitem__(self, index: int) -> Batch:
        row = index + len(self) * self.epoch.number
        image, label = torch.from_numpy(self.golden["images"][row]), torch.tensor(self.golden["labels"][row])
        return Batch(image=image, label=label, index=torch.tensor(row))


class Epoch(L.Callback):
    number = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.number = trainer.current_epoch


class GoldenData(L.LightningDataModule):
    class_names: tuple[str, ...] = tuple("0123456789")
    templates = ("{}",)
    val_sets: tuple[EvalSet, ...] = ()
    test_sets: tuple[EvalSet, ...] = ()
    predict_sets: tuple[EvalSet, ...] = ()

    def __init__(self, rows: GoldenRows) -> None:
        super().__init__()
        self.rows = rows

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.rows, batch_size=ROWS)


class GoldenCaptions:
    """Names the golden token rows, in place of drawn captions."""

    def draw(self, labels: Sequence[int], step: int, rank: int = 0) -> tuple[list[str], list[str]]:
        rows = range(ROWS * step, ROWS * (step + 1))
        return [f"captions {row}" for row in rows], [f"spurious {row}" for row in rows]


class Recorder(L.Callback):
    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append({name: float(value) for name, value in trainer.logged_metrics.items()})


def run(
    golden: dict[str, Any], folder: Path, trim: bool, precision: Any = 32
) -> tuple[FinetuneModule, list[dict[str, float]]]:
    def tokenize(names: list[str]) -> Tensor:
        keys_rows = (name.split() for name in names)
        return torch.stack([torch.from_numpy(golden[key][int(row)]) for key, row in keys_rows])

    initial = {key.removeprefix("init/"): torch.from_numpy(v) for key, v in golden.items() if key.startswith("init/")}
    weights = folder / "init.pt"
    torch.save(initial, weights)
    module = FinetuneModule(
        objective=Contrastive(),
        model_name=str(GOLDEN / "starft-golden.json"),
        pretrained=str(weights),
        lr=1e-3,
        weight_decay=0.1,
        warmup_steps=3,
        regularizers=[SpuriosityAlignment(weight=0.5)],
        pool="backgrounds",
        trim_captions=trim,
    )
    module.clip.tokenize = module.twin.tokenize = tokenize
    epoch, recorder = Epoch(), Recorder()
    trainer = L.Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        precision=precision,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        limit_val_batches=0,
        callbacks=[epoch, recorder],
    )
    inject_captions(module)
    trainer.fit(module, datamodule=GoldenData(GoldenRows(golden, epoch)))
    return module, recorder.steps


def inject_captions(module: FinetuneModule) -> None:
    setup = module.setup

    def with_golden_captions(stage: str) -> None:
        setup(stage)
        module.captions = GoldenCaptions()  # type: ignore[assignment]

    module.setup = with_golden_captions  # type: ignore[method-assign]


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_twelve_steps_agree_with_the_authors_run(golden: dict[str, Any], tmp_path: Path) -> None:
    module, steps = run(golden, tmp_path, trim=False)
    assert len(steps) == STEPS
    for name, key in (("train/contrastive", "contrastive"), ("train/loss", "loss")):
        np.testing.assert_allclose([step[name] for step in steps], golden[key], rtol=TOLERANCE, atol=TOLERANCE)
    with_star = golden["weight"] > 0
    ours = [step["train/spuriosity_alignment"] for step in np.array(steps)[with_star]]
    np.testing.assert_allclose(ours, golden["star"][with_star], rtol=TOLERANCE, atol=TOLERANCE)
    weights = [step["train/spuriosity_alignment_weight"] for step in np.array(steps)[with_star]]
    np.testing.assert_allclose(weights, golden["weight"][with_star], rtol=1e-6)
    final = module.clip.model.state_dict()
    for key in (key for key in golden if key.startswith("final/")):
        theirs, mine = golden[key], final[key.removeprefix("final/")].numpy()
        np.testing.assert_allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE, err_msg=key)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_trimmed_captions_change_nothing(golden: dict[str, Any], tmp_path: Path) -> None:
    """In float64, where rounding can't hide a difference nor Adam's first steps blow it up."""
    whole, whole_steps = run(golden, tmp_path, trim=False, precision="64-true")
    cut, cut_steps = run(golden, tmp_path, trim=True, precision="64-true")
    assert [step["train/loss"] for step in cut_steps] == pytest.approx([s["train/loss"] for s in whole_steps], abs=1e-6)
    theirs = cut.clip.model.state_dict()
    for key, value in whole.clip.model.state_dict().items():
        torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-9, msg=key)
