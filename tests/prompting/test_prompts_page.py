"""Every command of docs/prompts.md is run, against the local server and on little data."""

import re
import shlex
from pathlib import Path

import pytest
from chat_server import ChatServer

from starft.__main__ import main
from starft.captions.pool_files import load_pool

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/prompts.md").read_text(encoding="utf-8")
DATA = [f"--data.init_args.{size}" for size in ("train_size=24", "val_size=12", "test_size=12", "batch_size=12")]
FIT = [*DATA, "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0"]
RANK = [*DATA, "--images=24", "--permutations=20"]
ASKED = ["--model", "gpt-4o-mini"]
"""The local server stands for OpenAI's own here, which needs no model to be named."""


def commands() -> list[list[str]]:
    lines = [
        shlex.split(line) for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    return [line[1:] for line in lines if line[0] == "starft"]


@pytest.mark.slow
def test_every_command_runs(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lightning_configs").symlink_to(ROOT / "lightning_configs")
    for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert len(commands()) >= 10
    for written in commands():
        command = [word.replace("http://localhost:8000/v1", server.url) for word in written]
        more = FIT if command[0] == "fit" else RANK if "rank" in command else ASKED if "generate" in command else []
        assert main([*command, *more]) == 0, shlex.join(command)
        capsys.readouterr()
    assert load_pool("runs/one/pool.json").name == "backgrounds"
    assert load_pool("runs/two/pool.json").name == "mini_scenes+textures"
    assert (tmp_path / "ranked.png").is_file()
    assert main(["prompts", "generate", "per_class", "--data", "classes.yaml", *ASKED]) == 0
    assert set(load_pool("prompts/pools/per_class.json").per_class) == {"duck", "owl", "robin"}
