"""Any sum of terms that a person writes in YAML, through the command line."""

from pathlib import Path

import pytest
import yaml

from starft.cli.fit import main

CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "mini"


@pytest.mark.slow
def test_the_sum_of_three_methods_in_one_config(tmp_path: Path) -> None:
    """StarFT by a moving teacher, TRACER with the same teacher, and L2-SP; the logged parts make the total."""
    config = yaml.safe_load((CONFIGS / "tracer.yaml").read_text(encoding="utf-8"))
    weighted = {"class_path": "WeightedAverage"}
    config["model"]["pool"] = "mini_scenes"
    config["model"]["regularizers"] = [
        {"class_path": "SpuriosityAlignment", "init_args": {"weight": 2.0, "schedule": "step", "teacher": weighted}},
        {"class_path": "Tracer", "init_args": {"weight": 0.5}},
        {"class_path": "L2SP", "init_args": {"weight": 0.3}},
    ]
    config["data"]["init_args"] = {"train_size": 24, "val_size": 12, "batch_size": 12}
    config["trainer"] |= {"max_epochs": 1, "log_every_n_steps": 1, "limit_val_batches": 0, "enable_progress_bar": False}
    config["trainer"] |= {"default_root_dir": str(tmp_path / "run"), "enable_model_summary": False}
    config["checkpoint"]["monitor"] = None
    path = tmp_path / "sum.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    cli = main(["fit", f"--config={path}"])
    assert list(cli.model.teachers) == ["weighted_average"], "equal teachers are one"
    logged = {name: float(value) for name, value in cli.trainer.logged_metrics.items()}
    names = ["contrastive", "spuriosity_alignment", "tracer", "l2_sp"]
    weights = [logged[f"train/{name}_weight"] for name in names]
    assert weights == pytest.approx([1.0, 2.0 * (1 - 1 / 2), 0.5, 0.3])
    parts = [logged[f"train/{name}"] for name in names]
    assert all(part > 0 for part in parts)
    total = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    assert logged["train/loss"] == pytest.approx(total, rel=1e-6)
