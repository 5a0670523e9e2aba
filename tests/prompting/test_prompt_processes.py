"""What only a process of its own can show: what a command loads, what it leaves behind, what a log of it holds."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, Reply, by_class, files_with_key, holds_key

import starft

HEAVY = ("torch", "lightning", "open_clip", "matplotlib", "scipy")
DATA = "model: {model_name: starft-mini, pretrained: mini}\ndata: {class_path: starft.mini.MiniWorld}\n"
PATH = {"PYTHONPATH": str(Path(starft.__file__).parents[1])}

MISTAKES = {
    "generate general.yaml --out there.json": "there.json exists already",
    "generate per_class.yaml --data config.yaml --out there.json": "there.json exists already",
    "generate general.yaml": "There is no key",
    "generate per_class.yaml --data classes.yaml": "There is no key",
    "generate per_class.yaml --data config.yaml": "There is no key",
    "generate general.yaml --refresh": "There is no key",
    "generate general.yaml --base-url nonsense": "The base URL 'nonsense' isn't one",
    "generate backgronds": "There is no query 'backgronds'",
    "generate nowhere.yaml": "The query file nowhere.yaml can't be read",
    "generate per_class.yaml": "asks about each class; give --data",
    "generate per_class.yaml --data nowhere.yaml": "The config nowhere.yaml can't be read",
    "check mini_scene": "No pool is called 'mini_scene'",
    "check config.yaml": "config.yaml is a YAML file",
    "rank mini_scene --config config.yaml": "No pool is called 'mini_scene'",
    "rank mini_scenes --config config.yaml --out there.json": "there.json exists already",
    "rank mini_scenes --config classes.yaml": "has no 'data' section",
}

MAKE_THEM = f"""
import contextlib, io, json, sys
from starft.__main__ import main
for words in json.load(sys.stdin):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(["prompts", *words])
    print(json.dumps([status, said.getvalue(), [name for name in {HEAVY!r} if name in sys.modules]]))
"""


@pytest.mark.slow
def test_a_mistake_is_told_in_one_line_before_anything_heavy_is_loaded() -> None:
    """Torch, Lightning and open_clip take many seconds."""
    Path("there.json").touch()
    Path("config.yaml").write_text(DATA)
    done = subprocess.run(
        [sys.executable, "-c", MAKE_THEM],
        input=json.dumps([shlex.split(words) for words in MISTAKES]),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **PATH, "OPENAI_API_KEY": ""},
        timeout=300,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(MISTAKES)
    for (words, told), line in zip(MISTAKES.items(), lines, strict=True):
        status, said, loaded = json.loads(line)
        assert (status, loaded) == (2, []), words
        assert re.fullmatch(rf"starft: .*{re.escape(told)}.*\n", said), said


@pytest.mark.slow
def test_a_whole_command_loads_no_lightning_and_no_file_log_or_process_list_holds_the_key(
    server: ChatServer, tmp_path: Path
) -> None:
    server.behaviour = lambda request, number: Reply(by_class(request, number).content, delay=0.3)
    command = [sys.executable, "-X", "importtime", "-m", "starft", "prompts", "generate", "general.yaml"]
    command += ["--base-url", server.url, "--model", "any"]
    loud = {**os.environ, **PATH, "OPENAI_LOG": "debug"}
    out, err = tmp_path / "out.log", tmp_path / "err.log"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(command, env=loud, stdout=to_out, stderr=to_err, cwd=tmp_path)
        while process.poll() is None and not server.requests:
            time.sleep(0.01)
        shown = Path(f"/proc/{process.pid}/cmdline").read_bytes()  # what `ps` shows while the request is on its way
        process.wait(timeout=60)
    lines = err.read_text().splitlines()
    assert process.returncode == 0, lines[-1]
    assert b"general.yaml" in shown
    assert "HTTP Request" in err.read_text(), "the client's own log was on"
    assert not holds_key(shown)
    assert files_with_key(tmp_path) == [], "its output among them"
    assert "Loading the tokenizer ..." in lines
    assert any(line.startswith("Asking 1 question of any at ") for line in lines)
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    assert "open_clip" in loaded
    assert "lightning" not in loaded
