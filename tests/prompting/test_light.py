"""A person's mistake is told before torch, Lightning or open_clip is loaded, which take many seconds."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import ChatServer, by_class

import starft

HEAVY = {"torch", "lightning", "open_clip", "matplotlib", "scipy"}
DATA = "model: {model_name: starft-mini, pretrained: mini}\ndata: {class_path: starft.mini.MiniWorld}\n"


def starft_command(words: str, **environment: str) -> tuple[int, str, set[str]]:
    """Return the status of a command, what it said on stderr, and the top-level modules that it loaded."""
    path = {"PYTHONPATH": str(Path(starft.__file__).parents[1])}
    command = [sys.executable, "-X", "importtime", "-m", "starft", "prompts", *shlex.split(words)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **path, **environment}, timeout=300
    )
    lines = done.stderr.splitlines()
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    return done.returncode, "\n".join(line for line in lines if not line.startswith("import time:")), loaded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("generate general.yaml --out there.json", "there.json exists already"),
        ("generate per_class.yaml --data config.yaml --out there.json", "there.json exists already"),
        ("generate general.yaml", "There is no key"),
        ("generate per_class.yaml --data classes.yaml", "There is no key"),
        ("generate per_class.yaml --data config.yaml", "There is no key"),
        ("generate general.yaml --refresh", "There is no key"),
        ("generate general.yaml --base-url nonsense", "The base URL 'nonsense' isn't one"),
        ("generate backgronds", "There is no query 'backgronds'"),
        ("generate nowhere.yaml", "The query file nowhere.yaml can't be read"),
        ("generate per_class.yaml", "asks about each class; give --data"),
        ("generate per_class.yaml --data nowhere.yaml", "The config nowhere.yaml can't be read"),
        ("check mini_scene", "No pool is called 'mini_scene'"),
        ("check config.yaml", "config.yaml is a YAML file"),
        ("rank mini_scene --config config.yaml", "No pool is called 'mini_scene'"),
        ("rank mini_scenes --config config.yaml --out there.json", "there.json exists already"),
        ("rank mini_scenes --config classes.yaml", "has no 'data' section"),
    ],
)
def test_a_mistake_loads_nothing_heavy(words: str, told: str) -> None:
    Path("there.json").touch()
    Path("config.yaml").write_text(DATA)
    status, said, loaded = starft_command(words, OPENAI_API_KEY="")
    assert status == 2
    assert re.match(rf"starft: .*{re.escape(told)}", said), said
    assert "\n" not in said
    assert "starft" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.slow
def test_without_data_a_pool_is_made_without_lightning(server: ChatServer) -> None:
    server.behaviour = by_class
    status, said, loaded = starft_command(f"generate general.yaml --base-url {server.url} --model any")
    assert status == 0, said
    assert said.startswith("Loading the tokenizer ...\nAsking 1 question of any at ")
    assert "open_clip" in loaded
    assert "lightning" not in loaded
