"""JTT by hand: its errors, its second training, what it refuses, and runs that go on from any checkpoint."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.optim import AdamW

from fakes.quiet_trainer import trainer
from starft.callbacks import JTT
from starft.data.sampling import everything, upsampled
from starft.errors import ConfigError, DataError
from starft.losses import KD, FeatureDistillation
from starft.losses.group_dro import GroupDRO
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.training.module import FinetuneModule
from starft.training.optim import warmup_cosine

pytestmark = pytest.mark.slow

SIZE, BATCH, FACTOR = 24, 12, 5
STEPS = SIZE // BATCH


def module(**given: Any) -> FinetuneModule:
    given = {"objective": CrossEntropy(), "head": "linear", "lr": 2e-3, "warmup_steps": 2} | given
    return FinetuneModule(model_name="starft-mini", pretrained="mini", **given)


def world(**given: Any) -> MiniWorld:
    return MiniWorld(**{"train_size": SIZE, "val_size": 12, "batch_size": BATCH} | given)


def epoch_by_hand(tuned: FinetuneModule, optimizer: AdamW, data: MiniWorld, order: list[int]) -> None:
    """One epoch of cross-entropy over the images in this order, with a warm-up and cosine of its own."""
    assert data.train_set is not None
    assert tuned.linear_head is not None
    for step in range(STEPS):
        rows = [data.train_set[at] for at in order[step * BATCH : (step + 1) * BATCH]]
        labels = torch.stack([row["label"] for row in rows])
        features = tuned.clip.encode_image(torch.stack([row["image"] for row in rows]))
        loss = F.cross_entropy(features @ tuned.linear_head.T, labels)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * warmup_cosine(step, 2, STEPS)
        optimizer.step()


def start_by_hand(data: MiniWorld) -> tuple[FinetuneModule, AdamW]:
    tuned = module().train()
    tuned.describe(data.class_names, data.templates)
    return tuned, AdamW([p for p in tuned.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.1, fused=True)


def test_two_trainings_by_hand_and_going_on_from_any_step(tmp_path: Path) -> None:
    data = world()
    data.setup("fit")
    assert data.train_set is not None
    first, optimizer = start_by_hand(data)
    epoch_by_hand(first, optimizer, data, everything(SIZE).order(0, 0))
    images, labels = (torch.stack([data.train_set[at][key] for at in range(SIZE)]) for key in ("image", "label"))
    assert first.linear_head is not None
    with torch.no_grad():
        wrong = (first.eval().clip.encode_image(images) @ first.linear_head.T).argmax(dim=1) != labels
    errors = wrong.nonzero().flatten().tolist()
    assert 0 < len(errors) < SIZE, "there must be something to upsample"
    second, optimizer = start_by_hand(data)
    order = upsampled(SIZE, errors, FACTOR).order(0, 1)
    assert sorted(order) != list(range(SIZE))
    epoch_by_hand(second, optimizer, data, order)

    def run(folder: Path, checkpoint: Path | None = None) -> tuple[JTT, dict[str, Tensor], Any]:
        """Train with JTT, keeping the checkpoint of every step and of every epoch's end."""
        jtt, tuned = JTT(epochs=1, factor=FACTOR), module()
        steps = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False)
        ends = ModelCheckpoint(
            folder, "end-{epoch}", save_top_k=-1, save_on_train_epoch_end=True, auto_insert_metric_name=False
        )
        made = trainer(folder, 2, jtt, *([steps, ends] if checkpoint is None else []))
        made.fit(tuned, datamodule=world(), ckpt_path=checkpoint)
        assert made.global_step == 2 * STEPS
        return jtt, tuned.state_dict(), made.optimizers[0].state_dict()

    jtt, whole, moments = run(tmp_path / "whole")
    assert jtt.result == errors
    by_hand = second.state_dict()
    for name, value in whole.items():
        torch.testing.assert_close(value, by_hand[name], rtol=1e-4, atol=1e-5, msg=name)

    stops = [f"{STEPS}.ckpt", "end-0.ckpt", f"{STEPS + 1}.ckpt"]
    """The last step of the first training, the end of its epoch, the middle of the second training."""
    for stop in stops:
        continued, state, its_moments = run(tmp_path / stop, tmp_path / "whole" / stop)
        assert continued.result == errors
        assert all(torch.equal(state[name], whole[name]) for name in whole), stop
        pairs = zip(its_moments["state"].values(), moments["state"].values(), strict=True)
        assert all(torch.equal(one["exp_avg"], other["exp_avg"]) for one, other in pairs), stop

    sentence = (
        "The checkpoint's JTT has epochs 1, factor 5, the config epochs 1, factor 9; continue it with its own config."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        trainer(tmp_path, 2, JTT(1, 9)).fit(module(), datamodule=world(), ckpt_path=tmp_path / "whole" / "end-0.ckpt")


def test_without_errors_it_goes_on_plainly_and_best_is_of_the_second_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JTT, "scored", lambda *args: [])
    best = BestCheckpoint(tmp_path, "best", monitor="val/id/acc", mode="max", enable_version_counter=False)
    data = world()
    tuned = module(lr=0.0)
    made = trainer(tmp_path, 2, JTT(1, FACTOR), best, limit_val_batches=1)
    made.fit(tuned, datamodule=data)
    assert (
        "Note: After 1 epoch JTT finds no training error, so the second training is a plain one; "
        "a lower epochs finds more.\n"
    ) in capsys.readouterr().err
    assert data._train_loader is not None
    assert data._train_loader._shuffled.draw.order(0, 1) == everything(SIZE).order(0, 1)
    held = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert held["global_step"] == 2 * STEPS, "an equal score of the first training would have kept its checkpoint"


