"""A run that is killed outright: what had arrived stays, the next run asks only the rest."""

import json
import multiprocessing
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from chat_server import ChatServer, asked_class

from starft.__main__ import main

QUESTIONS = 200
ROUNDS, KILLS = 4, 5
POOL = Path("pool.json")


def run(url: str, folder: str, ready: Path) -> None:
    """What the process that is killed does: `starft prompts generate`, after a sign that it begins."""
    os.chdir(folder)
    os.environ["OPENAI_API_KEY"] = "anything"
    ready.touch()
    words = ["per_class.yaml", "--data", "classes.yaml", "--base-url", url, "--out", "pool.json", "--overwrite"]
    os._exit(main(["prompts", "generate", *words]))


@pytest.mark.slow
def test_kill_at_random_moments(tmp_path: Path, server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"thing {index}" for index in range(QUESTIONS)]
    (tmp_path / "classes.yaml").write_text(json.dumps({"class_names": names}))
    # Processes are forked from one that has imported everything, so that a kill hits the asking and not an import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_killed", "starft.prompting.generate", "starft.prompting.client"])

    def start() -> multiprocessing.process.BaseProcess:
        ready = tmp_path / "ready"
        ready.unlink(missing_ok=True)
        process = context.Process(target=run, args=(server.url, str(tmp_path), ready))
        process.start()
        while not ready.exists():
            time.sleep(0.005)
        return process

    cache = tmp_path / "prompts/cache/mine"
    for _ in range(2):  # the first waits for the imports
        for path in cache.glob("*.json"):
            path.unlink()
        undisturbed = start()
        begin = time.monotonic()
        undisturbed.join()
        seconds = time.monotonic() - begin
        assert undisturbed.exitcode == 0
    whole = POOL.read_bytes()

    rng, killed_after = random.Random(4), []
    for _ in range(ROUNDS):
        for path in cache.glob("*.json"):
            path.unlink()
        POOL.unlink(missing_ok=True)
        before: set[str] = set()
        for kill in range(KILLS + 1):
            server.requests.clear()
            process = start()
            if kill < KILLS:
                some = rng.randrange(60)
                while process.is_alive() and len(server.requests) < some:
                    time.sleep(0.001)
                time.sleep(rng.random() * 0.02)
                process.kill()
            process.join()
            asked = Counter(asked_class(request) for request in server.requests)
            assert max(asked.values(), default=1) == 1
            assert not before & set(asked), "an answered question was asked again"
            held = [json.loads(path.read_bytes()) for path in cache.glob("*.json")]
            before = {str(asked_class(one["question"])) for one in held}
            assert all(one["answer"]["text"] for one in held), "nothing is half-written"
            assert not POOL.exists() or POOL.read_bytes() == whole
            killed_after.append(len(before))
        assert process.exitcode == 0
        assert len(before) == QUESTIONS
        assert POOL.read_bytes() == whole
        assert not [path for path in cache.iterdir() if path.name.endswith(".tmp")]
    print(f"answers there after each of {ROUNDS * KILLS} kills, and at the end of a round: {killed_after}; "
          f"an undisturbed run of {QUESTIONS} requests takes {seconds:.2f} s")  # fmt: skip
    assert len({count for count in killed_after if 0 < count < QUESTIONS}) >= ROUNDS, "kills fell into the asking"
