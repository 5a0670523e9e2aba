"""A batch of one image, or data of one class, teach nothing: refused before training."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from fakes.quiet_trainer import trainer
from starft.__main__ import main
from starft.errors import ConfigError
from starft.losses import L2SP, Carot, SpuriosityAlignment, Tracer
from starft.losses.base import Term
from starft.losses.group_dro import GroupDRO
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.training.gradients import check_rows
from starft.training.module import FinetuneModule
from starft.types import Batch, EvalSet

CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "mini"


class OneRow(L.LightningDataModule):
    """A person's own data, in batches of one."""

    class_names: tuple[str, ...] = ("duck", "gull")
    templates = ("a photo of a {}.",)
    val_sets: tuple[EvalSet, ...] = ()
    test_sets: tuple[EvalSet, ...] = ()
    predict_sets: tuple[EvalSet, ...] = ()

    def train_dataloader(self) -> DataLoader[Batch]:
        rows: Any = [
            Batch(image=torch.zeros(3, 64, 64), label=torch.tensor(index % 2), index=torch.tensor(index))
            for index in range(3)
        ]
        return DataLoader(rows, batch_size=1)


def fit(data: OneRow, objective: Term) -> None:
    module = FinetuneModule(objective, "starft-mini", "mini", warmup_steps=1)
    trainer(max_steps=1).fit(module, datamodule=data)


@pytest.mark.parametrize(
    "term", [Contrastive(), SpuriosityAlignment(), Tracer(), Carot()], ids=lambda term: type(term).__name__
)
def test_terms_about_rows_among_others(term: Term) -> None:
    with pytest.raises(ConfigError, match=f"Batches of 1 image teach nothing with {type(term).__name__}"):
        check_rows([CrossEntropy(), term], 1)
    check_rows([term], 2)
    check_rows([term], 1, processes=2)
    check_rows([term], None)


def test_terms_that_learn_from_one_row() -> None:
    check_rows([CrossEntropy(), GroupDRO(), L2SP(), Carot(distillation=0), Contrastive(weight=0)], 1)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["flyp", "starft_ce"])
def test_a_batch_size_of_one_is_refused(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", f"--config={CONFIGS / config}.yaml", "--data.init_args.batch_size=1"]
    words += ["--data.init_args.train_size=12", "--data.init_args.val_size=12"]
    assert main([*words, f"--trainer.default_root_dir={tmp_path / 'run'}"]) == 2
    assert "Batches of 1 image teach nothing with" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_loader_of_ones_own_that_gives_one_row() -> None:
    with pytest.raises(ConfigError, match="Batches of 1 image teach nothing with Contrastive"):
        fit(OneRow(), Contrastive())
    fit(OneRow(), CrossEntropy())


def test_data_of_one_class_are_refused() -> None:
    data = OneRow()
    data.class_names = ("duck",)
    with pytest.raises(ConfigError, match="There is one class, 'duck', so that every image is of it"):
        fit(data, CrossEntropy())
