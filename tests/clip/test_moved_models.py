"""A checkpoint and its config are enough to test, wherever the model's files have gone and whatever the precision."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import weights, write
from test_kinds import starft, step

from starft.__main__ import main
from starft.errors import WeightsError
from starft.runs.checkpoints import fingerprint
from starft.training.module import FinetuneModule
from starft.types import ImagePreprocessing

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "mini" / "starft.yaml"
SMALL = [
    "--data.init_args.train_size=12",
    "--data.init_args.val_size=12",
    "--data.init_args.test_size=12",
    "--data.init_args.batch_size=12",
    "--trainer.max_epochs=1",
    "--trainer.limit_val_batches=0",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--checkpoint.monitor=null",
]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A model config of 64 pixels with its weights, and the same as a folder."""
    folder = tmp_path / "models"
    config = write(folder, "vit")
    keys = json.loads(config.read_text(encoding="utf-8"))
    keys["vision_cfg"]["image_size"] = 64
    named = folder / "moved-64.json"
    named.write_text(json.dumps(keys), encoding="utf-8")
    whole = folder / "whole"
    whole.mkdir()
    (whole / "open_clip_config.json").write_text(json.dumps({"model_cfg": keys}), encoding="utf-8")
    shutil.copy(weights(named), whole / "open_clip_pytorch_model.bin")
    return folder


def names(kind: str, folder: Path) -> list[str]:
    if kind == "folder":
        return [f"--model.model_name=local-dir:{folder / 'whole'}"]
    return [f"--model.model_name={folder / 'moved-64.json'}", f"--model.pretrained={folder / 'moved-64.pt'}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_model_that_was_moved(kind: str, models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = [f"--config={CONFIG}", *SMALL]
    first = f"--trainer.default_root_dir={tmp_path / 'fit'}"
    assert main(["fit", *common, *names(kind, models), first]) == 0, capsys.readouterr().err
    elsewhere = models.rename(tmp_path / "elsewhere")
    checkpoint = f"--ckpt_path={tmp_path / 'fit' / 'checkpoints' / 'last.ckpt'}"
    second = f"--trainer.default_root_dir={tmp_path / 'test'}"
    assert main(["test", *common, *names(kind, elsewhere), checkpoint, second]) == 0, capsys.readouterr().err
    assert (tmp_path / "test" / "results.json").is_file()
    assert main(["predict", *common, *names(kind, elsewhere), checkpoint, second]) == 0, capsys.readouterr().err
    # other weights at another place are another model all the same
    other = [f"--model.model_name={elsewhere / 'moved-64.json'}", "--model.pretrained=null", "--seed_everything=1"]
    third = f"--trainer.default_root_dir={tmp_path / 'third'}"
    capsys.readouterr()
    assert main(["test", *common, *other, checkpoint, third]) == 2
    assert "other pre-trained weights" in capsys.readouterr().err


@pytest.mark.slow
def test_a_checkpoint_of_another_precision(tmp_path: Path) -> None:
    """The twin is told by its weights as they were built, not as the precision of the run rounds them."""
    config = write(tmp_path / "precision", "vit")
    built: dict[str, Any] = {"config": config, "weights": weights(config)}
    module = starft(**built)
    before = fingerprint(module.twin.state_dict())
    trainer = step(module, precision="bf16-true")
    assert fingerprint(module.twin.state_dict()) != before, "the twin was rounded"
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    loaded = FinetuneModule.load_from_checkpoint(tmp_path / "last.ckpt", map_location="cpu")
    assert fingerprint(loaded.twin.state_dict()) == before
    torch.save(torch.load(built["weights"], weights_only=True) | {"logit_scale": torch.tensor(1.0)}, built["weights"])
    with pytest.raises(WeightsError, match="trained from other pre-trained weights"):
        FinetuneModule.load_from_checkpoint(tmp_path / "last.ckpt", map_location="cpu")


@pytest.mark.slow
def test_a_vit_b_32_in_full() -> None:
    module = FinetuneModule(model_name="ViT-B-32", pretrained=None, freeze_text_tower=True, freeze_image_blocks=11)
    assert module.preprocessing == ImagePreprocessing()
    total, trained = (
        sum(p.numel() for p in module.clip.parameters() if p.requires_grad or every) for every in (True, False)
    )
    assert total == 151_277_313, "OpenAI's count"
    # one block of width 768, the last norm, the projection, the scale
    assert trained == 12 * 768**2 + 13 * 768 + 2 * 768 + 768 * 512 + 1
    with torch.no_grad():
        assert module.clip.encode_text(["a photo of a duck."]).shape == (1, 512)
