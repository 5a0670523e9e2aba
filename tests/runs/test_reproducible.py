"""One seed, one result: to the last bit, and for any number of data workers."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from starft.cli.fit import main

CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "mini"
TINY = [
    "--data.init_args.train_size=24",
    "--data.init_args.val_size=12",
    "--data.init_args.batch_size=12",
    "--trainer.max_epochs=2",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def trained(config: str, folder: Path, *options: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Weights and last logged numbers of one run."""
    cli = main(["fit", f"--config={CONFIGS / config}.yaml", *TINY, f"--trainer.default_root_dir={folder}", *options])
    assert cli.trainer.global_step == 4
    weights = {name: value.clone() for name, value in cli.model.state_dict().items() if not name.startswith("twin.")}
    return weights, {name: float(value) for name, value in cli.trainer.callback_metrics.items()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.slow
def test_two_runs_of_one_config_agree_to_the_last_bit(tmp_path: Path) -> None:
    one, numbers = trained("starft_ce", tmp_path / "one")
    other, again = trained("starft_ce", tmp_path / "other")
    assert differing(one, other) == []
    assert numbers == again
    assert "linear_head" in one


@pytest.mark.slow
def test_the_number_of_workers_doesnt_matter_and_the_seed_does(tmp_path: Path) -> None:
    one, numbers = trained("starft", tmp_path / "one", "--data.init_args.num_workers=0")
    other, again = trained("starft", tmp_path / "other", "--data.init_args.num_workers=2")
    assert differing(one, other) == []
    assert numbers == again
    assert "linear_head" not in one
    seeded, _ = trained("starft", tmp_path / "seeded", "--seed_everything=1")
    assert {"clip.model.visual.proj", "clip.model.text_projection"} <= {*differing(one, seeded)}
