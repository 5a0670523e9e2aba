"""A training run of the authors' code, step by step, through our module and Lightning's loop."""

import json
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from fakes.quiet_trainer import Recorder, trainer
from starft.losses import SpuriosityAlignment
from starft.losses.objectives import Contrastive
from starft.training.module import FinetuneModule
from starft.types import Batch, EvalSet

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS, STEPS, EPOCHS = 8, 12, 3
TOLERANCE = 1e-5
Run = tuple[FinetuneModule, list[dict[str, float]]]
"""A module after its training, and what each step logged."""


@pytest.fixture(autouse=True, scope="module")
def _token_rows_are_given() -> Iterator[None]:
    """The run has the authors' token rows; no tokenizer fits its 300 words, and none is asked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starft.clip.build.check_features", lambda *_: [])
        patch.setattr("starft.training.module.check_captions", lambda *_: None)
        yield


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    with np.load(GOLDEN / "trajectory.npz") as arrays:
        return {key: arrays[key] for key in arrays}


@pytest.fixture(scope="module")
def exact(golden: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run in float64, of whole captions."""
    return run(golden, tmp_path_factory.mktemp("exact"), trim=False, precision="64-true")


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

    def draw_share(
        self, labels: Sequence[int], step: int, index: Sequence[int] = ()
    ) -> tuple[list[str], list[str], list[int]]:
        numbers = range(ROWS * step, ROWS * (step + 1))
        return [f"captions {number}" for number in numbers], [f"spurious {number}" for number in numbers], [ROWS]

    def all_spurious(self, at_most: float) -> list[str]:
        return []


def run(golden: dict[str, Any], folder: Path, trim: bool, precision: Any = 32) -> Run:
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
        trim=trim,
    )
    module.clip.tokenize = module.twin.tokenize = tokenize
    epoch, recorder = Epoch(), Recorder()
    made = trainer(None, EPOCHS, epoch, recorder, precision=precision, devices=1, log_every_n_steps=1)
    inject_captions(module)
    made.fit(module, datamodule=GoldenData(GoldenRows(golden, epoch)))
    return module, recorder.steps


def inject_captions(module: FinetuneModule) -> None:
    setup = module.setup

    def with_golden_captions(stage: str) -> None:
        setup(stage)
        module.captions = GoldenCaptions()  # type: ignore[assignment]

    module.setup = with_golden_captions  # type: ignore[method-assign]


def in_another_order(golden: dict[str, Any], seed: int) -> dict[str, Any]:
    """The same batches with their rows in another order: the same losses but for rounding."""
    order = np.random.RandomState(seed).permutation(ROWS)
    rows = {key: golden[key] for key in ("images", "labels", "captions", "spurious")}
    return golden | {key: v.reshape(STEPS, ROWS, *v.shape[1:])[:, order].reshape(v.shape) for key, v in rows.items()}


def logged(steps: list[dict[str, float]], name: str) -> NDArray[np.float64]:
    return np.array([step[f"train/{name}"] for step in steps])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_twelve_steps_agree_with_the_authors_run(golden: dict[str, Any], exact: Run, tmp_path: Path) -> None:
    """To 1e-5 while the weights are the same; from then on it lies where float32 puts such runs around the exact one.

    At the first step student and twin are equal, the true gradient of the alignment is 0, and Adam blows the rounding
    that is left up to whole updates. On a processor that rounds as the authors' did the whole run agrees to 1e-5; on
    others even the order of a batch's rows shows in the fourth digit. So the authors' run is compared with ours in
    float64, which is the same on all processors, and may be as far from it as our own float32 runs are, with rows in
    thirteen orders. Six to thirteen of twenty such runs were farther off than theirs. `test_the_run_is_the_recipe`
    holds the float64 run to 1e-9.
    """
    exact_module, exact_steps = exact
    runs = [run(rows, tmp_path, trim=False) for rows in (golden, *(in_another_order(golden, n) for n in range(1, 13)))]
    assert [len(steps) for _, steps in runs] == [STEPS] * len(runs)
    with_star = int((golden["weight"] > 0).sum())  # the last epoch runs without it
    weights = logged(runs[0][1], "spuriosity_alignment_weight")[:with_star]
    np.testing.assert_allclose(weights, golden["weight"][:with_star], rtol=1e-6)
    for name, key, end in (
        ("contrastive", "contrastive", STEPS),
        ("loss", "loss", STEPS),
        ("spuriosity_alignment", "star", with_star),
    ):
        ours, theirs = [logged(steps, name)[:end] for _, steps in runs], golden[key][:end]
        assert ours[0][0] == pytest.approx(theirs[0], rel=TOLERANCE, abs=TOLERANCE)
        truth = logged(exact_steps, name)[:end]
        rounding = np.max([np.abs(one - truth) for one in ours])
        assert rounding < 0.02, f"{name} tells nothing"
        np.testing.assert_allclose(theirs, truth, rtol=TOLERANCE, atol=TOLERANCE + rounding, err_msg=key)
    truths = exact_module.clip.model.state_dict()
    for key in (key for key in golden if key.startswith("final/")):
        name = key.removeprefix("final/")
        rounding = max(float((one.clip.model.state_dict()[name] - truths[name]).abs().max()) for one, _ in runs)
        assert rounding < 0.001, f"{key} tells nothing"
        np.testing.assert_allclose(
            golden[key], truths[name].numpy(), rtol=TOLERANCE, atol=TOLERANCE + rounding, err_msg=key
        )