@pytest.mark.parametrize(
    ("given", "data", "epochs", "sentence"),
    [
        ({}, {}, 1, r"epochs of JTT must be fewer than trainer\.max_epochs, which .* the run; got 1 and 1\."),
        (
            {},
            {"sampling": "class_balanced"},
            2,
            r"Training images can't be upsampled on top of sampling class_balanced;",
        ),
        (
            {"regularizers": [KD(teacher="ema")]},
            {},
            2,
            r"JTT starts the run anew in its middle, and kd would go on from",
        ),
        (
            {"objective": GroupDRO()},
            {},
            2,
            r"JTT starts the run anew in its middle, and group_dro would go on from the",
        ),
    ],
    ids=["epochs", "sampling", "teacher", "group_dro"],
)
def test_what_cant_be_trained_twice_is_told(
    given: dict[str, Any], data: dict[str, Any], epochs: int, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"^{sentence}"):
        trainer(tmp_path, epochs, JTT(1, FACTOR)).fit(module(**given), datamodule=world(**data))


def test_terms_without_a_memory_can_be_trained_twice(tmp_path: Path) -> None:
    given = {"objective": Contrastive(), "head": "text", "regularizers": [FeatureDistillation(weight=1.0)]}
    jtt = JTT(1, FACTOR)
    trainer(tmp_path, 2, jtt, limit_train_batches=1).fit(module(**given), datamodule=world())
    assert jtt.result


def test_groups_of_validation_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MiniWorld, "val_sets", MiniWorld.test_sets)
    with pytest.raises(DataError, match=r"^JTT is chosen by the worst group .* and none has groups; give data with an"):
        trainer(tmp_path, 2, JTT(1, FACTOR)).fit(module(), datamodule=world())


@pytest.mark.parametrize(("epochs", "factor", "name"), [(0, 5, "epochs"), (1, 0, "factor")])
def test_numbers_that_cant_be_used_are_told(epochs: int, factor: int, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} of JTT must be at least 1; got 0\.$"):
        JTT(epochs, factor)
