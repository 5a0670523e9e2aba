"""docs/models.md: every name on it is one that works, its recipe too."""

import re
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from architectures import tokenizer, weights, write
from torch import nn

from starft.clip import build_clip
from starft.clip.build import _local_weights
from starft.clip.model_names import SCHEMAS, register_model

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
LINES: list[dict[str, Any]] = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[0])


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files that the page names."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models"
    config = write(folder, "vit").rename(folder / "my-model.json")
    weights(config)
    for name in ("my-vit-b-16.pt", "openai-vit-b-16.pt"):
        (folder / name).touch()
    (folder / "transformers-clip").mkdir()
    own = tokenizer(folder / "my-clip", pad_id=1)
    (own / "open_clip_config.json").write_text(f'{{"model_cfg": {config.read_text()}}}', encoding="utf-8")
    shutil.copy(folder / "my-model.pt", own / "open_clip_pytorch_model.bin")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line['model_name']}-{line.get('pretrained')}")
def test_every_line_names_a_model_and_its_weights(line: dict[str, Any], models: Path) -> None:
    name, pretrained = register_model(line["model_name"]), line.get("pretrained")
    if name.startswith("hf-hub:"):
        known = [open_clip.get_pretrained_cfg(*pair).get("hf_hub", "") for pair in open_clip.list_pretrained()]
        assert f"{name.removeprefix('hf-hub:')}/" in known
    elif pretrained is not None and not name.startswith(SCHEMAS):
        assert _local_weights(name, pretrained) is not None or open_clip.get_pretrained_cfg(name, pretrained)
    if "my-model" in name or "my-clip" in name or name == "starft-mini":
        build_clip(line["model_name"], pretrained)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_the_recipe_for_openais_archives(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_clip("models/my-model.json", "models/my-model.pt").model.half()

    class Archive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.weight

    traced = torch.jit.trace(Archive(), torch.zeros(1))
    torch.jit.save(traced, "ViT-B-16.pt")
    held = model.state_dict() | {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
    monkeypatch.setattr(type(torch.jit.load("ViT-B-16.pt")), "state_dict", lambda self: held)
    exec(compile(re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)[0], "models.md", "exec"), {})
    loaded = build_clip("models/my-model.json", "openai-vit-b-16.pt").model.state_dict()
    assert all(torch.equal(value, model.state_dict()[name].float()) for name, value in loaded.items())
