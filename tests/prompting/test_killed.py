"""Real processes: one that is killed outright loses nothing that had arrived, and two at once ask nothing twice."""

import importlib
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from chat_server import ChatServer, asked_class, by_class

import starft
from fakes.processes import forking
from starft.__main__ import main

KILLS = int(os.environ.get("KILLS", "3"))
"""`make test-faults` asks for more."""
QUESTIONS = 200 if KILLS > 3 else 60
CACHE, POOL, OTHER = Path("prompts/cache/mine"), Path("pool.json"), Path("other.json")

Start = Callable[[Path], BaseProcess]


def run(url: str, folder: str, out: str, ready: str) -> None:
    """What the process does: `starft prompts generate`, after a sign that it begins."""
    sys.path.insert(0, str(Path(__file__).parent))
    os.chdir(folder)
    os.environ["OPENAI_API_KEY"] = "anything"
    importlib.import_module("forked_preload")
    Path(ready).touch()
    words = [
        "--data",
        "classes.yaml",
        "--base-url",
        url,
        "--out",
        out,
        "--overwrite",
        "--concurrency",
        "4",
        "--model",
        "any",
    ]
    os._exit(main(["prompts", "generate", "per_class.yaml", *words]))


@pytest.fixture
def start(server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what starts a process and waits until it begins."""
    server.behaviour = lambda request, number: replace(by_class(request, number), delay=0.005)
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join(map(str, (Path(__file__).parent, Path(starft.__file__).parents[1])))
    )
    names = [f"thing {index}" for index in range(QUESTIONS)]
    (tmp_path / "classes.yaml").write_text(json.dumps({"class_names": names}))
    context = forking()

    def begin(out: Path) -> BaseProcess:
        ready = tmp_path / "ready"
        ready.unlink(missing_ok=True)
        process = context.Process(target=run, args=(server.url, str(tmp_path), str(out), str(ready)))
        process.start()
        while not ready.exists() and process.exitcode is None:
            time.sleep(0.005)
        return process

    return begin


def wipe() -> None:
    for path in CACHE.glob("*.json"):
        path.unlink()
    POOL.unlink(missing_ok=True)


def finish(process: BaseProcess) -> None:
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
def test_kills_at_random_moments_and_two_at_once(server: ChatServer, start: Start) -> None:
    finish(start(POOL))
    whole = POOL.read_bytes()
    wipe()
    rng, before, killed_after = random.Random(4), set[str](), list[int]()
    for kill in range(KILLS + 1):
        server.requests.clear()
        process = start(POOL)
        if kill < KILLS:
            some = rng.randrange(20)
            while process.is_alive() and len(server.requests) < some:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.01)
            process.kill()
        process.join()
        asked = Counter(asked_class(request) for request in server.requests)
        assert max(asked.values(), default=1) == 1
        assert not before & set(asked), "an answered question was asked again"
        held = [json.loads(path.read_bytes()) for path in CACHE.glob("*.json")]
        assert all(one["answer"]["text"] for one in held), "nothing is half-written"
        now = {str(asked_class(one["question"])) for one in held}
        assert before <= now, "nothing that had arrived is lost"
        before = now
        assert not POOL.exists() or POOL.read_bytes() == whole
        killed_after.append(len(before))
    assert process.exitcode == 0
    assert killed_after[-1] == QUESTIONS
    assert POOL.read_bytes() == whole
    assert not [path for path in CACHE.iterdir() if path.name.endswith(".tmp")]
    assert len({count for count in killed_after if 0 < count < QUESTIONS}) >= KILLS // 2, "kills fell into the asking"

    wipe()
    server.requests.clear()
    both = [start(POOL), start(OTHER)]
    for process in both:
        finish(process)
    assert len(server.requests) == QUESTIONS
    assert POOL.read_bytes() == OTHER.read_bytes() == whole