def recipe(golden: dict[str, Any], initial: Any) -> tuple[list[float], dict[str, Tensor]]:
    """The paper's recipe written down plainly: open_clip's model, torch's AdamW, whole captions, float64."""
    student, twin = deepcopy(initial).double(), deepcopy(initial).double().requires_grad_(False)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1.0, betas=(0.9, 0.999), weight_decay=0.1)
    losses = []
    for step in range(STEPS):
        rows = slice(ROWS * step, ROWS * (step + 1))
        images, labels = torch.from_numpy(golden["images"][rows]).double(), torch.from_numpy(golden["labels"][rows])
        captions, spurious = (torch.from_numpy(golden[key][rows]) for key in ("captions", "spurious"))
        image = student.encode_image(images, normalize=True)
        logits = student.logit_scale.exp() * image @ student.encode_text(captions, normalize=True).T
        target = torch.arange(ROWS)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        scale = twin.logit_scale.exp()
        z = scale * image @ student.encode_text(spurious, normalize=True).T
        t = scale * twin.encode_image(images, normalize=True) @ twin.encode_text(spurious, normalize=True).T
        divergences = []
        for row in range(ROWS):
            left = labels != labels[row]  # what is left of this row
            if left.any():
                p, log_q = t[row][left].softmax(0), z[row][left].log_softmax(0)
                divergences.append((p * (p.log() - log_q)).sum())
        weight = 0.5 * (1 - (step // (STEPS // EPOCHS) + 1) / EPOCHS)
        loss = loss + weight * torch.stack(divergences).sum() / ROWS
        for group in optimizer.param_groups:
            warm = (step + 1) / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / (STEPS - 3)))
            group["lr"] = 1e-3 * warm
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, student.state_dict()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_the_run_is_the_recipe(golden: dict[str, Any], exact: Run) -> None:
    initial: Any = open_clip.CLIP(**json.loads((GOLDEN / "starft-golden.json").read_text(encoding="utf-8")))
    initial.load_state_dict({k.removeprefix("init/"): torch.from_numpy(v) for k, v in golden.items() if "init/" in k})
    expected_losses, expected = recipe(golden, initial)
    module, steps = exact
    assert logged(steps, "loss") == pytest.approx(expected_losses, abs=1e-6), "logged in float32"
    final = module.clip.model.state_dict()
    assert final.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(final[key], value, rtol=0, atol=1e-9, msg=key)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")
def test_trimmed_captions_change_nothing(golden: dict[str, Any], exact: Run, tmp_path: Path) -> None:
    """In float64, where rounding can't hide a difference nor Adam's first steps blow it up."""
    whole, whole_steps = exact
    cut, cut_steps = run(golden, tmp_path, trim=True, precision="64-true")
    assert [step["train/loss"] for step in cut_steps] == pytest.approx([s["train/loss"] for s in whole_steps], abs=1e-6)
    theirs = cut.clip.model.state_dict()
    for key, value in whole.clip.model.state_dict().items():
        torch.testing.assert_close(theirs[key], value, rtol=0, atol=1e-9, msg=key)
