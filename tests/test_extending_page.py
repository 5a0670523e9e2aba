"""What docs/extending.md shows works as it stands there."""

import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

from starft.__main__ import main

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
TINY = [
    *(f"--data.init_args.{name}=12" for name in ("train_size", "val_size", "test_size", "batch_size")),
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
]


def block(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.slow
def test_the_term_is_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (module,), (section,), (command, _) = block("py"), block("yaml"), block("bash")
    (tmp_path / "my_terms.py").write_text(module, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(section, encoding="utf-8")
    try:
        assert main([*shlex.split(command)[1:], *TINY, "--config=mine.yaml"]) == 0
    finally:
        sys.modules.pop("my_terms", None)
    terms = yaml.safe_load(Path("runs/own/config.yaml").read_text(encoding="utf-8"))["model"]["regularizers"]
    assert [term["class_path"] for term in terms][-1] == "my_terms.FeatureNorm"


def test_the_safe_command_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, command = block("bash")
    words = shlex.split(command)[1:]
    assert words[:2] == ["test", "--safe"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("starft.cli.fit.run", lambda given: 0 if "--safe" not in given else 1)
        assert main(words) == 0
