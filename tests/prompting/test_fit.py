"""From a generated pool to a training run that knows where its pool came from."""

import json
from pathlib import Path

import pytest
import yaml
from chat_server import Generate

from starft.__main__ import main
from starft.captions.pool_files import load_pool

FIT = {
    "seed_everything": 0,
    "trainer": {
        "accelerator": "cpu", "max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 0,
        "num_sanity_val_steps": 0, "default_root_dir": "run", "enable_progress_bar": False,
        "enable_model_summary": False, "log_every_n_steps": 1,
    },
    "model": {
        "model_name": "starft-mini", "pretrained": None, "pool": "prompts/pools/mine.json",
        "regularizers": [{
            "class_path": "starft.losses.SpuriosityAlignment", "init_args": {"schedule": "constant"},
        }],
    },
    "data": {
        "class_path": "starft.mini.MiniWorld",
        "init_args": {"train_size": 24, "val_size": 12, "test_size": 12, "batch_size": 12},
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pools", "name"),
    [("prompts/pools/mine.json", "mine"), (["mine", "mini_scenes"], "mine+mini_scenes")],
    ids=["path", "names"],
)
def test_fit_runs_from_a_generated_pool(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, pools: str | list[str], name: str
) -> None:
    Path("fit.yaml").write_text(yaml.safe_dump(FIT | {"model": FIT["model"] | {"pool": pools}}))  # type: ignore[operator]
    assert generate("per_class.yaml", "--data", "fit.yaml") == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    assert main(["fit", "--config", "fit.yaml"]) == 0
    assert (Path("run") / "checkpoints/last.ckpt").is_file()
    kept, generated = load_pool("run/pool.json"), load_pool("prompts/pools/mine.json")
    assert kept.name == name
    if isinstance(pools, str):
        assert kept == generated
    else:
        assert kept.provenance["pools"][0] == {"name": "mine", "provenance": generated.provenance}
        assert set(kept.templates) == {*generated.templates, *load_pool("mini_scenes").templates}
        assert kept.per_class.keys() == generated.per_class.keys()
    assert "source" in json.loads(Path("run/pool.json").read_text())["provenance"]
    assert yaml.safe_load(Path("run/config.yaml").read_text())["model"]["pool"] == pools


@pytest.mark.slow
def test_a_run_without_a_pool_writes_none() -> None:
    plain = FIT["model"] | {"pool": None, "regularizers": None}  # type: ignore[operator]
    Path("fit.yaml").write_text(yaml.safe_dump(FIT | {"model": plain}))
    assert main(["fit", "--config", "fit.yaml"]) == 0
    assert not Path("run/pool.json").exists()
