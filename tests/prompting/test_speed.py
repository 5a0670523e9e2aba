"""Many classes against a server that answers at once."""

import json
import os
import resource
import time
from pathlib import Path

import pytest
from chat_server import ChatServer, Generate

from starft.captions.pool_files import load_pool

REQUESTS = 1000 if "KILLS" in os.environ else 150
"""`make test-faults` asks for more."""


@pytest.mark.slow
def test_many_requests(generate: Generate, server: ChatServer) -> None:
    assert generate("per_class.yaml", "--out", "small.json", "--cache", "small") == 0  # imports and tokenizer
    Path("classes.yaml").write_text(json.dumps({"class_names": [f"thing {index}" for index in range(REQUESTS)]}))
    server.requests.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.monotonic(), time.process_time()
    assert generate("per_class.yaml", "--concurrency", "16") == 0
    seconds, cpu = time.monotonic() - start, time.process_time() - start_cpu
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{REQUESTS} requests: {seconds:.1f} s, {cpu:.1f} s of them at work, "
        f"peak memory + {more:.0f} MiB, the server's own included"
    )
    assert len(server.requests) == REQUESTS
    assert len(load_pool("prompts/pools/mine.json").per_class) == REQUESTS
    assert cpu < 0.02 * REQUESTS, (
        "seconds at work, server included: on a machine with nothing else to do, the seconds it takes"
    )
    assert more < 100
